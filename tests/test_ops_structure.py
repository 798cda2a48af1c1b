"""Records that move, select and join data, random bits and control flow, against jax.lax in 64 bits."""

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from jax import lax
from monograph import ops
from monograph.op import Sample
from monograph.testing.oracles import cases, check


def in_jax(fn):
    """``fn`` on jax arrays with 64-bit types on; NumPy out."""

    def call(*xs, **attrs):
        with jax.enable_x64(True):
            out = fn(*map(jnp.asarray, xs), **attrs)
            return jax.tree.map(np.asarray, out)

    return call


def last(indices, dim):
    """The index vectors in the last axis, as jax wants them."""
    return indices[..., None] if dim == indices.ndim else jnp.moveaxis(indices, dim, -1)


def gather(x, indices, *, index_vector_dim, slice_sizes, indices_are_sorted=False, **numbers):
    numbers = lax.GatherDimensionNumbers(**numbers)
    return lax.gather(x, last(indices, index_vector_dim), numbers, slice_sizes, mode="clip")


SCATTER = {
    "update": lax.scatter, "add": lax.scatter_add, "multiply": lax.scatter_mul,
    "minimum": lax.scatter_min, "maximum": lax.scatter_max,
}  # fmt: skip


def scatter(x, indices, updates, *, kind, index_vector_dim, unique_indices=False, **names):
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=names["update_window_dims"],
        inserted_window_dims=names["inserted_window_dims"],
        scatter_dims_to_operand_dims=names["scatter_dims_to_operand_dims"],
        operand_batching_dims=names.get("input_batching_dims", ()),
        scatter_indices_batching_dims=names.get("scatter_indices_batching_dims", ()),
    )
    return SCATTER[kind](x, last(indices, index_vector_dim), updates, numbers, mode="drop")


def random_bits(key, *, shape, dtype):
    return jax.random.bits(jax.random.wrap_key_data(key), shape, str(dtype))


def threefry_2x32(key, high, low):
    # jax takes the counters' halves one after the other
    out = jax.extend.random.threefry_2x32(key, jnp.concatenate([high, low]))
    return out[: high.size], out[high.size :]


def case(index, x, *, branches):
    # jax.lax.switch clamps; StableHLO takes the last branch for an index out of range
    return ([x * x, x + x][int(index) if index in (0, 1) else 1],)


def while_(i, x, n, *, cond, body, num_carry):
    return lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] + c[1]), (i, x))


def scan(w, first, xs, *, body, num_consts, num_carry, length, reverse):
    def step(c, x):
        return c * w + x, (c * x, c)

    carry, (ys, history) = lax.scan(step, first, xs, length, reverse)
    return carry, ys, history


ORACLES = {
    ops.alias: in_jax(lambda x: x),
    ops.stop_gradient: in_jax(lax.stop_gradient),
    ops.optimization_barrier: in_jax(lambda *xs: xs),
    ops.reshape: in_jax(lambda x, *, shape: x.reshape(shape)),
    ops.transpose: in_jax(lambda x, *, permutation: lax.transpose(x, permutation)),
    ops.broadcast_in_dim: in_jax(lambda x, *, shape, dims: lax.broadcast_in_dim(x, shape, dims)),
    ops.iota: in_jax(lambda *, shape, dtype, axis: lax.broadcasted_iota(str(dtype), shape, axis)),
    ops.slice_: in_jax(lambda x, *, start, limit, strides: lax.slice(x, start, limit, strides)),
    ops.pad: in_jax(
        lambda x, v, *, low, high, interior: lax.pad(x, v, list(zip(low, high, interior)))
    ),
    ops.split: in_jax(lambda x, *, sizes, axis: lax.split(x, sizes, axis)),
    ops.concatenate: in_jax(lambda *xs, axis: lax.concatenate(xs, axis)),
    ops.reverse: in_jax(lambda x, *, axes: lax.rev(x, axes)),
    ops.dynamic_slice: in_jax(
        lambda x, *at, sizes: lax.dynamic_slice(x, at, sizes, allow_negative_indices=False)
    ),
    ops.dynamic_update_slice: in_jax(
        lambda x, u, *at: lax.dynamic_update_slice(x, u, at, allow_negative_indices=False)
    ),
    ops.gather: in_jax(gather),
    ops.scatter: in_jax(scatter),
    ops.random_bits: in_jax(random_bits),
    ops.threefry_2x32: in_jax(threefry_2x32),
    ops.case: in_jax(case),
    ops.while_: in_jax(while_),
    ops.scan: in_jax(scan),
}


