"""The op record: documentation, shape rule, gradient, reference and samples of one operation.

Write one with `op` (a primitive, whose function body is its NumPy reference) or `composite` (whose
function body is written with other ops). Positional parameters are array operands, keyword-only
parameters are static attributes:

    @op(infer=unary_float, vjp=lambda g, y, x: (g * (1 - y * y),), samples=floats)
    def tanh(x):
        \"\"\"Hyperbolic tangent, elementwise.\"\"\"
        return np.tanh(x)

The result is an `Op`: call it on traced values to record a node, on tensors to compute at once.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .dtypes import DType, dtype as as_dtype
from .errors import ArgumentError, GraphError, ShapeError
from .spec import Spec


class _Mark:
    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return self.name


NOT_DIFFERENTIABLE = _Mark("NOT_DIFFERENTIABLE")
"""The explicit answer of a primitive that has no gradient: to ask for it is an error."""

ZERO_GRADIENT = _Mark("ZERO_GRADIENT")
"""The answer of a primitive through which nothing flows: rounding, `stop_gradient`."""

REQUIRED = _Mark("REQUIRED")
"""The default, in `Op.defaults`, of an attribute that has none."""

_VARARGS = 0x04  # inspect.CO_VARARGS: the function takes *args

_REGISTRY: dict[str, Op] = {}


class Sample:
    """One set of inputs the conformance kit runs an op on.

    Attributes:
        operands: NumPy arrays, already of the dtypes they should have.
        attrs: attribute values.
        grad: whether numeric gradients make sense here (off at kinks, NaN and ties).
    """

    __slots__ = ("operands", "attrs", "grad")

    def __init__(
        self,
        operands: tuple[np.ndarray, ...],
        attrs: dict[str, Any] | None = None,
        grad: bool = True,
    ):
        self.operands, self.attrs, self.grad = operands, attrs or {}, grad

    def __repr__(self) -> str:
        return f"Sample({self.operands!r}, {self.attrs!r}, grad={self.grad})"


class Op:
    """One operation. Made by `op` and `composite`; looked up by name with `get`.

    Attributes:
        name: as in StableHLO where StableHLO has the op.
        infer: ``(*specs, **attrs) -> Spec`` or a tuple of them (then `multi` is true).
        vjp: ``(g, y, *inputs, **attrs) -> cotangents``, one per input, None for "zero". ``g`` and
            ``y`` are tuples when `multi`, and ``g`` holds None where nothing flows. None:
            differentiate the body.
        reference: the NumPy implementation, None for a composite.
        body: the decomposition into other ops, None for a primitive.
        samples: ``(dtype, rng) -> iterable of Sample``; None: the conformance kit skips it.
        dtypes: the kinds of dtype `samples` is run with (see `op`).
        ulps: accepted error of the result in units of its dtype's eps, relative to the largest
            magnitude in it.
        bits: the result depends on the bit pattern, so 16-bit floats are not computed in float32.
        shareable: two equal nodes may become one (not so for barriers).
        prune: ``(node, inputs, live) -> values``, records the op without its unread outputs.
        batch: ``(op, xs, batched, lanes, **attrs) -> outputs``, how `vmap` runs it on many inputs at
            once (see `monograph.batching.lanes`); None derives it.
        lower: an op from outside brings its own lowerings, ``{engine's name: table entry}``; an
            engine that has none calls the reference on the host.
        native: a composite's faster twin, ``() -> Op``, called when first needed: a C function
            (`monograph.custom_op_from_c`) with the same operands and attributes, which stands for
            the body on a CPU where there is a compiler (see `monograph.native.twin`).
        outside: whether it was written outside core.
        edition: how many definitions of it were replaced by this one.
    """

    def __init__(
        self,
        fn: Callable,
        *,
        infer: Callable | None,
        vjp: Any,
        samples: Callable | None,
        dtypes: str | tuple[str, ...],
        ulps: float,
        multi: bool,
        is_composite: bool,
        bits: bool = False,
        shareable: bool = True,
        prune: Callable | None = None,
        batch: Callable | None = None,
        lower: Mapping[str, Any] | None = None,
        native: Callable[[], Op] | None = None,
    ):
        self.name = fn.__name__.rstrip("_")
        self.__doc__, self.__module__, self.__wrapped__ = fn.__doc__, fn.__module__, fn
        self.__qualname__ = fn.__qualname__
        self.outside = not f"{fn.__module__}.".startswith("monograph.")
        self.vjp, self.samples, self.ulps, self.multi, self.bits = vjp, samples, ulps, multi, bits
        self.shareable, self.prune, self.batch, self.lower = shareable, prune, batch, lower or {}
        self.native = native
        self.dtypes = (dtypes,) if isinstance(dtypes, str) else dtypes
        self.reference: Any = None if is_composite else fn
        self.body: Any = fn if is_composite else None
        self.infer = infer or self._infer_body
        self._graphs: dict = {}
        # read off the function itself: inspect.signature is slow, to import and to call
        code, names = fn.__code__, fn.__code__.co_varnames
        self.operands = names[: code.co_argcount]
        self.variadic = bool(code.co_flags & _VARARGS)
        given = fn.__kwdefaults__ or {}
        attrs = names[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        self.defaults = {name: given.get(name, REQUIRED) for name in attrs}
        if not fn.__doc__:
            raise GraphError(f"op {self.name!r} has no docstring")
        self.edition = 0
        found = _REGISTRY.setdefault(self.name, self)
        if found is not self:
            if not (self.outside and self.replaces(found)):
                raise GraphError(f"op {self.name!r} exists already, in {found.__module__}")
            _REGISTRY[self.name], self.edition = self, found.edition + 1

    @property
    def is_composite(self) -> bool:
        return self.body is not None

    def replaces(self, other: Op) -> bool:
        """Whether both are one definition, run twice: a notebook's cell. Old graphs keep the old one."""
        mine, yours = ((o.name, o.__module__, o.__qualname__) for o in (self, other))
        return mine == yours

    def __call__(self, *operands: Any, **attrs: Any) -> Any:
        attrs = self.bind(operands, attrs)
        if _tracing._current.get() is None:
            outs = _eager.run(self, operands, attrs)
        else:
            outs = _tracing.record(self, operands, attrs)
        return outs if self.multi else outs[0]

    def bind(self, operands: Sequence[Any], attrs: dict[str, Any]) -> dict[str, Any]:
        """Attributes complete and hashable, operand count checked."""
        n = len(operands)
        if n != len(self.operands) and not (self.variadic and n >= len(self.operands)):
            raise ArgumentError(
                f"{_tracing.user_source()}: {self.name} takes operands "
                f"({', '.join(self.operands)}{', ...' if self.variadic else ''}), got {n}"
            )
        out = {}
        for name, default in self.defaults.items():
            value = attrs.get(name, default)
            if value is REQUIRED:
                raise ArgumentError(f"{_tracing.user_source()}: {self.name} needs {name}=")
            out[name] = as_dtype(value) if name == "dtype" else _freeze(value)
        if len(attrs) > len(out) or not attrs.keys() <= out.keys():
            extra = ", ".join(attrs.keys() - out.keys())
            raise ArgumentError(
                f"{_tracing.user_source()}: {self.name} has no attribute {extra}; it has "
                f"{', '.join(out) or 'none'}"
            )
        return out

    def infer_specs(self, specs: Sequence[Spec], attrs: dict[str, Any]) -> tuple[Spec, ...]:
        """Output specs for input specs; raises what the shape rule finds wrong."""
        try:
            out = self.infer(*specs, **attrs)
        except (ShapeError, ArgumentError) as e:
            if e.args and not str(e.args[0]).startswith(self.name):
                e.args = (f"{self.name}: {e.args[0]}",)
            raise
        specs = out if isinstance(out, tuple) else (out,)
        if not all(type(s) is Spec for s in specs):
            raise GraphError(
                f"{self.name}: its shape rule gives {out!r}, not a Spec or a tuple of them"
            )
        return specs

    def body_graph(self, specs: Sequence[Spec], attrs: dict[str, Any]) -> Any:
        """A composite's decomposition as a `Graph` for these specs (cached)."""
        key = (tuple(specs), tuple(attrs.items()))
        found = self._graphs.get(key)
        if found is None:
            if len(self._graphs) >= 256:
                self._graphs.clear()
            with _tracing.tracing(None):
                found, _, _ = _tracing.trace_flat(
                    functools.partial(self.body, **attrs), specs, self.operands, self.name
                )
            self._graphs[key] = found
        return found

    def _infer_body(self, *specs: Spec, **attrs: Any) -> Any:
        out = self.body_graph(specs, attrs).output_specs
        return out if self.multi else out[0]

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __reduce__(self):
        return get, (self.name,)


def op(
    *,
    infer: Callable,
    vjp: Any,
    samples: Callable | None = None,
    dtypes: str | tuple[str, ...] = "float",
    ulps: float = 4,
    multi: bool = False,
    bits: bool = False,
    shareable: bool = True,
    prune: Callable | None = None,
    batch: Callable | None = None,
    lower: Mapping[str, Any] | None = None,
) -> Callable[[Callable], Op]:
    """Declare a primitive; the decorated function is its NumPy reference.

    Args:
        infer: shape rule, ``(*specs, **attrs) -> Spec | tuple[Spec, ...]``.
        vjp: gradient rule ``(g, y, *inputs, **attrs) -> tuple``, or `NOT_DIFFERENTIABLE`, or
            `ZERO_GRADIENT`.
        samples: ``(dtype, rng) -> iterable of Sample`` for the conformance kit; core's own have them.
        dtypes: dtypes to sample: any of ``float complex int uint bool`` or a dtype's name.
        ulps: accepted error, in eps of the result's dtype, relative to its largest magnitude.
        multi: the op yields a tuple.
        bits: works on bit patterns (no computing 16-bit floats in float32).
        shareable, prune, batch, lower: see `Op`.
    """
    return functools.partial(
        Op, infer=infer, vjp=vjp, samples=samples, dtypes=dtypes, ulps=ulps, multi=multi,
        bits=bits, shareable=shareable, prune=prune, batch=batch, lower=lower, is_composite=False,
    )  # fmt: skip


def composite(
    *,
    samples: Callable | None = None,
    vjp: Any = None,
    infer: Callable | None = None,
    dtypes: str | tuple[str, ...] = "float",
    ulps: float = 16,
    multi: bool = False,
    batch: Callable | None = None,
    lower: Mapping[str, Any] | None = None,
    native: Callable[[], Op] | None = None,
) -> Callable[[Callable], Op]:
    """Declare a composite; the decorated function is its body, written with other ops.

    An engine that lists it runs it natively, any other runs the body. ``vjp=None`` differentiates
    the body; ``infer=None`` traces it. ``native`` is a C function that computes the same (see `Op`).
    """
    return functools.partial(
        Op, infer=infer, vjp=vjp, samples=samples, dtypes=dtypes, ulps=ulps, multi=multi,
        batch=batch, lower=lower, native=native, is_composite=True,
    )  # fmt: skip


def get(name: str) -> Op:
    """The op of that name, from core or from the entry-point group ``monograph.ops``."""
    found = _REGISTRY.get(name)
    if found is None:
        from . import plugins

        if plugins.find("monograph.ops", name) is not None:
            plugins.load("monograph.ops", name)
            found = _REGISTRY.get(name)
    if found is None:
        raise GraphError(
            f"there is no op {name!r}: python -m monograph ops lists core's; one from outside is there "
            f"once the module that defines it is imported"
        )
    return found


def all_ops() -> Iterable[Op]:
    """Every registered op, by name."""
    return tuple(_REGISTRY[k] for k in sorted(_REGISTRY))


def core_ops() -> Iterable[Op]:
    """Core's own ops, by name: the same ones whatever else is loaded."""
    return tuple(op for op in all_ops() if not op.outside)


def _freeze(x: Any) -> Any:
    if isinstance(x, (bool, str, float, DType)) or x is None:
        return x
    if isinstance(x, (list, tuple)):
        return tuple([_freeze(i) for i in x])
    if isinstance(x, (int, np.integer)):
        return operator.index(x)
    if isinstance(x, (np.ndarray, np.generic)):  # such as permutation=np.argsort(order)
        return _freeze(x.tolist())
    if isinstance(x, np.dtype):
        return as_dtype(x)
    return x


# The two records the representation itself needs.
def _no_samples(dtype: DType, rng: Any) -> Iterable[Sample]:
    return ()


@op(infer=lambda *, name: None, vjp=NOT_DIFFERENTIABLE, samples=_no_samples)
def parameter(*, name):
    """An input of a graph."""
    raise AssertionError("a parameter is bound by the caller, never computed")


@op(
    infer=lambda *, value: Spec(value.array.shape, value.array.dtype),
    vjp=lambda g, y, *, value: (),
    samples=_no_samples,
)
def constant(*, value):
    """An array known while tracing (a `Literal`)."""
    return value.array


from . import eager as _eager, tracing as _tracing  # noqa: E402  (they need Op)
