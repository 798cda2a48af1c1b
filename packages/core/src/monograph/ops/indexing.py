"""Slices, gathers and scatters at positions known only at run time (StableHLO's definitions)."""

from __future__ import annotations

import numpy as np

from ..dtypes import int64
from ..errors import ArgumentError, DTypeError, ShapeError
from ..op import Sample, op
from ._build import zeros_like
from ._infer import check_axes, check_length
from ._samples import awkward, draw, special


def _check_starts(x, starts):
    check_length(starts, x.ndim, "starts")
    for s in starts:
        if s.shape or not s.dtype.is_integer:
            raise DTypeError(f"a start is {s}; needs a 0-d integer")


def _clamped(starts, shape, sizes):
    return [int(min(max(int(s), 0), n - m)) for s, n, m in zip(starts, shape, sizes)]


def _dynamic_slice(x, *starts, sizes):
    _check_starts(x, starts)
    check_length(sizes, x.ndim, "sizes")
    for i, (n, m) in enumerate(zip(x.shape, sizes)):
        if not 0 <= m <= n:
            raise ShapeError(f"axis {i} has length {n}; cannot cut {m} from it")
    return x.with_(sizes)


def _none(starts):
    return (None,) * len(starts)


def _start_values(n, rng, high=4):
    return tuple(np.asarray(rng.integers(-1, high), "int32") for _ in range(n))


def _slice_samples(d, rng):
    for shape, sizes in (((4, 3), (2, 2)), ((5,), (5,)), ((3, 2), (0, 1)), ((), ())):
        yield Sample((draw(d, rng, shape), *_start_values(len(shape), rng)), {"sizes": sizes})
    at = (np.asarray(2, "int32"),)
    yield Sample((awkward(d, (7,)), *at), {"sizes": (3,)}, grad=False)
    yield Sample((np.zeros((0,), d.numpy), *at), {"sizes": (0,)}, grad=False)


@op(
    infer=_dynamic_slice,
    vjp=lambda g, y, x, *starts, sizes: (
        dynamic_update_slice(zeros_like(x), g, *starts),
        *_none(starts),
    ),
    samples=_slice_samples,
    dtypes="any",
)
def dynamic_slice(x, *starts, sizes):
    """A block of ``sizes`` at ``starts`` (0-d integers, clamped so that the block fits)."""
    at = _clamped(starts, x.shape, sizes)
    return x[tuple(slice(a, a + m) for a, m in zip(at, sizes))]


def _dynamic_update_slice(x, update, *starts):
    _check_starts(x, starts)
    if update.dtype is not x.dtype or update.ndim != x.ndim:
        raise ShapeError(f"an update {update} does not fit into {x}")
    for i, (n, m) in enumerate(zip(x.shape, update.shape)):
        if m > n:
            raise ShapeError(f"axis {i} has length {n}, the update {m}")
    return x


def _update_samples(d, rng):
    for shape, small in (((4, 3), (2, 2)), ((5,), (5,)), ((3, 2), (0, 1)), ((), ())):
        yield Sample((draw(d, rng, shape), draw(d, rng, small), *_start_values(len(shape), rng)))
    at = np.asarray(2, "int32")
    yield Sample((awkward(d, (7,)), awkward(d, (2,)), at), grad=False)


@op(
    infer=_dynamic_update_slice,
    vjp=lambda g, y, x, update, *starts: (
        dynamic_update_slice(g, zeros_like(update), *starts),
        dynamic_slice(g, *starts, sizes=update.shape),
        *_none(starts),
    ),
    samples=_update_samples,
    dtypes="any",
)
def dynamic_update_slice(x, update, *starts):
    """``x`` with the block at ``starts`` (clamped) replaced by ``update``."""
    out = np.array(x)
    at = _clamped(starts, x.shape, update.shape)
    out[tuple(slice(a, a + m) for a, m in zip(at, update.shape))] = update
    return out


# ---- gather


def _without(n, *drop):
    gone = {a for axes in drop for a in axes}
    return [i for i in range(n) if i not in gone]


def _index_shape(indices, ivd):
    return [n for i, n in enumerate(indices.shape) if i != ivd]


