"""Import time of Monograph's core over NumPy's: best of several fresh processes, in turn."""

import statistics
import subprocess
import sys


def seconds(code: str) -> float:
    timed = f"import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
    return float(
        subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True).stdout
    )


pairs = [(seconds("import numpy"), seconds("import numpy, monograph")) for _ in range(9)]
extra = sorted((b - a) * 1e3 for a, b in pairs)
print(
    f"import monograph over numpy: median {statistics.median(extra):.0f} ms, least {extra[0]:.0f} ms"
)
