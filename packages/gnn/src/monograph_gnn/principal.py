"""Principal neighbourhood aggregation: several aggregations, scaled by how many neighbours there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import monograph as mg
import monograph_layers as nn
import numpy as np
from monograph.errors import ArgumentError
from monograph.tracing import at_user_line
from monograph_layers.activations import Activation, activate

from .authoring import layer, refuse
from .dense import add_bias, kernels
from .index import EdgeIndex
from .propagation import aggregate, received, sent

SCALERS = {
    "identity": lambda degree, linear, log: mg.ones_like(degree),
    "amplification": lambda degree, linear, log: mg.log(degree + 1) / log,
    "attenuation": lambda degree, linear, log: log / mg.log(mg.maximum(degree, 1) + 1),
    "linear": lambda degree, linear, log: degree / linear,
    "inverse_linear": lambda degree, linear, log: linear / mg.maximum(degree, 1),
}
"""A node's factor by name, of its degree and the means of degrees and of ``log(degree + 1)``."""


def degree_histogram(indices: EdgeIndex | Sequence[EdgeIndex]) -> np.ndarray:
    """How many nodes of the graphs have 0, 1, 2 ... incoming edges, int64 ``[largest + 1]``.

    What `pna_conv` is to know of the training set. Nodes of padding count as nodes without edges.

    >>> from monograph_gnn import edge_index
    >>> degree_histogram(edge_index([0, 1, 1], [1, 2, 2], num_nodes=3)[0]).tolist()
    [1, 1, 1]
    """
    known = [indices] if isinstance(indices, EdgeIndex) else indices
    return np.bincount(np.concatenate([[], *(np.diff(i.offsets) for i in known)]).astype("int64"))


def _means(histogram: Any) -> tuple[float, float]:
    """Of the degrees and of ``log(degree + 1)``."""
    counts = np.asarray(histogram, "float64")
    if counts.ndim != 1 or counts.sum() <= 0:
        raise at_user_line(
            ArgumentError(
                f"the histogram of degrees must count nodes by their degree, [largest + 1], got "
                f"{counts.tolist()}"
            )
        )
    degrees = np.arange(len(counts))
    mean = lambda x: float((x * counts).sum() / counts.sum())  # noqa: E731
    return mean(degrees), mean(np.log(degrees + 1))


@layer
def pna_conv(
    scope: mg.Scope, index: EdgeIndex, x: Any, channels: int, aggregators: Sequence[str],
    scalers: Sequence[str], degrees: Any, *, edges: Any = None, towers: int = 1, pre_layers: int = 1,
    post_layers: int = 1, divide_input: bool = False, activation: Activation = "relu",
    train_norm: bool = False, **options: Any,
) -> Any:  # fmt: skip
    """Principal neighbourhood aggregation (Corso et al. 2020), as PyG's PNAConv.

    Args:
        scope: holds for all towers at once ``pre/0/kernel [towers, 2 or 3 * width, width]``, whose rows
            are the receiver's, the sender's and the edge's, ``post/0/kernel [towers, (aggregators *
            scalers + 1) * width, channels / towers]`` and so on, each with a ``bias``; ``kernel
            [channels, channels]``, ``bias``; with ``edges`` ``edge/kernel [edge features, width]`` and
            ``edge/bias``; with ``train_norm`` ``mean_degree``, ``mean_log_degree``, both ``[1]``.
        x: ``[nodes, in]``.
        aggregators: names of `AGGREGATIONS`.
        scalers: of ``"identity"``, ``"amplification"``, ``"attenuation"``, ``"linear"`` and
            ``"inverse_linear"``.
        degrees: the training set's `degree_histogram`.
        edges: ``[edges, edge features]``, in the order of ``index``.
        towers: networks side by side, each of which makes a part of the result.
        pre_layers, post_layers: dense layers before and after aggregating.
        divide_input: each tower sees its own part of ``x``: ``width = in / towers``; else all of it.
        train_norm: whether the means of the degrees are learnt.
        options: initializers and regularizers, as of `monograph_layers.dense`.

    Returns:
        ``[nodes, channels]``.

    Raises:
        ArgumentError: names that are unknown, towers that do not divide; all are named.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.ones((3, 5), "float32"), [0, 1, 1], [1, 2, 2])
    >>> def model(scope, g):
    ...     return pna_conv(scope / "pna", g.index, g.nodes, 4, ["mean", "max", "std"],
    ...                     ["identity", "amplification"], degree_histogram(g.index))
    >>> mg.Store(seed=0).bind(lambda scope: model(scope, g))().shape
    (3, 4)
    """
    width = x.shape[-1]
    problems = [f"{s!r} is no scaler of {', '.join(SCALERS)}" for s in scalers if s not in SCALERS]
    sizes = {"channels": channels} | ({"features": width} if divide_input else {})
    problems += [
        f"{n} {k} are no multiple of {towers} towers" for k, n in sizes.items() if n % towers
    ]
    if problems:
        refuse(scope, "pna_conv", "; ".join(problems), ArgumentError)
    linear: Any
    log: Any
    linear, log = _means(degrees)
    if train_norm:
        linear, log = (
            scope.parameter(name, (1,), first, x.dtype)
            for name, first in (("mean_degree", linear), ("mean_log_degree", log))
        )
    if divide_input:
        width = width // towers
        x = mg.reshape(x, (x.shape[0], towers, width))
    else:
        x = mg.broadcast_to(x[:, None], (x.shape[0], towers, width))

    def further(name: str, y: Any, layers: int) -> Any:
        for i in range(1, layers):
            y = _towers(scope / name / str(i), activate(y, activation), y.shape[-1], options)
        return y

    if edges is not None:
        edges = nn.dense(scope / "edge", edges, width, **options)
    first, rows = scope / "pre" / "0", (2 if edges is None else 3) * width
    kernel = kernels(first, "kernel", (towers, rows, width), x.dtype, **options)
    own, others, of_edges = (kernel[:, i * width : (i + 1) * width] for i in range(3))
    h = received(index, _times(x, own)) + sent(index, _times(x, others))
    if edges is not None:
        h = h + mg.einsum("ei,tio->eto", edges, of_edges)
    h = further("pre", add_bias(first, h, **options), pre_layers)
    arrived = aggregate(index, h, list(aggregators))
    degree = mg.astype(index.in_degrees, x.dtype)
    scaled = [arrived * SCALERS[s](degree, linear, log)[:, None, None] for s in scalers]
    y = _towers(scope / "post" / "0", mg.concat([x, *scaled], axis=-1), channels // towers, options)
    y = mg.reshape(further("post", y, post_layers), (y.shape[0], channels))
    return nn.dense(scope, y, channels, **options)


def _times(x: Any, kernel: Any) -> Any:
    """``[rows, towers, in]`` by ``[towers, in, out]``."""
    return mg.einsum("nti,tio->nto", x, kernel)


def _towers(scope: mg.Scope, x: Any, units: int, options: dict[str, Any]) -> Any:
    """A dense layer in each tower."""
    kernel = kernels(scope, "kernel", (*x.shape[1:], units), x.dtype, **options)
    return add_bias(scope, _times(x, kernel), **options)
