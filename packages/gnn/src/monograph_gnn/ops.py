"""Operations over the edges of a graph: what messages, sums and softmaxes are made of.

Each takes an index's six arrays as its last operands (see `EdgeIndex`), and is its own gradient's
counterpart: what is read along an edge is summed along it backwards. On CPUs they run in C (kernels.c)
where there is a compiler, elsewhere as gathers and scatters.

Padding, an edge whose ids are out of range, reads zeros and adds to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import DTypeError, ShapeError
from monograph.op import Sample

INDEX = ("senders", "receivers", "offsets", "targets", "order", "sender_offsets")
"""The operands that an index is."""

_FLAGS = ("-O3", "-march=native", "-pthread", "-fno-trapping-math")


def _native(name: str, infer: Callable) -> Callable[[], mg.Op]:
    def make() -> mg.Op:
        return mg.custom_op_from_c(
            Path(__file__).with_name("kernels.c"), f"mg_gnn_{name}", infer=infer, flags=_FLAGS,
            name=f"{name}_in_c", dtypes=("float32", "float64", "int32"),
        )  # fmt: skip

    return make


def _edges_op(name: str, infer: Callable, vjp: Callable, samples: Callable) -> Callable:
    return mg.composite(
        infer=infer, vjp=vjp, samples=samples, dtypes=("float32", "float64"), ulps=64,
        native=_native(name, infer),
    )  # fmt: skip


def _counts(index: tuple[Any, ...]) -> tuple[int, int, int]:
    """Edges, senders, receivers."""
    senders, _, offsets, _, _, sender_offsets = index
    return senders.shape[0], sender_offsets.shape[0] - 1, offsets.shape[0] - 1


def _checked(index: tuple[Any, ...]) -> tuple[int, int, int]:
    for name, spec in zip(INDEX, index):
        if spec.ndim != 1 or spec.dtype.name != "int32":
            raise DTypeError(f"{name} of an index must be int32[n], got {spec}")
    if len({index[i].shape for i in (0, 1, 3, 4)}) > 1:
        raise ShapeError(f"an index has one entry per edge in each of {', '.join(INDEX[:5])}")
    return _counts(index)


def _rows(what: str, x: Any, n: int, ndim: int = 1) -> None:
    """Raise unless ``x`` has ``n`` rows, is of floats, and has at least ``ndim`` axes."""
    if not x.dtype.is_float:
        raise DTypeError(f"{what} must be floats, got {x}")
    if x.ndim < ndim or x.shape[0] != n:
        raise ShapeError(f"{what} must have {n} rows, as the index says, got {x}")


def _is_edge(ids: Any, n: int, like: Any) -> Any:
    """Which edges are real, along the first axis of ``like``."""
    return mg.reshape(ids < n, (-1,) + (1,) * (like.ndim - 1))


def read_rows(x: Any, ids: Any) -> Any:
    """``x[ids]``, zeros for ids out of range."""
    n = x.shape[0]
    if not n:
        return mg.zeros((ids.shape[0], *x.shape[1:]), dtype=x.dtype)
    rows = mg.take(x, mg.minimum(ids, n - 1), axis=0)
    return mg.where(_is_edge(ids, n, rows), rows, 0)


# ---- samples: four senders, three receivers of which one has no edge, one edge of padding

_SENDERS = np.asarray([3, 0, 3, 1, 3, 4], "int32")
_RECEIVERS = np.asarray([0, 0, 2, 2, 2, 3], "int32")


def _sample_index() -> tuple[np.ndarray, ...]:
    order = np.argsort(_SENDERS, kind="stable").astype("int32")
    offsets = np.searchsorted(_RECEIVERS, np.arange(4)).astype("int32")
    sender_offsets = np.searchsorted(_SENDERS[order], np.arange(5)).astype("int32")
    return _SENDERS, _RECEIVERS, offsets, _RECEIVERS[order], order, sender_offsets


def _samples(*shapes: tuple[int, ...], grad: bool = True, **attrs: Any) -> Callable:
    def draw(dtype: Any, rng: Any) -> Iterator[Sample]:
        made = [rng.normal(size=s).astype(dtype.numpy) for s in shapes]
        yield Sample((*made, *_sample_index()), attrs, grad)

    return draw


def _both(by_sender: tuple[tuple[int, ...], ...], by_receiver: tuple[tuple[int, ...], ...]) -> Any:
    def draw(dtype: Any, rng: Any) -> Iterator[Sample]:
        yield from _samples(*by_sender, transpose=False)(dtype, rng)
        yield from _samples(*by_receiver, transpose=True)(dtype, rng)

    return draw


# ---- the operations


def _infer_neighbor_sum(
    x: Any, weights: Any, senders: Any, receivers: Any, offsets: Any, targets: Any, order: Any,
    sender_offsets: Any, *, transpose: bool = False,
) -> Any:  # fmt: skip
    index = (senders, receivers, offsets, targets, order, sender_offsets)
    edges, n_senders, n_receivers = _checked(index)
    into, of = (n_senders, n_receivers) if transpose else (n_receivers, n_senders)
    _rows("features", x, of, 3)
    if x.ndim != 3 or weights.shape not in ((edges, x.shape[1]), (1, x.shape[1])):
        raise ShapeError(
            f"features [nodes, heads, width] need weights [{edges} edges (or 1), heads], got {x} and "
            f"{weights}"
        )
    if weights.dtype is not x.dtype:
        raise DTypeError(f"features are {x.dtype}, weights {weights.dtype}")
    return x.with_((into, *x.shape[1:]))


def _neighbor_sum_vjp(g: Any, y: Any, x: Any, w: Any, *index: Any, transpose: bool) -> tuple:
    ends = (x, g) if transpose else (g, x)
    dw = edge_dot(*ends, *index)
    if w.shape[0] == 1:
        dw = mg.sum(dw, axis=0, keepdims=True)
    return neighbor_sum(g, w, *index, transpose=not transpose), dw, *[None] * len(index)


@_edges_op(
    "neighbor_sum", _infer_neighbor_sum, _neighbor_sum_vjp,
    _both(((4, 2, 3), (6, 2)), ((3, 2, 3), (1, 2))),
)  # fmt: skip
def neighbor_sum(
    x, weights, senders, receivers, offsets, targets, order, sender_offsets, *, transpose=False
):
    """The weighted sum over each node's incoming edges of what their other ends hold.

    ``y[i] = sum of weights[e] * x[senders[e]]`` over the edges ``e`` into ``i``: a product with a sparse
    matrix in CSR form. ``x``: ``[senders, heads, width]``, ``weights``: ``[edges, heads]``, or
    ``[1, heads]``, the same for all. With ``transpose`` along edges backwards: ``x`` by receiver, the
    sum by sender.
    """
    index = (senders, receivers, offsets, targets, order, sender_offsets)
    of, into = (receivers, senders) if transpose else (senders, receivers)
    _, n_senders, n_receivers = _counts(index)
    messages = read_rows(x, of) * mg.expand_dims(weights, axis=-1)
    return mg.segment_sum(messages, into, n_senders if transpose else n_receivers)


def _infer_edge_dot(
    a: Any, b: Any, senders: Any, receivers: Any, offsets: Any, targets: Any, order: Any,
    sender_offsets: Any,
) -> Any:  # fmt: skip
    edges, n_senders, n_receivers = _checked(
        (senders, receivers, offsets, targets, order, sender_offsets)
    )
    _rows("the receivers' features", a, n_receivers, 3)
    _rows("the senders' features", b, n_senders, 3)
    if a.ndim != 3 or a.shape[1:] != b.shape[1:] or a.dtype is not b.dtype:
        raise ShapeError(f"both ends need [nodes, heads, width] of one kind, got {a} and {b}")
    return a.with_((edges, a.shape[1]))


def _edge_dot_vjp(g: Any, y: Any, a: Any, b: Any, *index: Any) -> tuple:
    da = neighbor_sum(b, g, *index)
    return da, neighbor_sum(a, g, *index, transpose=True), *[None] * len(index)


@_edges_op("edge_dot", _infer_edge_dot, _edge_dot_vjp, _samples((3, 2, 9), (4, 2, 9)))
def edge_dot(a, b, senders, receivers, offsets, targets, order, sender_offsets):
    """Per edge and head the inner product of its ends: ``a[receiver] . b[sender]``.

    ``a``: ``[receivers, heads, width]``, ``b``: ``[senders, heads, width]``; ``[edges, heads]`` comes
    out. A sampled product of dense matrices (SDDMM).
    """
    return mg.sum(read_rows(a, receivers) * read_rows(b, senders), axis=-1)


def _infer_edge_take(
    x: Any, senders: Any, receivers: Any, offsets: Any, targets: Any, order: Any, sender_offsets: Any,
    *, transpose: bool = False,
) -> Any:  # fmt: skip
    edges, n_senders, n_receivers = _checked(
        (senders, receivers, offsets, targets, order, sender_offsets)
    )
    _rows("features", x, n_senders if transpose else n_receivers)
    return x.with_((edges, *x.shape[1:]))


def _edge_take_vjp(g: Any, y: Any, x: Any, *index: Any, transpose: bool) -> tuple:
    return edge_sum(g, *index, transpose=transpose), *[None] * len(index)


@_edges_op("edge_take", _infer_edge_take, _edge_take_vjp, _both(((3, 2, 2),), ((4, 5),)))
def edge_take(
    x, senders, receivers, offsets, targets, order, sender_offsets, *, transpose=False
):  # fmt: skip
    """Per edge the row of its receiver, with ``transpose`` of its sender. ``x``: ``[nodes, ...]``."""
    return read_rows(x, senders if transpose else receivers)


def _infer_edge_sum(
    values: Any, senders: Any, receivers: Any, offsets: Any, targets: Any, order: Any,
    sender_offsets: Any, *, transpose: bool = False,
) -> Any:  # fmt: skip
    edges, n_senders, n_receivers = _checked(
        (senders, receivers, offsets, targets, order, sender_offsets)
    )
    _rows("values", values, edges)
    return values.with_((n_senders if transpose else n_receivers, *values.shape[1:]))


def _edge_sum_vjp(g: Any, y: Any, values: Any, *index: Any, transpose: bool) -> tuple:
    return edge_take(g, *index, transpose=transpose), *[None] * len(index)


@_edges_op("edge_sum", _infer_edge_sum, _edge_sum_vjp, _both(((6, 2, 2),), ((6, 5),)))
def edge_sum(
    values, senders, receivers, offsets, targets, order, sender_offsets, *, transpose=False
):  # fmt: skip
    """``values [edges, ...]`` summed by receiver, with ``transpose`` by sender; 0 where there is none."""
    index = (senders, receivers, offsets, targets, order, sender_offsets)
    _, n_senders, n_receivers = _counts(index)
    if transpose:
        return mg.segment_sum(values, senders, n_senders)
    return mg.segment_sum(values, receivers, n_receivers)


def _infer_edge_max(
    values: Any, senders: Any, receivers: Any, offsets: Any, targets: Any, order: Any,
    sender_offsets: Any,
) -> Any:  # fmt: skip
    edges, _, n = _checked((senders, receivers, offsets, targets, order, sender_offsets))
    _rows("values", values, edges)
    return values.with_((n, *values.shape[1:]))


def _edge_max_vjp(g: Any, y: Any, values: Any, *index: Any) -> tuple:
    largest = mg.astype(values == edge_take(y, *index), values.dtype)
    share = g / mg.maximum(edge_sum(largest, *index), 1)
    return edge_take(share, *index) * largest, *[None] * len(index)


@_edges_op("edge_max", _infer_edge_max, _edge_max_vjp, _samples((6, 5)))
def edge_max(values, senders, receivers, offsets, targets, order, sender_offsets):
    """The largest of ``values [edges, ...]`` per receiver; 0 where there is none.

    Values that are equal share the gradient.
    """
    n = offsets.shape[0] - 1
    found = mg.segment_max(values, receivers, n)
    some = mg.reshape(offsets[1:] > offsets[:-1], (n,) + (1,) * (values.ndim - 1))
    return mg.where(some, found, 0)


def segment_softmax(values: Any, segment_ids: Any, num_segments: int) -> Any:
    """The softmax of ``values [rows, ...]`` over the rows of each segment.

    Args:
        segment_ids: ``[rows]``, in any order; rows whose id is out of range get 0.

    Returns:
        ``[rows, ...]``; 0 also where all of a segment's are -inf.

    >>> segment_softmax(mg.asarray([0.0, 0.0, 5.0, 1.0]), mg.asarray([0, 0, 1, 2]), 2).tolist()
    [0.5, 0.5, 1.0, 0.0]
    """
    values, ids = mg.asarray(values), mg.asarray(segment_ids)
    ids = mg.where(ids < 0, num_segments, ids)
    most = mg.stop_gradient(mg.segment_max(values, ids, num_segments))
    most = mg.where(most == -mg.inf, 0, most)
    real = _is_edge(ids, num_segments, values)
    e = mg.exp(mg.where(real, values - read_rows(most, ids), -mg.inf))
    total = read_rows(mg.segment_sum(e, ids, num_segments), ids)
    return mg.where(total == 0, 0, e / mg.where(total == 0, 1, total))


def _infer_edge_softmax(
    logits: Any, senders: Any, receivers: Any, offsets: Any, targets: Any, order: Any,
    sender_offsets: Any,
) -> Any:  # fmt: skip
    edges, *_ = _checked((senders, receivers, offsets, targets, order, sender_offsets))
    _rows("logits", logits, edges)
    return logits


def _edge_softmax_vjp(g: Any, y: Any, logits: Any, *index: Any) -> tuple:
    flow = y * g
    return flow - y * edge_take(edge_sum(flow, *index), *index), *[None] * len(index)


@_edges_op("edge_softmax", _infer_edge_softmax, _edge_softmax_vjp, _samples((6, 2)))
def edge_softmax(logits, senders, receivers, offsets, targets, order, sender_offsets):
    """The softmax of ``logits [edges, ...]`` over the edges into each node; 0 for padding.

    Also 0 where all of a node's are -inf: it listens to nobody.
    """
    return segment_softmax(logits, receivers, offsets.shape[0] - 1)