def _check_indices(x, indices, index_map, ivd, batching, index_batching):
    if not indices.dtype.is_integer:
        raise DTypeError(f"the indices are {indices}; needs integers")
    if not 0 <= ivd <= indices.ndim:
        raise ShapeError(f"index_vector_dim={ivd} is out of range for indices {indices.shape}")
    length = indices.shape[ivd] if ivd < indices.ndim else 1
    if length != len(index_map):
        raise ShapeError(f"index vectors have length {length}, {len(index_map)} axes are mapped")
    check_axes(index_map, x.ndim, "mapped axes")
    check_axes(batching, x.ndim, "batching axes")
    for a, b in zip(batching, index_batching):
        if x.shape[a] != indices.shape[b]:
            raise ShapeError(f"batch axis {a} of {x.shape} and {b} of {indices.shape} differ")


def _gather(
    x, indices, *, offset_dims, collapsed_slice_dims, operand_batching_dims,
    start_indices_batching_dims, start_index_map, index_vector_dim, slice_sizes, indices_are_sorted,
):  # fmt: skip
    _check_indices(
        x,
        indices,
        start_index_map,
        index_vector_dim,
        operand_batching_dims,
        start_indices_batching_dims,
    )
    check_length(slice_sizes, x.ndim, "slice_sizes")
    for i, (n, m) in enumerate(zip(x.shape, slice_sizes)):
        if not 0 <= m <= n:
            raise ShapeError(f"axis {i} has length {n}; cannot take slices of {m}")
        if i in (*collapsed_slice_dims, *operand_batching_dims) and m != 1:
            raise ShapeError(f"axis {i} is dropped, so its slice size must be 1, not {m}")
    window = [slice_sizes[i] for i in _without(x.ndim, collapsed_slice_dims, operand_batching_dims)]
    batch = _index_shape(indices, index_vector_dim)
    if len(window) != len(offset_dims):
        raise ArgumentError(
            f"offset_dims={offset_dims} names {len(offset_dims)} axes for {len(window)}"
        )
    out, w, b = [], iter(window), iter(batch)
    for i in range(len(window) + len(batch)):
        out.append(next(w) if i in offset_dims else next(b))
    return x.with_(out)


def _starts(x_shape, indices, index_map, ivd, batching, index_batching):
    """Start positions ``[..., ndim]`` over the batch shape of the indices."""
    vectors = indices[..., None] if ivd == indices.ndim else np.moveaxis(indices, ivd, -1)
    starts = np.zeros((*vectors.shape[:-1], len(x_shape)), np.int64)
    for k, axis in enumerate(index_map):
        starts[..., axis] = vectors[..., k].astype(np.int64)
    for a, b in zip(batching, index_batching):
        b = b - (b > ivd)
        line = np.arange(vectors.shape[b])
        starts[..., a] = line.reshape([-1 if i == b else 1 for i in range(vectors.ndim - 1)])
    return starts


def _positions(starts, sizes):
    """Positions per axis ``[*batch, *sizes]`` of every element of every window."""
    n, batch = len(sizes), starts.ndim - 1
    out = []
    for axis, m in enumerate(sizes):
        offset = np.arange(m).reshape([-1 if i == axis else 1 for i in range(n)])
        out.append(starts[..., axis].reshape(starts.shape[:-1] + (1,) * n) + offset)
    return [np.broadcast_to(p, (*starts.shape[:batch], *sizes)) for p in out]


def scatter_dims(a):
    """The scatter that is a gather's transpose: the same dimension numbers under other names."""
    return {
        "update_window_dims": a["offset_dims"],
        "inserted_window_dims": a["collapsed_slice_dims"],
        "input_batching_dims": a["operand_batching_dims"],
        "scatter_indices_batching_dims": a["start_indices_batching_dims"],
        "scatter_dims_to_operand_dims": a["start_index_map"],
        "index_vector_dim": a["index_vector_dim"],
        "indices_are_sorted": a["indices_are_sorted"],
    }


def _gather_vjp(g, y, x, indices, **a):
    # gather clamps where scatter skips: give scatter the clamped starts
    at = clamp_indices(
        indices, a["start_index_map"], a["index_vector_dim"], x.shape, a["slice_sizes"]
    )
    return scatter(zeros_like(x), at, g, kind="add", unique_indices=False, **scatter_dims(a)), None


