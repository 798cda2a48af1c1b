"""Our weights in PyTorch's modules: names with dots, kernels ``[out, in, ...]``."""

from __future__ import annotations

import re

import numpy as np
import torch

LEAVES = {
    "kernel": "weight", "gamma": "weight", "beta": "bias", "moving_mean": "running_mean",
    "moving_variance": "running_var", "depthwise_kernel": "depthwise.weight",
    "pointwise_kernel": "pointwise.weight",
}  # fmt: skip
RENAMED = (  # torch's LSTM holds all layers, PyG's GraphConv says "rel" for the neighbours
    (r"^lstm(\d)\.weight$", r"lstm.weight_ih_l\1"),
    (r"^lstm(\d)\.recurrent_kernel$", r"lstm.weight_hh_l\1"),
    (r"^lstm(\d)\.bias$", r"lstm.bias_ih_l\1"),
    (r"^(conv\d)\.neighbor\.", r"\1.lin_rel."),
    (r"^(conv\d)\.root\.", r"\1.lin_root."),
)


def named(path: str, value: np.ndarray) -> tuple[str, np.ndarray]:
    """A module's name of our variable, and the array in its layout."""
    *at, leaf = path.split("/")
    name = ".".join([*at, LEAVES.get(leaf, leaf)])
    for pattern, new in RENAMED:
        name = re.sub(pattern, new, name)
    if value.ndim == 4 and value.shape[-1] == 1:  # depthwise [height, width, channels, 1]
        value = value.transpose(2, 3, 0, 1)
    elif value.ndim == 4:
        value = value.transpose(3, 2, 0, 1)
    return name, value.T if value.ndim == 2 else value


def load(module: torch.nn.Module, weights: dict[str, np.ndarray], published: str | None) -> None:
    """Copy our weights into ``module``; all that it holds must be among them.

    Args:
        published: the class in transformers, where it is one of its models.
    """
    state = (
        from_zoo(module, weights, published)
        if published
        else dict(map(named, *zip(*weights.items())))
    )
    tensors = {name: torch.tensor(np.ascontiguousarray(value)) for name, value in state.items()}
    missing, unused = module.load_state_dict(tensors, strict=False)
    missing = [m for m in missing if not m.endswith("num_batches_tracked") and "bias_hh" not in m]
    if missing or unused:
        raise ValueError(f"the weights lack {missing} and have {unused} besides")


def from_zoo(
    module: torch.nn.Module, weights: dict[str, np.ndarray], published: str
) -> dict[str, np.ndarray]:
    """Our weights by the names of a module of transformers, which the zoo knows."""
    from monograph_zoo.architectures import architectures

    entry = architectures[published]
    state = {}
    for path, value in weights.items():
        name, layout = entry.named(path)
        state[name] = layout.theirs(value)
    state |= {mine: state[other] for mine, other in entry.tied.items()}
    today = {}
    for name in module.state_dict():
        was = name
        for pattern, new in entry.aliases:
            was = re.sub(pattern, new, was)
        today[name] = state[was]
    return today
