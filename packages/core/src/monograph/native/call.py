"""`Kernel`: a C function as the body of an op. `Plan`: its call for one set of shapes, made ready."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import ArgumentError, EngineError
from ..spec import Spec
from . import abi, guard

_MOST = 4096  # plans that a kernel keeps


class Kernel:
    """A C function that computes an op; called with arrays it is the op's NumPy reference.

    Engines that run on the host's memory call it by address: see `plan`.

    Attributes:
        name: of the op.
        path, symbol: the shared library and the function in it.
        digest: of the library's content and the function's name; the same in every process.
        multi: whether it yields a tuple.
    """

    checked = True  # its results are arrays made for it, of the inferred specs

    def __init__(
        self, name: str, path: str, symbol: str, digest: str, infer: Callable, multi: bool
    ):
        self.name, self.path, self.symbol, self.digest = name, path, symbol, digest
        self.infer, self.multi = infer, multi
        self.function = abi.function(path, symbol)
        self.address: int = ctypes.cast(self.function, ctypes.c_void_p).value or 0
        self._plans: dict[Any, Plan] = {}

    def __call__(self, *xs: np.ndarray, **attrs: Any) -> Any:
        key = (repr(attrs) if attrs else "", *[(x.shape, x.dtype) for x in xs])
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= _MOST:
                self._plans.clear()
            plan = self._plans[key] = self.plan([Spec.of(x) for x in xs], attrs)
        xs = tuple(map(_in_one_piece, xs))
        ys = [np.empty(shape, dtype) for shape, dtype in plan.results]
        plan(*map(address, xs), *map(address, ys))
        for y in ys:
            y.setflags(write=False)
        return tuple(ys) if self.multi else ys[0]

    def plan(self, ins: Sequence[Spec], attrs: dict[str, Any]) -> Plan:
        """The call for operands of these specs; one for each, shared by engines."""
        key = (repr(attrs), tuple(ins))
        found = self._plans.get(key)
        if found is None:
            out = self.infer(*ins, **attrs)
            made = Plan(self, ins, out if isinstance(out, tuple) else (out,), attrs)
            found = self._plans.setdefault(key, made)
        return found


_at, _HEAD = ctypes.c_size_t.from_address, object.__basicsize__


def address(x: np.ndarray) -> int:
    """Where an array's data begin: the first field of NumPy's public ``PyArrayObject``.

    A tenth of the time of ``x.ctypes.data``, which stands in where that is not so.
    """
    return _at(id(x) + _HEAD).value


def _address(x: np.ndarray) -> int:
    return x.ctypes.data


_PROBE = np.arange(4)[1:]
if sys.implementation.name != "cpython" or address(_PROBE) != _address(_PROBE):
    address = _address


def _in_one_piece(x: np.ndarray) -> np.ndarray:
    flags = x.flags
    if flags.c_contiguous and flags.aligned:
        return x
    return np.require(x, requirements=("C", "A"))


class Plan:
    """A kernel's call for operands of known specs: ``plan(*addresses of inputs, then outputs)``.

    Arrays are row-major and in one piece; that sizes and dtypes are right, and that memory is aligned to
    elements, the caller answers for. The first call is made on guarded copies (see `guard`), and with
    ``MONOGRAPH_CHECK_NATIVE=1`` every one, in a process of its own. Threads may share a plan.

    Attributes:
        ins, outs: specs.
        results: shape and NumPy dtype per output.
        trusted: whether a guarded call went well.
        attrs: the attributes.
    """

    def __init__(
        self, kernel: Kernel, ins: Sequence[Spec], outs: Sequence[Spec], attrs: dict[str, Any]
    ):
        self.kernel, self.ins, self.outs, self.attrs = kernel, tuple(ins), tuple(outs), dict(attrs)
        self.results = [(s.shape, s.dtype.numpy) for s in outs]
        self.trusted = False
        self._checks = os.environ.get("MONOGRAPH_CHECK_NATIVE", "0") not in ("", "0")
        specs = (*self.ins, *self.outs)
        self._arrays = [(s.shape, _code(kernel, s)) for s in specs]
        self._sizes = [s.nbytes for s in specs]
        self._pool = [self.frame()]  # one per thread that is in a call

    @property
    def key(self) -> str:
        """Tells this call from any other, in every process."""
        return f"{self.kernel.digest} {self.ins} {self.outs} {self.attrs}"

    def frame(self) -> abi.Frame:
        """A new ``mg_call`` for it, addresses still to be set."""
        return abi.Frame(self._arrays, len(self.ins), self.attrs)

    def __call__(self, *addresses: int) -> None:
        """Call the C function. Raises `EngineError` with what it says went wrong."""
        if not self.trusted:
            problem = self.guarded(addresses)
            if problem:
                raise self.failed(problem)
            return
        try:
            frame = self._pool.pop()
        except IndexError:  # other threads have them
            frame = self.frame()
        for slot, address in zip(frame.slots, addresses):
            slot.data = address
        code = self.kernel.function(frame.ref)
        message = frame.message.value
        if code or message:
            raise self.failed(guard.told(code, message))
        self._pool.append(frame)

    def guarded(self, addresses: Sequence[int]) -> str:
        """The same with guard zones around every array; returns what went wrong instead."""
        elsewhere = None
        if self._checks:
            elsewhere = {
                "path": self.kernel.path, "symbol": self.kernel.symbol, "arrays": self._arrays,
                "n_in": len(self.ins), "attrs": self.attrs,
            }  # fmt: skip
        problem = guard.run(self.frame(), addresses, self._sizes, self.kernel.function, elsewhere)
        self.trusted = not problem and not self._checks
        return problem

    def failed(self, problem: str) -> EngineError:
        """The error for what a call said."""
        return EngineError(
            f"the C function {self.kernel.symbol!r} of op {self.kernel.name!r}: {problem}"
        )

    def native(self, bind: Callable[[int], None]) -> Any:
        """Hand ``bind`` an address for engines that call by themselves; ``int f(const mg_call *)``.

        It is Python's, with guards, until the first call went well; then ``bind`` gets the C
        function's own. Returns what must stay alive as long as the address is used.
        """
        if self.trusted:
            bind(self.kernel.address)
            return None
        n = len(self._arrays)

        def first(call: Any) -> int:
            try:
                arrays = call.contents.inputs, call.contents.outputs
                addresses = [arrays[0][i].data or 0 for i in range(len(self.ins))]
                addresses += [arrays[1][i].data or 0 for i in range(n - len(self.ins))]
                problem = self.guarded(addresses)
                if self.trusted:
                    bind(self.kernel.address)
            except Exception as e:
                problem = f"{type(e).__name__}: {e}"
            if problem:
                text = problem.encode()[: abi.MESSAGE - 1] + b"\0"
                ctypes.memmove(call.contents.message, text, len(text))
            return int(bool(problem))

        callback = abi.FUNCTION(first)
        bind(ctypes.cast(callback, ctypes.c_void_p).value or 0)
        return callback


def _code(kernel: Kernel, s: Spec) -> int:
    found = abi.CODES.get(s.dtype.name)
    if found is None:
        raise ArgumentError(
            f"op {kernel.name!r}: a C function cannot take {s.dtype}; it takes {', '.join(abi.CODES)}"
        )
    return found
