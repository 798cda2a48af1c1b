"""Freed memory is there for the next call: it is not taken from the system page by page."""

import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest
from monograph_torch import malloc

PROGRAM = """
import resource
import monograph as mg
import torch

mg.jit(lambda x: x + 1.0).on("torch")(1.0)  # which sets up the engine

def step():
    blocks = [torch.ones(1 << 20) for _ in range(20)]

step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what glibc's malloc does")
def test_what_was_freed_takes_no_new_pages():
    run = [sys.executable, "-c", PROGRAM]
    new = int(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    assert new < 2048  # of 20 blocks of 1024 pages


@pytest.mark.parametrize("name", malloc.SET_BY_USER)
def test_what_the_environment_tunes_is_left_alone(name, monkeypatch):
    monkeypatch.setenv(name, "1")
    monkeypatch.setattr(malloc.ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=pytest.fail))
    assert not malloc.keep.__wrapped__()


def test_another_libc_is_left_alone(monkeypatch):
    def unknown(_):
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(malloc.os, "confstr", unknown)
    assert not malloc.keep.__wrapped__()
