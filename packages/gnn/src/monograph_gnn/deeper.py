"""DeeperGCN's convolution: messages kept positive, aggregated by a learnable softmax or power mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import monograph as mg
import monograph_layers as nn
from monograph.errors import ArgumentError

from .authoring import layer, refuse
from .dense import both
from .gated import torch_batch_norm
from .index import EdgeIndex
from .propagation import aggregate, edge_softmax, propagate

NORMS = ("batch", "layer", None)


@layer
def gen_conv(
    scope: mg.Scope, index: EdgeIndex, x: Any, channels: int, *, how: str | Sequence[str] = "softmax",
    t: float = 1.0, learn_t: bool = False, p: float = 1.0, learn_p: bool = False,
    msg_norm: bool = False, learn_msg_scale: bool = False, norm: str | None = "batch",
    num_layers: int = 2, expansion: int = 2, eps: float = 1e-7, edges: Any = None,
    training: bool = False, mask: Any = None, use_bias: bool = False, **options: Any,
) -> Any:  # fmt: skip
    """Generalised aggregation (Li et al. 2020, "DeeperGCN"), as PyG's GENConv.

    ``MLP(x_i + how_j(relu(x_j + e_ij) + eps))``.

    Args:
        scope: holds ``sender``, ``edge``, ``receiver``, ``aggregated``, a ``kernel [width, channels]``
            each (and ``bias`` with ``use_bias``), those whose rows are not ``channels`` wide already;
            ``mlp/0`` and so on and ``mlp/0/norm``; what is learnt of ``t``, ``p``, ``scale``, all ``[1]``.
        x: ``[nodes, in]``, or a pair of those of senders and receivers.
        how: ``"softmax"``, of ``t`` times the messages; ``"softmax_sg"``, the same without a gradient of
            the weights; ``"power"``, the ``p``-th root of the mean of messages to the power ``p``, kept
            within 1e-4 and 100; or names of `AGGREGATIONS`.
        msg_norm: what arrives gets the length of ``x_i``, times ``scale``.
        norm: of the MLP's inner layers: ``"batch"`` (with PyTorch's settings), ``"layer"`` or None.
        num_layers: of the MLP; the inner ones have ``expansion * channels`` units.
        edges: ``[edges, edge features]``, in the order of ``index``.
        mask: ``[nodes]`` bools: which nodes count in batch statistics (``GraphBatch.node_mask``).
        options: initializers and regularizers, as of `monograph_layers.dense`.

    Returns:
        ``[nodes, channels]``.

    Raises:
        ArgumentError: an unknown ``norm``.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.ones((3, 5), "float32"), [0, 1], [1, 2])
    >>> store = mg.Store(seed=0)
    >>> store.bind(lambda scope, g: gen_conv(scope / "conv", g.index, g.nodes, 8))(g).shape
    (3, 8)
    """
    if norm not in NORMS:
        refuse(scope, "gen_conv", f"norm={norm!r}; known are {NORMS}", ArgumentError)

    def fitted(name: str, v: Any) -> Any:
        if v.shape[-1] == channels:
            return v
        return nn.dense(scope / name, v, channels, use_bias=use_bias, **options)

    def learnt(name: str, value: float, learn: bool) -> Any:
        return scope.parameter(name, (1,), value, x_i.dtype) if learn else value

    x_j, x_i = both(x)
    x_j = fitted("sender", x_j)
    edges = None if edges is None else fitted("edge", edges)

    def softmax(index: EdgeIndex, values: Any) -> Any:
        weights = edge_softmax(index, values * learnt("t", t, learn_t))
        return aggregate(
            index, values * (mg.stop_gradient(weights) if how == "softmax_sg" else weights)
        )

    def power(index: EdgeIndex, values: Any) -> Any:
        if p == 1 and not learn_p:
            return aggregate(index, values, "mean")
        to = learnt("p", p, learn_p)
        kept = lambda v: mg.clip(v, 1e-4, 100.0)  # noqa: E731
        return mg.pow(kept(aggregate(index, mg.pow(kept(values), to), "mean")), 1 / to)

    own = {"softmax": softmax, "softmax_sg": softmax, "power": power}
    y = propagate(
        index, (x_j, x_i), lambda j, i, e: mg.relu(j if e is None else j + e) + eps, edges=edges,
        how=own.get(how, how) if isinstance(how, str) else how,
    )  # fmt: skip
    y = fitted("aggregated", y)
    if msg_norm:
        square = mg.sum(mg.square(x_i), axis=-1, keepdims=True)
        length = mg.where(square > 0, mg.sqrt(mg.where(square > 0, square, 1)), 0)
        scale = scope.parameter("scale", (1,), 1.0, y.dtype) if learn_msg_scale else 1.0
        y = nn.unit_norm(scope, y) * length * scale
    y = y + fitted("receiver", x_i)
    for i in range(num_layers):
        at, last = scope / "mlp" / str(i), i == num_layers - 1
        y = nn.dense(at, y, channels * (1 if last else expansion), use_bias=use_bias, **options)
        if last:
            break
        if norm == "batch":
            y = torch_batch_norm(at / "norm", y, training, mask)
        elif norm == "layer":
            y = nn.layer_norm(at / "norm", y, epsilon=1e-5)
        y = mg.relu(y)
    return y