def clamp_indices(indices, index_map, ivd, shape, sizes):
    """Start positions, moved so that windows of ``sizes`` lie within ``shape``."""
    from ._build import literal
    from .logic import clamp
    from .structural import broadcast_in_dim

    limits = [shape[i] - sizes[i] for i in index_map]
    info = np.iinfo(indices.dtype.numpy)
    top = literal(np.minimum(limits, info.max), indices.dtype)
    if ivd < indices.ndim:
        high = broadcast_in_dim(top, shape=indices.shape, dims=(ivd,))
    else:
        from .structural import reshape

        high = broadcast_in_dim(reshape(top, shape=()), shape=indices.shape, dims=())
    return clamp(zeros_like(indices), indices, high)


def _gather_samples(d, rng):
    def take(n, shape):
        return rng.integers(-1, n + 1, shape).astype("int32")

    plain = {"operand_batching_dims": (), "start_indices_batching_dims": ()}
    yield Sample((draw(d, rng, (5, 3)), take(5, (4, 1))), {
        "offset_dims": (1,), "collapsed_slice_dims": (0,), "start_index_map": (0,),
        "index_vector_dim": 1, "slice_sizes": (1, 3), **plain})  # fmt: skip
    yield Sample((draw(d, rng, (5,)), take(5, (2, 3))), {
        "offset_dims": (), "collapsed_slice_dims": (0,), "start_index_map": (0,),
        "index_vector_dim": 2, "slice_sizes": (1,), **plain})  # fmt: skip
    yield Sample((draw(d, rng, (4, 5)), take(4, (3, 2))), {
        "offset_dims": (0, 2), "collapsed_slice_dims": (), "start_index_map": (1, 0),
        "index_vector_dim": 1, "slice_sizes": (2, 3), **plain})  # fmt: skip
    yield Sample((draw(d, rng, (2, 5, 3)), take(5, (2, 4, 1))), {
        "offset_dims": (2,), "collapsed_slice_dims": (1,), "operand_batching_dims": (0,),
        "start_indices_batching_dims": (0,), "start_index_map": (1,), "index_vector_dim": 2,
        "slice_sizes": (1, 1, 3)})  # fmt: skip
    one = {"offset_dims": (), "collapsed_slice_dims": (0,), "start_index_map": (0,),
        "index_vector_dim": 0, "slice_sizes": (1,), **plain}  # fmt: skip
    yield Sample((awkward(d, (5,)), take(5, ())), one, grad=False)
    yield Sample((draw(d, rng, (5, 3)), take(5, (0, 1))), {
        "offset_dims": (1,), "collapsed_slice_dims": (0,), "start_index_map": (0,),
        "index_vector_dim": 1, "slice_sizes": (1, 3), **plain})  # fmt: skip
    yield Sample((draw(d, rng, (3, 4)), take(3, (2,))), {  # one element, as a 0-d array
        "offset_dims": (), "collapsed_slice_dims": (0, 1), "start_index_map": (0, 1),
        "index_vector_dim": 0, "slice_sizes": (1, 1), **plain})  # fmt: skip


@op(infer=_gather, vjp=_gather_vjp, samples=_gather_samples, dtypes="any")
def gather(
    x, indices, *, offset_dims, collapsed_slice_dims, operand_batching_dims=(),
    start_indices_batching_dims=(), start_index_map, index_vector_dim, slice_sizes,
    indices_are_sorted=False,
):  # fmt: skip
    """Slices of ``x`` at the given start positions (StableHLO gather); starts are clamped."""
    dropped = (*collapsed_slice_dims, *operand_batching_dims)
    starts = _starts(
        x.shape, indices, start_index_map, index_vector_dim, operand_batching_dims,
        start_indices_batching_dims,
    )  # fmt: skip
    starts = np.clip(starts, 0, np.asarray(x.shape) - np.asarray(slice_sizes))
    got = x[tuple(_positions(starts, slice_sizes))]
    batch = starts.ndim - 1
    kept = [slice_sizes[i] for i in _without(x.ndim, dropped)]
    got = got.reshape((*got.shape[:batch], *kept))
    places = [*_without(got.ndim, offset_dims), *offset_dims]
    return np.transpose(got, np.argsort(places))


# ---- scatter

KINDS = {
    "update": None, "add": np.add, "multiply": np.multiply, "minimum": np.minimum, "maximum": np.maximum,
}  # fmt: skip


