"""One competitor in a process of its own: when its first step was done, and how much memory three took.

``python -m benchmarks.table.once COMPETITOR MODEL MODE WEIGHTS`` prints two lines; `costs` reads them.
"""

from __future__ import annotations

import resource
import sys


def main(key: str, name: str, mode: str, weights: str) -> None:
    """Print a line when the first step is done, and the peak of resident memory, in MiB, after two more."""
    from .competitors import COMPETITORS
    from .worker import read_weights

    make = COMPETITORS[key].builder(name, mode)
    if make is None:
        raise SystemExit(f"{key} has no {name}")
    program = make(read_weights(weights))
    program.read(program.step())
    print("stepped", flush=True)
    for _ in range(2):
        program.read(program.step())
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
