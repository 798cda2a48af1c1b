"""Communication between the devices that run one program; on one device each is trivial.

A collective names the mesh axis it runs over and that axis's ``size``, so that shapes are static. A
graph of size 1 runs on every engine; `Engine.prepare` refuses a larger one, which only a strategy that
laid out the mesh can run. The references are therefore those of one device.
"""

from __future__ import annotations

import numpy as np

from ..dtypes import uint32
from ..errors import ArgumentError, NotDifferentiable, ShapeError
from ..op import NOT_DIFFERENTIABLE, Sample, op
from ..spec import Spec
from ._infer import check_axes, check_kind
from ._samples import draw
from .logic import compare, select
from .structural import broadcast_in_dim, convert

_NUMBERS = ("float", "complex", "int", "uint")
_KINDS = {"add": "numeric", "multiply": "numeric", "minimum": "real", "maximum": "real"}


def _check_mesh(axis_name, size):
    if not isinstance(axis_name, str) or not axis_name:
        raise ArgumentError(f"axis_name={axis_name!r} must name a mesh axis, such as 'data'")
    if size < 1:
        raise ArgumentError(f"size={size}: mesh axis {axis_name!r} needs at least one device")


def _scaled(x, axis, up, down=1):
    """``x`` with ``axis`` made ``up`` times longer and ``down`` times shorter."""
    check_axes((axis,), x.ndim, "axis")
    if x.shape[axis] % down:
        raise ShapeError(
            f"axis {axis} has length {x.shape[axis]}, which {down} devices cannot share evenly"
        )
    return x.with_(tuple(n * up // down if i == axis else n for i, n in enumerate(x.shape)))


def _samples(**attrs):
    def make(d, rng):
        for shape in ((2, 3), (0, 2)):
            yield Sample((draw(d, rng, shape),), {"axis_name": "data", **attrs})

    return make


def _all_reduce(x, *, kind, axis_name, size):
    _check_mesh(axis_name, size)
    if kind not in _KINDS:
        raise ArgumentError(f"kind={kind!r} is none of {', '.join(_KINDS)}")
    check_kind(x, _KINDS[kind])
    return x


def _all_reduce_vjp(g, y, x, *, kind, axis_name, size):
    def total(v):
        return all_reduce(v, axis_name=axis_name, size=size)

    if kind == "add":
        return (total(g),)
    if kind == "multiply":
        raise NotDifferentiable(
            "all_reduce with kind='multiply' has no gradient; sum logarithms instead"
        )
    # devices that hold the extreme share its cotangent, as in reduce_max
    hit = convert(compare(x, y, direction="EQ"), dtype=x.dtype)
    return (hit * (total(g) / total(hit)),)


@op(
    infer=_all_reduce,
    vjp=_all_reduce_vjp,
    samples=lambda d, rng: [
        Sample((draw(d, rng, s),), {"axis_name": "data", "kind": k}, grad=k != "multiply")
        for s in ((2, 3), (), (0,))
        for k in ("add", "multiply", *(() if d.is_complex else ("maximum", "minimum")))
    ],
    dtypes=_NUMBERS,
)
def all_reduce(x, *, kind="add", axis_name="data", size=1):
    """Elementwise sum (or ``kind``) of every device's ``x``, the same on all (StableHLO all_reduce)."""
    return x


def _all_gather(x, *, axis, axis_name, size):
    _check_mesh(axis_name, size)
    return _scaled(x, axis, size)


@op(
    infer=_all_gather,
    vjp=lambda g, y, x, **attrs: (reduce_scatter(g, **attrs),),
    samples=_samples(axis=1),
    dtypes=_NUMBERS,
)
def all_gather(x, *, axis, axis_name="data", size=1):
    """Every device's ``x`` joined along ``axis``, in the devices' order (StableHLO all_gather)."""
    return x


def _reduce_scatter(x, *, axis, axis_name, size):
    _check_mesh(axis_name, size)
    check_kind(x, "numeric")
    return _scaled(x, axis, 1, size)


@op(
    infer=_reduce_scatter,
    vjp=lambda g, y, x, **attrs: (all_gather(g, **attrs),),
    samples=_samples(axis=0),
    dtypes=_NUMBERS,
)
def reduce_scatter(x, *, axis, axis_name="data", size=1):
    """The sum of every device's ``x``, of which each keeps its part along ``axis``.

    StableHLO reduce_scatter with add.
    """
    return x


def _broadcast(x, *, root, axis_name, size):
    _check_mesh(axis_name, size)
    if not 0 <= root < size:
        raise ArgumentError(f"root={root} is none of the {size} devices of axis {axis_name!r}")
    return x


def _broadcast_vjp(g, y, x, *, root, axis_name, size):
    from ._build import full

    total = all_reduce(g, axis_name=axis_name, size=size)
    here = compare(
        replica_id(axis_name=axis_name, size=size), full(root, Spec((), uint32)), direction="EQ"
    )
    mine = broadcast_in_dim(here, shape=x.shape, dims=())
    return (select(mine, total, full(0, x.spec)),)


@op(infer=_broadcast, vjp=_broadcast_vjp, samples=_samples(root=0), dtypes=_NUMBERS)
def collective_broadcast(x, *, root=0, axis_name="data", size=1):
    """Device ``root``'s ``x`` on every device (StableHLO collective_broadcast)."""
    return x


def _all_to_all(x, *, split_axis, concat_axis, axis_name, size):
    _check_mesh(axis_name, size)
    return _scaled(_scaled(x, split_axis, 1, size), concat_axis, size)


@op(
    infer=_all_to_all,
    vjp=lambda g, y, x, *, split_axis, concat_axis, axis_name, size: (
        all_to_all(
            g, split_axis=concat_axis, concat_axis=split_axis, axis_name=axis_name, size=size
        ),
    ),
    samples=_samples(split_axis=0, concat_axis=1),
    dtypes=_NUMBERS,
)
def all_to_all(x, *, split_axis, concat_axis, axis_name="data", size=1):
    """``x`` cut into ``size`` parts along ``split_axis``, part ``i`` sent to device ``i``; what arrives
    is joined along ``concat_axis`` (StableHLO all_to_all)."""
    return x


def _replica_id(*, axis_name, size):
    _check_mesh(axis_name, size)
    return Spec((), uint32)


@op(
    infer=_replica_id,
    vjp=NOT_DIFFERENTIABLE,
    samples=lambda d, rng: [Sample((), {"axis_name": "data"}, grad=False)],
    dtypes="uint32",
)
def replica_id(*, axis_name="data", size=1):
    """Which device of the mesh axis this is, counted from 0 (StableHLO replica_id)."""
    return np.uint32(0)
