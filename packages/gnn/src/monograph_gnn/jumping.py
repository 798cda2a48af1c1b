"""Jumping knowledge: what a node is to be, chosen from all layers' results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import monograph as mg
import monograph_layers as nn
from monograph.errors import ArgumentError

from .authoring import layer, refuse

MODES = ("cat", "max", "lstm")


@layer
def jumping_knowledge(scope: mg.Scope, xs: Sequence[Any], mode: str = "cat") -> Any:
    """What several layers say of each node as one (Xu et al. 2018), as PyG's JumpingKnowledge.

    Args:
        scope: with ``"lstm"`` holds ``lstm``, as `monograph_layers.bidirectional`, of ``len(xs) *
            features // 2`` units, and ``attention/kernel``, ``attention/bias``.
        xs: the layers' results ``[nodes, features]``, for ``"max"`` and ``"lstm"`` of one width.
        mode: ``"cat"``, side by side; ``"max"``, the largest of each feature; ``"lstm"``, a sum weighted
            by attention, which an LSTM over the layers decides.

    Returns:
        ``[nodes, features]``, for ``"cat"`` of all layers.

    Raises:
        ArgumentError: no results, or an unknown mode.
        ShapeError: results of different shapes where they must not be.

    >>> import numpy as np
    >>> xs = [np.float32([[1, 5]]), np.float32([[2, 3]])]
    >>> call = mg.Store().bind(lambda scope, *xs: jumping_knowledge(scope, xs, "max"))
    >>> call(*xs).tolist()
    [[2.0, 5.0]]
    """
    name, shapes = "jumping_knowledge", [x.shape for x in xs]
    if not shapes or mode not in MODES:
        message = f"needs results and a mode of {', '.join(MODES)}; got {len(xs)}, {mode!r}"
        refuse(scope, name, message, ArgumentError)
    if mode == "cat":
        return mg.concat(list(xs), axis=-1)
    if len(set(shapes)) > 1:
        refuse(scope, name, f"{mode!r} needs results of one shape, got {shapes}")
    x = mg.stack(list(xs), axis=1)
    if mode == "max":
        return mg.max(x, axis=1)
    seen = nn.bidirectional(
        scope / "lstm", x, nn.lstm, len(xs) * x.shape[-1] // 2, return_sequences=True
    )
    weights = mg.softmax(nn.dense(scope / "attention", seen, 1), axis=1)
    return mg.sum(x * weights, axis=1)
