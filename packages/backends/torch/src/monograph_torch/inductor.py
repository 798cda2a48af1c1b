"""Programs compiled by Inductor, for the device ``torch:inductor``: once each is right, and pays.

Inductor (``torch.compile``) takes seconds per program, fuses what eager kernels leave apart, and has
computed wrong numbers. So the first call runs the generated code, compiles it, compares the results,
and times both; what differs, fails or is no faster stays with the generated code, and is told of in the
log ``monograph.torch``.
"""

from __future__ import annotations

import logging
import math
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from monograph import Graph
from monograph.rewrite import decompose

from .codegen import generate
from .lowerings.updates import TABLE as UPDATES

_log = logging.getLogger("monograph.torch")

LEAST, ROUNDS, FASTER = 8, 11, 0.95
"""Operations in a program that is compiled; runs of each that are timed; and the most of the generated
code's time that a compiled program may take."""

OFF = {torch.float64: 1e-9, torch.float32: 1e-4, torch.complex64: 1e-4, torch.complex128: 1e-9}
"""How far results may be from the generated code's, relative to their length; 16 bits: 0.02."""

SHAKEN = 8
"""Units in the last place by which inputs are shaken, to see which results hang on their rounding: Adam's
first step on a gradient of zero does. These may differ by as many times what shaking does."""


class Inductor:
    """A program that decides at its first call what it runs.

    Attributes:
        plain: the generated code, which may overwrite donated inputs.
        adopted: whether Inductor's program runs; None before the first call.
    """

    def __init__(self, graph: Graph, device: torch.device, donate: tuple[int, ...]):
        self.name, self.plain = graph.name, generate(graph, device, donate)
        self.arranges = self.plain.arranges
        # a fused update reads its rate as a Python number, which no compiler can
        bare, _ = decompose(graph, lambda op: op not in UPDATES)
        self.pure = generate(bare, device, pure=True)
        self.adopted: bool | None = None
        self._run: Callable = self._first
        self._lock = threading.Lock()

    def __call__(self, *buffers: torch.Tensor) -> Any:
        return self._run(*buffers)

    def _first(self, *buffers: torch.Tensor) -> Any:
        with self._lock, torch.no_grad():
            if self.adopted is None:
                want = self.pure(*buffers)
                fast, why = self._tried(buffers, want)
                self.adopted, self._run = not why, self.plain if why else fast
                _log.info("%s runs %s", self.name, f"as generated: {why}" if why else "compiled")
                return want
        return self._run(*buffers)

    def _tried(
        self, buffers: Sequence[torch.Tensor], want: Sequence[torch.Tensor]
    ) -> tuple[Any, str]:
        """Inductor's program, and why it is not taken, if so."""
        started = time.perf_counter()
        try:
            fast = torch.compile(self.pure, fullgraph=True, dynamic=False)
            got = fast(*buffers)
        except Exception as e:
            why = f"Inductor cannot compile it: {type(e).__name__}: {str(e)[:300]}"
            _log.warning("%s: %s", self.name, why)
            return None, why
        took = time.perf_counter() - started
        if wrong := self._wrong(buffers, got, want):
            _log.warning("%s: Inductor computes otherwise: %s", self.name, wrong)
            return None, wrong
        turns = [
            _seconds(fast, buffers) / _seconds(self.plain, self._own(buffers))
            for _ in range(ROUNDS + 2)
        ]
        ratio = statistics.median(turns[2:])  # the first ones warm up
        _log.info("%s: compiled in %.1f s, takes %.2f of the time", self.name, took, ratio)
        return fast, "" if ratio <= FASTER else f"compiled it takes {ratio:.2f} of the time"

    def _own(self, buffers: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The same, those cloned that the generated code overwrites."""
        donated = {*self.plain.donated}
        return [x.clone() if i in donated else x for i, x in enumerate(buffers)]

    def _wrong(
        self, buffers: Sequence[torch.Tensor], got: Sequence[torch.Tensor], want: Sequence[torch.Tensor]
    ) -> str:  # fmt: skip
        """What tells results from those they should be, by more than rounding can."""
        if len(got) != len(want):
            return f"there are {len(got)} results instead of {len(want)}"
        far = [
            i
            for i, (a, b) in enumerate(zip(got, want))
            if difference(a, b) > OFF.get(b.dtype, 0.02)
        ]
        if not far:
            return ""
        shaken = [self.pure(*[_shaken(x, seed) for x in buffers]) for seed in range(3)]
        for i in far:
            off = difference(got[i], want[i])
            if not off <= SHAKEN * max(difference(s[i], want[i]) for s in shaken):
                return f"result {i} is off by {off:.2g} of its length"
        return ""


def _shaken(x: torch.Tensor, seed: int) -> torch.Tensor:
    if not (x.is_floating_point() or x.is_complex()):
        return x
    draws = torch.Generator(x.device).manual_seed(seed)
    by = torch.empty_like(x.real).uniform_(-1, 1, generator=draws)
    return x * (1 + SHAKEN * torch.finfo(x.dtype).eps * by)


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """How far ``a`` is from ``b``, relative to its length; infinite where they are no alike at all."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return math.inf
    if not (b.is_floating_point() or b.is_complex()):
        return 0.0 if torch.equal(a, b) else math.inf
    wide = torch.complex128 if b.is_complex() else torch.float64
    finite = torch.isfinite(b)
    if not torch.equal(finite, torch.isfinite(a)):
        return math.inf
    a, b = a[finite].to(wide), b[finite].to(wide)
    length = float(torch.linalg.vector_norm(b))
    return float(torch.linalg.vector_norm(a - b)) / max(length, 1e-30)


def _seconds(fn: Callable, buffers: Sequence[torch.Tensor]) -> float:
    started = time.perf_counter()
    out = fn(*buffers)
    if any(x.is_cuda for x in out):
        torch.cuda.synchronize()
    return time.perf_counter() - started
