"""What `import monograph` costs over NumPy's import, in fresh processes with compiled bytecode.

Both imports are timed in one process, NumPy's first, so that a busy machine weighs on both alike.
"""

import os
import statistics
import subprocess
import sys
import tempfile

ROUNDS, ALLOWED_MS = 15, 50
CODE = """
from time import perf_counter as wall, process_time as cpu
a, c = wall(), cpu()
import numpy
b, d = wall(), cpu()
import monograph
print(b - a, wall() - b, d - c, cpu() - d)
"""


def milliseconds(env: dict[str, str]) -> list[float]:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, env=env, check=True)
    return [float(s) * 1e3 for s in done.stdout.split()]


with tempfile.TemporaryDirectory() as cache:
    # an installed package has its bytecode compiled; a checkout may not be allowed to keep it
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPYCACHEPREFIX"] = cache
    milliseconds(env)
    rounds = sorted(milliseconds(env) for _ in range(ROUNDS))

print(f"import time, ms ({ROUNDS} processes)      median    least")
names = ("numpy, wall", "monograph over numpy, wall", "numpy, CPU", "monograph over numpy, CPU")
for name, times in zip(names, zip(*rounds)):
    print(f"{name:<33} {statistics.median(times):>7.1f}  {min(times):>7.1f}")
print(f"allowed over numpy                {ALLOWED_MS:>7.1f}")
