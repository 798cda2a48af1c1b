"""Memory that a call frees is there for the next one: it is not taken from the system page by page."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import monograph as mg
import numpy as np

@mg.jit
def step(x):
    y = [mg.sin(x * i) for i in range(1, 6)]
    return mg.sum(y[0] * y[1] + y[2] * y[3] + y[4])

call, x = step.on("torch"), mg.tensor(np.ones((1 << 20,), "float32"), device="torch:cpu")
for _ in range(5):
    call(x)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    call(x)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what glibc's malloc does")
def test_calls_take_no_new_pages():
    out = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True
    )
    assert int(out.stdout) < 1000  # a block of 4 MiB has 1024
