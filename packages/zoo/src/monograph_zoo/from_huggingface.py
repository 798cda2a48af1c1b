"""Weights of Hugging Face's transformers: ``{name: array or tensor}`` to ``{path: array}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ._rename import Rules, renamed

_RESNET: Rules = (
    (r"^resnet\.embedder\.embedder\.", "stem/"),
    (r"^resnet\.encoder\.stages\.(\d+)\.layers\.(\d+)\.", r"stage<\1>/block<\2>/"),
    (r"layer\.(\d+)\.", r"layer<\1>/"),
    (r"shortcut\.", "shortcut/"),
    (r"convolution\.weight$", "conv/kernel"),
    (r"normalization\.weight$", "norm/gamma"),
    (r"normalization\.bias$", "norm/beta"),
    (r"normalization\.running_mean$", "norm/moving_mean"),
    (r"normalization\.running_var$", "norm/moving_variance"),
    (r"^classifier\.1\.weight$", "logits/kernel"),
    (r"^classifier\.1\.bias$", "logits/bias"),
)


def resnet(state_dict: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """`monograph_zoo.resnet`'s variables from those of ``ResNetForImageClassification``.

    >>> resnet({"classifier.1.weight": np.zeros((10, 2048))})["logits/kernel"].shape
    (2048, 10)
    """
    return {
        renamed(name, _RESNET): _channels_last(np.asarray(value))
        for name, value in state_dict.items()
        if not name.endswith("num_batches_tracked")
    }


def _channels_last(value: np.ndarray) -> np.ndarray:
    """PyTorch's ``[out, in, *spatial]`` as ``[*spatial, in, out]``."""
    n = value.ndim
    return value.transpose(*range(2, n), 1, 0) if n > 1 else value
