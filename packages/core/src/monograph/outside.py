"""Operations from outside core, for engines: where their lowerings come from, and their bodies, checked.

An engine's table is a `Table`: looking up an op from outside gives the lowering that the op brings for
this engine, else the one that calls its NumPy body on the host. What such a body returns is checked
against the inferred spec, and what it raises reaches the user with the line that used the op.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .dtypes import DType
from .errors import DTypeError, EngineError, MonographError
from .op import Op
from .spec import Spec
from .tracing import at_line

# what may become what: a result of a lower kind, or of another width, is converted
_RANK = {"bool": 0, "uint": 1, "int": 1, "float8": 2, "float": 2, "complex": 3}


class Table(dict):
    """An engine's lowerings: a dict that answers for ops from outside core, too.

    ``op in table`` and ``table[op]`` see them; iterating and `len` show the engine's own only.

    Args:
        engine: the engine's name, as in ``mg.op(lower={name: ...})``.
        entries: op -> lowering, in whatever form the engine has.
        host: makes a lowering of that form which calls ``op.reference`` on the host (see `call`);
            without it an op that brings nothing for this engine stays unsupported.

    >>> table = Table("example", {}, host=lambda op: "on the host")
    >>> len(table)
    0
    """

    def __init__(
        self, engine: str, entries: Mapping[Op, Any], host: Callable[[Op], Any] | None = None
    ):
        super().__init__(entries)
        self.engine, self.host = engine, host

    def __contains__(self, op: object) -> bool:
        return super().__contains__(op) or self._outside(op) is not None

    def __missing__(self, op: Op) -> Any:
        found = self._outside(op)
        if found is None:
            raise KeyError(op)
        return found

    def _outside(self, op: Any) -> Any:
        if not getattr(op, "outside", False):
            return None
        brought = op.lower.get(self.engine)
        if brought is not None or self.host is None or op.reference is None:
            return brought
        return self.host(op)


def call(
    op: Op, xs: Sequence[np.ndarray], attrs: dict[str, Any], ins: Sequence[Any],
    outs: Sequence[Any], source: Any,
) -> list[np.ndarray]:  # fmt: skip
    """Run an op's NumPy body; the arrays that come out are new, row-major, and of the specs inferred.

    Args:
        xs: operands, read-only; 16-bit floats are handed over as float32, unless `Op.bits`.
        ins, outs: specs of operands and results, or values that have them.
        source: the line that used the op, for errors.

    Raises:
        EngineError: the body raised (its exception is the cause), or returned what does not fit.
    """
    try:
        if getattr(op.reference, "checked", False):  # a C function: its outputs are made for it
            got = op.reference(*xs, **attrs)
            return list(got) if op.multi else [got]
        # in row-major order: a result shall depend on the numbers alone
        arrays = [
            np.asarray(x, x.dtype if op.bits else s.dtype.compute.numpy, order="C")
            for x, s in zip(xs, ins)
        ]
        with np.errstate(all="ignore"):  # as on the NumPy engine: what is NaN shows in the results
            got = op.reference(*arrays, **attrs)
    except Exception as e:
        raise blamed(e, op, "NumPy body", source)  # noqa: B904  (its cause is set)
    wants = [Spec.of(x) for x in outs]
    return [_fitted(op, y, s, source) for y, s in zip(listed(op, got, wants, source), wants)]


def listed(op: Op, got: Any, outs: Sequence[Spec], source: Any) -> Sequence[Any]:
    """The results in a row, or an `EngineError` when they are not as many as inferred."""
    if not op.multi:
        return (got,)
    if not isinstance(got, (tuple, list)) or len(got) != len(outs):
        n = f"a tuple of {len(got)}" if isinstance(got, (tuple, list)) else type(got).__name__
        raise EngineError(
            f"{source}: op {op.name!r} returned {n}, expected a tuple of {len(outs)} arrays: "
            f"{', '.join(map(str, outs))}"
        )
    return got


def fits(op: Op, shape: Sequence[int], dtype: DType, want: Spec, source: Any) -> None:
    """Raise an `EngineError` unless a result of this shape and dtype can stand for ``want``.

    The shape must be the one inferred. A dtype may be of another width, or of a lower kind (an int
    for a float): it is converted.
    """
    if (
        tuple(shape) == want.shape
        and dtype is not None
        and _RANK[dtype.kind] <= _RANK[want.dtype.kind]
    ):
        return
    got = Spec(tuple(shape), dtype)
    raise EngineError(
        f"{source}: op {op.name!r} returned {got}, expected {want}: what its shape rule says and what "
        f"it computes differ; mend either in {op.__module__}"
    )


def _fitted(op: Op, y: Any, want: Spec, source: Any) -> np.ndarray:
    try:
        array = np.asarray(y)
        dtype = Spec((), array.dtype).dtype
    except (DTypeError, ValueError):  # objects, strings, lists of uneven lengths
        what = f"an array of {y.dtype}" if isinstance(y, np.ndarray) else type(y).__name__
        raise EngineError(
            f"{source}: op {op.name!r} returned {what}, which holds no numbers of one shape and dtype; "
            f"expected {want}"
        ) from None
    fits(op, array.shape, dtype, want, source)
    # a copy: the body may keep what it returned, and write to it
    with np.errstate(all="ignore"):
        return np.array(array, dtype=want.dtype.numpy, order="C", copy=True)


def blamed(e: Exception, op: Op, what: str, source: Any) -> MonographError:
    """What to raise for an exception out of an op's own code: it names the op and the line that used it."""
    if isinstance(e, MonographError):
        return at_line(e, source)
    error = EngineError(f"{source}: the {what} of op {op.name!r} failed: {type(e).__name__}: {e}")
    error.__cause__ = e
    return error
