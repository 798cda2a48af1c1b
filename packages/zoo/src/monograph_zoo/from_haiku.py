"""Weights of haiku's networks: ``{module: {name: array}}`` to ``{path: array}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ._rename import Rules, renamed

Nested = Mapping[str, Mapping[str, Any]]

_RESNET: Rules = (
    (r"^.*?(?=initial_|block_group_|logits/)", ""),  # the modules around it
    (r"^initial_", "stem/"),
    (r"block_group_(\d+)/~/block_(\d+)/~/", r"stage<\1+1>/block<\2+1>/"),
    (r"(conv|batchnorm)_(\d+)/", r"layer<\2+1>/\1/"),
    (r"shortcut_(conv|batchnorm)/", r"shortcut/\1/"),
    (r"batchnorm/", "norm/"),
    (r"/w$", "/kernel"),
    (r"logits/b$", "logits/bias"),
    (r"/scale$", "/gamma"),
    (r"/offset$", "/beta"),
    (r"/~/mean_ema/average$", "/moving_mean"),
    (r"/~/var_ema/average$", "/moving_variance"),
)


def resnet(params: Nested, state: Nested) -> dict[str, np.ndarray]:
    """`monograph_zoo.resnet`'s variables from those of ``hk.nets.ResNet50``, v1 with bottlenecks.

    Call the model with ``padding="same", unbiased=False``. The statistics are haiku's averages
    without their bias to zero, which is what haiku's inference uses.

    >>> resnet({"res_net50/~/logits": {"b": np.zeros(10)}}, {})
    {'logits/bias': array([0., ...])}
    """
    flat = {
        f"{m}/{n}": v for tree in (params, state) for m, d in tree.items() for n, v in d.items()
    }
    return {
        renamed(name, _RESNET): np.asarray(value).reshape(
            -1 if "batchnorm" in name else np.shape(value)
        )
        for name, value in flat.items()
        if not name.endswith(("/hidden", "/counter"))
    }