def _scatter(
    x, indices, updates, *, update_window_dims, inserted_window_dims, input_batching_dims,
    scatter_indices_batching_dims, scatter_dims_to_operand_dims, index_vector_dim, kind,
    indices_are_sorted, unique_indices,
):  # fmt: skip
    _check_indices(
        x, indices, scatter_dims_to_operand_dims, index_vector_dim, input_batching_dims,
        scatter_indices_batching_dims,
    )  # fmt: skip
    if kind not in KINDS:
        raise ArgumentError(f"kind={kind!r} is not one of {', '.join(KINDS)}")
    if updates.dtype is not x.dtype:
        raise DTypeError(f"the operand is {x.dtype}, the updates are {updates.dtype}")
    window = _without(x.ndim, inserted_window_dims, input_batching_dims)
    batch = _index_shape(indices, index_vector_dim)
    rest = [updates.shape[i] for i in _without(updates.ndim, update_window_dims)]
    if len(window) != len(update_window_dims) or rest != batch:
        raise ShapeError(
            f"updates {updates.shape} do not fit indices {indices.shape} into {x.shape}"
        )
    for a, u in zip(window, update_window_dims):
        if updates.shape[u] > x.shape[a]:
            raise ShapeError(
                f"axis {u} of the updates is {updates.shape[u]}, axis {a} of {x.shape} is smaller"
            )
    return x


def _gather_dims(a, sizes):
    return {
        "offset_dims": a["update_window_dims"],
        "collapsed_slice_dims": a["inserted_window_dims"],
        "operand_batching_dims": a["input_batching_dims"],
        "start_indices_batching_dims": a["scatter_indices_batching_dims"],
        "start_index_map": a["scatter_dims_to_operand_dims"],
        "index_vector_dim": a["index_vector_dim"],
        "indices_are_sorted": a["indices_are_sorted"],
        "slice_sizes": sizes,
    }


def _sizes(x, updates, a):
    sizes = [1] * x.ndim
    window = _without(x.ndim, a["inserted_window_dims"], a["input_batching_dims"])
    for axis, u in zip(window, a["update_window_dims"]):
        sizes[axis] = updates.shape[u]
    return sizes


def _scatter_vjp(g, y, x, indices, updates, *, kind, **a):
    from ..errors import NotDifferentiable
    from ._build import full, ones_like
    from .logic import compare
    from .shape import iota
    from .structural import convert, reshape

    dims = _gather_dims(a, _sizes(x, updates, a))
    # a skipped window got nothing in, so nothing comes out: scatter ones, look where they went
    inside = _inside(x, indices, updates, dims)
    if kind == "add":
        return g, None, gather(g, indices, **dims) * inside
    if kind in ("minimum", "maximum"):
        won_x = convert(compare(x, y, direction="EQ"), dtype=x.dtype)
        won_u = convert(compare(updates, gather(y, indices, **dims), direction="EQ"), dtype=x.dtype)
        won_u = won_u * inside
        count = scatter(won_x, indices, won_u, kind="add", **a)
        share = g / count
        return won_x * share, None, won_u * gather(share, indices, **dims)
    if kind == "update" and a["unique_indices"]:
        kept = scatter(ones_like(g), indices, zeros_like(updates), kind="update", **a)
        return g * kept, None, gather(g, indices, **dims) * inside
    if kind == "update":
        # who wrote last: number the updates, write the numbers, see which are still there
        number = reshape(iota(shape=(updates.spec.size,), dtype=int64, axis=0), shape=updates.shape)
        number = number + 1
        written = scatter(full(0, x.spec.with_(dtype=int64)), indices, number, kind="update", **a)
        kept = convert(compare(written, zeros_like(written), direction="EQ"), dtype=x.dtype)
        last = compare(gather(written, indices, **dims), number, direction="EQ")
        return g * kept, None, gather(g, indices, **dims) * inside * convert(last, dtype=x.dtype)
    if kind == "multiply" and a["unique_indices"]:
        factor = scatter(ones_like(g), indices, updates, kind="update", **a)
        return g * factor, None, gather(g * x, indices, **dims) * inside
    raise NotDifferentiable(
        "a product scattered into has a gradient only for unique indices (unique_indices=True)"
    )


def _inside(x, indices, updates, dims):
    """1 where a window lies within ``x``, else 0, in the updates' shape."""
    from .logic import compare
    from .reductions import reduce_and
    from .structural import broadcast_in_dim, convert

    at = clamp_indices(
        indices, dims["start_index_map"], dims["index_vector_dim"], x.shape, dims["slice_sizes"]
    )
    ok = compare(at, indices, direction="EQ")
    ivd = dims["index_vector_dim"]
    if ivd < indices.ndim:
        ok = reduce_and(ok, axes=(ivd,))
    batch = tuple(i for i in range(updates.ndim) if i not in dims["offset_dims"])
    return convert(broadcast_in_dim(ok, shape=updates.shape, dims=batch), dtype=updates.dtype)


