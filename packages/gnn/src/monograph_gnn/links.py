"""Decoders for link prediction: how likely two nodes are joined, of what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import monograph as mg
import monograph_layers as nn
from monograph.errors import ArgumentError
from monograph.tracing import at_user_line
from monograph_layers.activations import Activation

from .authoring import layer
from .index import EdgeIndex, edge_problems, known
from .propagation import edge_dot, received, sent


def _ends(x: Any, pairs: Any) -> tuple[Any, Any]:
    """What the two nodes of each pair hold."""
    first, second = map(mg.asarray, x if isinstance(x, tuple) else (x, x))
    if isinstance(pairs, EdgeIndex):
        return sent(pairs, first), received(pairs, second)
    ids = [known(p) for p in pairs]
    counts = {"senders": first.shape[0], "receivers": second.shape[0]}
    if problems := [*edge_problems(ids, counts)]:
        raise at_user_line(ArgumentError("; ".join(map(str, problems))))
    return mg.take(first, mg.asarray(ids[0]), axis=0), mg.take(second, mg.asarray(ids[1]), axis=0)


def inner_product_decoder(x: Any, pairs: Any) -> Any:
    """Logits of links as inner products (Kipf and Welling 2016, "Variational graph auto-encoders").

    Args:
        x: ``[nodes, features]``, or a pair of those of senders and receivers.
        pairs: an `EdgeIndex`, along whose edges nothing is gathered; or ``(senders [pairs], receivers
            [pairs])``, integers.

    Returns:
        ``[pairs]``; 0 for an index's padding.

    Raises:
        ArgumentError: ids out of range, where they are known.

    >>> import numpy as np
    >>> inner_product_decoder(np.float32([[1, 2], [3, -1]]), ([0, 0], [0, 1])).tolist()
    [5.0, 1.0]
    """
    if isinstance(pairs, EdgeIndex):
        first, second = x if isinstance(x, tuple) else (x, x)
        return edge_dot(pairs, second, first)
    first, second = _ends(x, pairs)
    return mg.sum(first * second, axis=-1)


@layer
def mlp_decoder(
    scope: mg.Scope, x: Any, pairs: Any, units: Sequence[int] = (64,), *, channels: int = 1,
    activation: Activation = "relu", dropout: float = 0.0, training: bool = False,
    symmetric: bool = False,
) -> Any:  # fmt: skip
    """Logits of links, or features of them, by a perceptron of what both ends hold.

    Args:
        scope: holds ``dense_0``, ``dense_1`` and so on.
        x: ``[nodes, features]``, or a pair of those of senders and receivers.
        pairs: an `EdgeIndex`, or ``(senders [pairs], receivers [pairs])``, integers.
        units: of the hidden layers.
        channels: how many numbers come out of each pair.
        dropout: after each hidden layer, when ``training``.
        symmetric: multiply the two ends, so that their order does not matter, instead of putting them
            side by side.

    Returns:
        ``[pairs]``, or ``[pairs, channels]`` for several.

    Raises:
        ArgumentError: ids out of range, where they are known.

    >>> import numpy as np
    >>> store = mg.Store(seed=0)
    >>> x = np.ones((3, 4), "float32")
    >>> store.bind(lambda scope: mlp_decoder(scope / "links", x, ([0, 1], [1, 2])))().shape
    (2,)
    """
    ends = _ends(x, pairs)
    y = ends[0] * ends[1] if symmetric else mg.concat(ends, axis=-1)
    for i, n in enumerate(units):
        y = nn.dense(scope / f"dense_{i}", y, n, activation=activation)
        y = nn.dropout(scope / f"dropout_{i}", y, dropout, training=training) if dropout else y
    y = nn.dense(scope / f"dense_{len(units)}", y, channels)
    return y[..., 0] if channels == 1 else y
