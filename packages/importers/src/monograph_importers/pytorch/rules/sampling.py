"""Reading an image at places between its pixels (Jaderberg et al. 2015, "Spatial transformer networks")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..._sampling import grid_sample

_MODES, _EDGES = ("linear", "nearest", "cubic"), ("zeros", "border", "reflection")


def _grid_sample(
    x: Any, grid: Any, interpolation_mode: int = 0, padding_mode: int = 0,
    align_corners: bool = False,
) -> Any:  # fmt: skip
    """Values of ``x [batch, channels, *spatial]`` at ``grid [batch, *out, (x, y, ...)]`` from -1 to 1."""
    return grid_sample(
        x, grid, align_corners=align_corners, mode=_MODES[interpolation_mode],
        padding_mode=_EDGES[padding_mode], as_pytorch=True,
    )  # fmt: skip


RULES: dict[str, Callable] = dict.fromkeys(
    ("grid_sampler", "grid_sampler_2d", "grid_sampler_3d"), _grid_sample
)
