"""Weights of keras.applications: ``[(w.path, array), ...]`` in the model's order to ``{path: array}``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from ._rename import Rules, renamed

Weights = Iterable[tuple[str, Any]]


def mobilenet_v1(weights: Weights) -> dict[str, np.ndarray]:
    """`monograph_zoo.mobilenet_v1`'s variables from those of ``keras.applications.MobileNet``.

    >>> mobilenet_v1([("conv1/kernel", np.zeros((3, 3, 3, 32)))])["conv1/kernel"].shape
    (3, 3, 3, 32)
    """
    return {path: np.asarray(value) for path, value in weights}


_MOBILENET_V2: Rules = (
    (r"^Conv1/", "stem/conv/"),
    (r"^bn_Conv1/", "stem/norm/"),
    (r"^Conv_1_bn/", "top/norm/"),
    (r"^Conv_1/", "top/conv/"),
    (r"^expanded_conv_", "block0/"),
    (r"^block_(\d+)_", r"block\1/"),
    (r"_BN/", "/norm/"),
    (r"(expand|depthwise|project)/(?!norm/)", r"\1/conv/"),
    (r"^predictions/", "logits/"),
)


def mobilenet_v2(weights: Weights) -> dict[str, np.ndarray]:
    """`monograph_zoo.mobilenet_v2`'s variables from those of ``keras.applications.MobileNetV2``.

    >>> list(mobilenet_v2([("block_1_expand_BN/gamma", np.zeros(96))]))
    ['block1/expand/norm/gamma']
    """
    return {renamed(path, _MOBILENET_V2): np.asarray(value) for path, value in weights}


def xception(weights: Weights) -> dict[str, np.ndarray]:
    """`monograph_zoo.xception`'s variables from those of ``keras.applications.Xception``.

    Its four shortcuts have no names there but Keras's own numbers (``conv2d_17/kernel``), which
    depend on what else was built: they are told apart by their order.

    >>> list(xception([("conv2d_17/kernel", np.zeros((1, 1, 64, 128)))]))
    ['block2_shortcut/kernel']
    """
    names = {"conv2d": "shortcut", "batch_normalization": "shortcut_bn"}
    seen: dict[str, dict[str, int]] = {kind: {} for kind in names}
    out = {}
    for path, value in weights:
        layer, _, variable = path.rpartition("/")
        kind = re.sub(r"_\d+$", "", layer)
        if kind in names:
            place = seen[kind].setdefault(layer, len(seen[kind]))
            layer = f"block{(2, 3, 4, 13)[place]}_{names[kind]}"
        out[f"{layer}/{variable}"] = np.asarray(value)
    return out