def _scatter_samples(d, rng):
    plain = {"input_batching_dims": (), "scatter_indices_batching_dims": ()}
    rows = {
        "update_window_dims": (1,), "inserted_window_dims": (0,), "scatter_dims_to_operand_dims": (0,),
        "index_vector_dim": 1, **plain,
    }  # fmt: skip
    kinds = ("add", "maximum", "minimum") if d.kind in ("float", "int", "uint") else ()
    for kind in kinds:
        at = rng.integers(-1, 5, (4, 1)).astype("int32")
        yield Sample((draw(d, rng, (5, 3)), at, draw(d, rng, (4, 3))), {**rows, "kind": kind})
    at = rng.permutation(5)[:3].astype("int32").reshape(3, 1)
    last = {**rows, "kind": "update"}
    yield Sample((draw(d, rng, (5, 3)), at, draw(d, rng, (3, 3))), {**last, "unique_indices": True})
    at = np.array([[1], [3], [1], [7]], "int32")  # one place twice: the last counts
    yield Sample((draw(d, rng, (5, 3)), at, draw(d, rng, (4, 3))), last)
    for kind in ("add", "multiply") if kinds else ():  # one element
        one = {
            "update_window_dims": (), "inserted_window_dims": (0, 1), "index_vector_dim": 0,
            "scatter_dims_to_operand_dims": (0, 1), "kind": kind, "unique_indices": True, **plain,
        }  # fmt: skip
        yield Sample((draw(d, rng, (3, 4)), np.array([2, 1], "int32"), draw(d, rng, ())), one)
    yield Sample((draw(d, rng, (5, 3)), np.zeros((0, 1), "int32"), draw(d, rng, (0, 3))), last)
    one = {
        "update_window_dims": (), "inserted_window_dims": (0,), "scatter_dims_to_operand_dims": (0,),
        "index_vector_dim": 0, **plain,
    }  # fmt: skip
    for kind in kinds:
        yield Sample((awkward(d, (6,)), np.asarray(4, "int32"), special(d)[0]),
                     {**one, "kind": kind}, grad=False)  # fmt: skip
    if kinds:
        block = {
            "update_window_dims": (1, 2), "inserted_window_dims": (), "scatter_dims_to_operand_dims": (1, 0),
            "index_vector_dim": 1, "kind": "add", **plain,
        }  # fmt: skip
        at = np.array([[0, 1], [2, 2], [9, 0]], "int32")
        yield Sample((draw(d, rng, (4, 5)), at, draw(d, rng, (3, 2, 3))), block)


@op(infer=_scatter, vjp=_scatter_vjp, samples=_scatter_samples, dtypes="any", ulps=8)
def scatter(
    x, indices, updates, *, update_window_dims, inserted_window_dims, input_batching_dims=(),
    scatter_indices_batching_dims=(), scatter_dims_to_operand_dims, index_vector_dim, kind,
    indices_are_sorted=False, unique_indices=False,
):  # fmt: skip
    """``x`` with ``updates`` combined in at positions (StableHLO scatter); windows outside are skipped.

    ``kind``: ``update add multiply minimum maximum``.
    """
    a = {"inserted_window_dims": inserted_window_dims, "input_batching_dims": input_batching_dims}
    sizes = _sizes(x, updates, {**a, "update_window_dims": update_window_dims})
    starts = _starts(
        x.shape, indices, scatter_dims_to_operand_dims, index_vector_dim, input_batching_dims,
        scatter_indices_batching_dims,
    )  # fmt: skip
    batch = starts.ndim - 1
    ordered = np.transpose(
        updates, [*_without(updates.ndim, update_window_dims), *update_window_dims]
    )
    values = ordered.reshape([*starts.shape[:batch], *sizes])
    fits = ((starts >= 0) & (starts + np.asarray(sizes, int) <= np.asarray(x.shape, int))).all(-1)
    out = np.array(x)
    at = tuple(p[fits] for p in _positions(starts, sizes))
    combine = KINDS[kind]
    if combine is None:
        out[at] = values[fits]
    else:
        combine.at(out, at, values[fits])
    return out