@pytest.mark.parametrize("op", ORACLES, ids=lambda op: op.name)
def test_the_records_samples(op):
    # data moves alike in every dtype, and each sample is a compilation
    found = list(cases(op, ("float64", "int32", "bool", "uint32", "uint64")))
    assert found
    for sample in found:
        check(op, ORACLES[op], sample, rtol=1e-15)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_drawn_pads_and_slices(data):
    shape = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))
    x = np.arange(np.prod(shape), dtype="int32").reshape(shape)
    interior = [data.draw(st.integers(0, 2)) for _ in shape]
    full = [n + max(n - 1, 0) * k for n, k in zip(shape, interior)]
    low = [data.draw(st.integers(-min(n, 2), 3)) for n in full]
    high = [data.draw(st.integers(-min(n + a, 2), 3)) for n, a in zip(full, low)]
    attrs = {"low": low, "high": high, "interior": interior}
    check(ops.pad, ORACLES[ops.pad], Sample((x, np.int32(-1)), attrs))
    start = [data.draw(st.integers(0, n)) for n in shape]
    limit = [data.draw(st.integers(a, n)) for a, n in zip(start, shape)]
    strides = [data.draw(st.integers(1, 3)) for _ in shape]
    attrs = {"start": start, "limit": limit, "strides": strides}
    check(ops.slice_, ORACLES[ops.slice_], Sample((x,), attrs))


# what np.take and fancy indexing make of it: [window axes], start map, with and without batch axes
@settings(max_examples=15, deadline=None)
@given(st.data())
def test_drawn_gathers_and_scatters(data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    n = len(shape)
    mapped = data.draw(st.permutations(range(n)))[: data.draw(st.integers(1, n))]
    sizes = [data.draw(st.integers(1, m)) for m in shape]
    dropped = [i for i in range(n) if sizes[i] == 1 and data.draw(st.booleans())]
    batch = data.draw(st.lists(st.integers(0, 3), max_size=2))
    ivd = data.draw(st.integers(0, len(batch)))
    whole = [*batch[:ivd], len(mapped), *batch[ivd:]]
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    at = rng.integers(-2, 5, whole).astype("int32")
    window = [i for i in range(n) if i not in dropped]
    rank = len(window) + len(batch)
    offset = sorted(data.draw(st.permutations(range(rank)))[: len(window)])
    x = rng.normal(size=shape)
    attrs = {
        "offset_dims": offset, "collapsed_slice_dims": dropped, "start_index_map": mapped,
        "index_vector_dim": ivd, "slice_sizes": sizes,
    }  # fmt: skip
    attrs = {k: tuple(v) if isinstance(v, list) else v for k, v in attrs.items()}
    check(ops.gather, ORACLES[ops.gather], Sample((x, at), attrs))
    updates = rng.normal(size=reference_shape(batch, offset, [sizes[i] for i in window]))
    kind = data.draw(st.sampled_from(["add", "minimum", "maximum", "multiply"]))
    attrs = {
        "update_window_dims": tuple(offset), "inserted_window_dims": tuple(dropped),
        "scatter_dims_to_operand_dims": tuple(mapped), "index_vector_dim": ivd, "kind": kind,
    }  # fmt: skip
    check(ops.scatter, ORACLES[ops.scatter], Sample((x, at, updates), attrs), 1e-13, 1e-14)


def reference_shape(batch, offset, window):
    """Batch lengths and window lengths, the window's at the places ``offset``."""
    b, w = iter(batch), iter(window)
    return [next(w) if i in offset else next(b) for i in range(len(batch) + len(window))]
