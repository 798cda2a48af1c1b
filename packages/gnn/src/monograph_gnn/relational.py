"""Convolutions with weights for every relation: R-GCN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError, DTypeError, ShapeError
from monograph.tracing import at_user_line
from monograph_layers.initializers import Init, glorot_uniform, zeros

from .authoring import layer, refuse
from .dense import per_matrix
from .hetero_batches import HeteroBatch, relation_name
from .index import EdgeIndex, at_once, edge_index, known
from .loops import gated_as
from .propagation import Aggregation, aggregate, neighbor_sum, propagate


def typed_index(index: EdgeIndex, types: Any, relations: int) -> tuple[EdgeIndex, Any]:
    """The same edges, into one receiver per node and relation, node by node.

    What aggregates along it is told apart by relation: ``[receivers * relations, ...]``. Do it once,
    before training: a function in which the edges or types are no constants sorts them in every call.

    Args:
        types: int32 ``[edges]``, in the order of ``index``: the relation of each edge, in ``0 ..
            relations - 1``; of padding, anything.

    Returns:
        The index, and ``[edges]``, for each of its edges the place that it had.

    Raises:
        ShapeError: not one type per edge.
        DTypeError: no integers.
        ArgumentError: a type out of range. In a function being traced, whose types are not known yet, such
            an edge becomes padding.

    >>> import numpy as np
    >>> from monograph_gnn import edge_index
    >>> index, _ = edge_index([0, 1, 2], [2, 2, 0], num_nodes=3)
    >>> index.receivers.tolist()
    [0, 2, 2]
    >>> typed, places = typed_index(index, np.int32([0, 1, 0]), relations=2)
    >>> typed.receivers.tolist(), places.tolist()
    ([0, 4, 5], [0, 2, 1])
    """
    if relations < 1:
        raise at_user_line(ArgumentError(f"relations={relations} must be 1 or more"))
    types = known(types)
    if tuple(types.shape) != (index.num_edges,):
        raise at_user_line(
            ShapeError(
                f"types must be [edges], {index.num_edges} of them, got {tuple(types.shape)}"
            )
        )
    if not mg.isdtype(mg.dtypes.dtype(types.dtype), "integral") and index.num_edges:
        raise at_user_line(DTypeError(f"types must be integers, got {types.dtype}"))
    if not any(isinstance(x, mg.graph.Value) for x in (types, *index.arrays)):
        _check_types(np.asarray(index.receivers) < index.num_receivers, types, relations)
    typed, places = at_once(_typed, (index.ungated, types), relations)
    return gated_as(typed, index, places), places


def _check_types(real: np.ndarray, types: np.ndarray, relations: int) -> None:
    bad = np.flatnonzero(real & ((types < 0) | (types >= relations)))
    if bad.size:
        more = f" ({bad.size} types are out of range)" if bad.size > 1 else ""
        raise at_user_line(
            ArgumentError(f"types[{bad[0]}] is {types[bad[0]]}, of {relations} relations{more}")
        )


def _typed(given: tuple[EdgeIndex, Any], relations: int) -> tuple[EdgeIndex, Any]:
    index, types = given[0], mg.astype(mg.asarray(given[1]), "int32")
    slots = mg.asarray(index.receivers) * relations + types
    slots = mg.where((types >= 0) & (types < relations), slots, -1)
    return edge_index(index.senders, slots, index.num_receivers * relations, index.num_senders)


def _kernels(
    scope: mg.Scope, relations: int, width: int, channels: int, bases: int | None,
    blocks: int | None, init: Init, dtype: Any,
) -> Any:  # fmt: skip
    """``[relations, blocks, width / blocks, channels / blocks]``."""
    init = per_matrix(init)
    if bases:
        kernel, coefficients = _bases(scope, relations, width, channels, bases, init, dtype)
        kernel = mg.reshape(coefficients @ mg.reshape(kernel, (bases, -1)), (-1, width, channels))
        return kernel[:, None]
    if blocks:
        shape = (relations, blocks, width // blocks, channels // blocks)
        return scope.parameter("kernel", shape, init, dtype)
    return scope.parameter("kernel", (relations, width, channels), init, dtype)[:, None]


def _bases(
    scope: mg.Scope, relations: int, width: int, channels: int, bases: int, init: Init, dtype: Any
) -> tuple[Any, Any]:
    kernel = scope.parameter("kernel", (bases, width, channels), init, dtype)
    return kernel, scope.parameter("coefficients", (relations, bases), glorot_uniform, dtype)


def _check_parts(
    scope: mg.Scope, name: str, width: int, channels: int, bases: int | None, blocks: int | None
) -> None:
    if bases and blocks:
        refuse(scope, name, f"takes bases={bases} or blocks={blocks}, not both", ArgumentError)
    for what, n in {"features": width, "channels": channels}.items():
        if blocks and n % blocks:
            refuse(scope, name, f"{n} {what} are no multiple of blocks={blocks}")


@layer
def rgcn_conv(
    scope: mg.Scope, index: EdgeIndex, x: Any, channels: int, *, relations: int,
    types: Any = None, bases: int | None = None, blocks: int | None = None,
    how: Aggregation = "mean", root_weight: bool = True, use_bias: bool = True,
    kernel_initializer: Init = glorot_uniform, bias_initializer: Init = zeros,
) -> Any:  # fmt: skip
    """Relational graph convolution (Schlichtkrull et al. 2018), as PyG's RGCNConv.

    ``sum over relations r of mean over the r-edges into i of W_r x_j``, and ``W_root x_i + b``.

    Args:
        scope: holds ``kernel [relations, in, channels]``, ``root_kernel [in, channels]`` and ``bias``;
            with ``bases`` ``kernel [bases, in, channels]`` and ``coefficients [relations, bases]``; with
            ``blocks`` ``kernel [relations, blocks, in / blocks, channels / blocks]``.
        index: of nodes, with ``types``; without, one that `typed_index` made.
        x: ``[nodes, in]``; None where nothing is known of nodes: each has a row of its own in the
            kernels. A pair of those of senders and receivers where they are different.
        relations: how many.
        types: int32 ``[edges]`` in the order of ``index``: the relation of each.
        bases: make the relations' kernels of that many.
        blocks: give the kernels that many blocks on the diagonal, and zeros elsewhere.
        how: aggregates each relation's edges into a node, see `aggregate`.

    Returns:
        ``[nodes, channels]``.

    Raises:
        ShapeError: features or channels that blocks do not divide, no type per edge.
        ArgumentError: both bases and blocks, types out of range.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.ones((3, 4), "float32"), [0, 1], [1, 2], edges=np.int32([0, 1]))
    >>> store = mg.Store(seed=0)
    >>> layer = lambda scope, g: rgcn_conv(
    ...     scope / "rgcn", g.index, g.nodes, 8, types=g.edges, relations=2, blocks=2)
    >>> store.bind(layer)(g).shape
    (3, 8)
    """
    source, target = x if isinstance(x, tuple) else (x, x)
    typed = index if types is None else typed_index(index, types, relations)[0]
    n, rest = divmod(typed.num_receivers, relations)
    if rest:
        refuse(
            scope, "rgcn_conv", f"needs types=, or an index of typed_index for {relations} relations;"
            f" got {index}", ArgumentError,
        )  # fmt: skip
    width = typed.num_senders if source is None else source.shape[-1]
    dtype = next((v.dtype for v in (source, target) if v is not None), "float32")
    _check_parts(scope, "rgcn_conv", width, channels, bases, blocks)
    if source is None and blocks:
        refuse(scope, "rgcn_conv", "blocks need features of nodes; x is None", ArgumentError)
    if bases and how in ("sum", "mean"):
        init = per_matrix(kernel_initializer)
        parts = _bases(scope, relations, width, channels, bases, init, dtype)
        y = _by_bases(typed, source, *parts, mean=how == "mean")
    else:
        kernels = _kernels(
            scope, relations, width, channels, bases, blocks, kernel_initializer, dtype
        )
        y = _by_relation(typed, source, kernels, how)
    if root_weight:
        shape = (n if target is None else target.shape[-1], channels)
        root = scope.parameter("root_kernel", shape, kernel_initializer, dtype)
        y = y + (root if target is None else target @ root)
    return y + scope.parameter("bias", (channels,), bias_initializer, dtype) if use_bias else y


def _by_relation(typed: EdgeIndex, x: Any, kernels: Any, how: Aggregation) -> Any:
    """Aggregated by relation first, then multiplied: all relations in one product of matrices."""
    relations, blocks, width, channels = kernels.shape
    n = typed.num_receivers // relations
    if x is None:
        rows = mg.reshape(kernels, (relations * width, channels))
        messages = mg.take(rows, _relation(typed, relations) * width + _sender(typed), axis=0)
        parts = mg.reshape(aggregate(typed, messages, how), (n, relations, channels))
        return mg.sum(parts, axis=1)
    x = mg.reshape(propagate(typed, x, how=how), (n, relations, blocks, width))
    x = mg.reshape(mg.permute_dims(x, (2, 0, 1, 3)), (blocks, n, relations * width))
    w = mg.reshape(mg.swapaxes(kernels, 0, 1), (blocks, relations * width, channels))
    return mg.reshape(mg.swapaxes(x @ w, 0, 1), (n, blocks * channels))


def _by_bases(typed: EdgeIndex, x: Any, kernel: Any, coefficients: Any, mean: bool) -> Any:
    """Every basis' product sent once, weighed by what it is to the edge's relation."""
    (bases, width, channels), relations = kernel.shape, coefficients.shape[0]
    columns = mg.swapaxes(kernel, 0, 1)
    if x is not None:
        columns = x @ mg.reshape(columns, (width, bases * channels))
    weights = mg.take(coefficients, _relation(typed, relations), axis=0)
    if mean:
        slots = mg.minimum(mg.asarray(typed.receivers), max(typed.num_receivers - 1, 0))
        alike = mg.take(typed.in_degrees, slots) if typed.num_receivers else slots
        weights = weights / mg.astype(mg.maximum(alike, 1), weights.dtype)[:, None]
    plain = replace(
        typed, receivers=mg.asarray(typed.receivers) // relations,
        offsets=typed.offsets[::relations], targets=mg.asarray(typed.targets) // relations,
    )  # fmt: skip
    sent = mg.reshape(columns, (-1, bases, channels))
    return mg.sum(neighbor_sum(plain, sent, weights), axis=1)


def _relation(typed: EdgeIndex, relations: int) -> Any:
    return mg.asarray(typed.receivers) % relations


def _sender(typed: EdgeIndex) -> Any:
    return mg.minimum(mg.asarray(typed.senders), max(typed.num_senders - 1, 0))


@layer
def hetero_rgcn_conv(
    scope: mg.Scope, graph: HeteroBatch, x: Mapping[str, Any], channels: int, *,
    bases: int | None = None, blocks: int | None = None, how: Aggregation = "mean",
    root_weight: bool = True, use_bias: bool = True, kernel_initializer: Init = glorot_uniform,
    bias_initializer: Init = zeros,
) -> dict[str, Any]:  # fmt: skip
    """`rgcn_conv` over nodes of several types, each with a root weight and a bias of its own.

    Args:
        scope: holds ``sender-name-receiver/kernel`` per relation; with ``bases`` ``kernel`` and
            ``coefficients``, the relations in the order of their names; per type of nodes
            ``type/root_kernel`` and ``type/bias``.
        graph: says who sends to whom.
        x: by type ``[nodes, in]``; of one width for ``bases``.

    Returns:
        By type ``[nodes, channels]``: all types of ``x``. A type nothing arrives at has what its root
        weight gives.

    Raises:
        ShapeError: features of several widths, for bases; features or channels blocks do not divide.

    >>> import numpy as np
    >>> from monograph_gnn import hetero_graph
    >>> g = hetero_graph({"user": np.ones((2, 3), "float32"), "item": np.ones((4, 5), "float32")},
    ...                  {("user", "buys", "item"): ([0, 1, 1], [3, 0, 2])})
    >>> store = mg.Store(seed=0)
    >>> y = store.bind(lambda scope, g: hetero_rgcn_conv(scope / "rgcn", g, g.nodes, 8))(g)
    >>> {k: v.shape for k, v in y.items()}
    {'item': (4, 8), 'user': (2, 8)}
    """
    widths = {k: v.shape[-1] for k, v in x.items()}
    senders = [r[0] for r in graph.index]
    if bases and len({widths[k] for k in senders}) > 1:
        refuse(scope, "hetero_rgcn_conv", f"bases need features of one width, got {widths}")
    for k in dict.fromkeys(senders):
        _check_parts(scope, "hetero_rgcn_conv", widths[k], channels, bases, blocks)
    dtype = next(iter(x.values())).dtype
    options = (channels, bases, blocks, kernel_initializer, dtype)
    if bases and senders:
        shared = _kernels(scope, len(senders), widths[senders[0]], *options)
    out: dict[str, Any] = {}
    for i, relation in enumerate(sorted(graph.index)):  # as in a tree, whose keys are sorted
        sender, _, receiver = relation
        kernels = (
            shared[i : i + 1] if bases
            else _kernels(scope / relation_name(relation), 1, widths[sender], *options)
        )  # fmt: skip
        y = _by_relation(graph.index[relation], x[sender], kernels, how)
        out[receiver] = out[receiver] + y if receiver in out else y
    for k, v in x.items():
        y = out.get(k)
        if root_weight:
            shape = (widths[k], channels)
            root = v @ (scope / k).parameter("root_kernel", shape, kernel_initializer, dtype)
            y = root if y is None else y + root
        if y is None:
            y = mg.zeros((v.shape[0], channels), dtype=dtype)
        bias = (
            (scope / k).parameter("bias", (channels,), bias_initializer, dtype) if use_bias else 0
        )
        out[k] = y + bias
    return {k: out[k] for k in x}
