"""Floats of 16 and 8 bits for Monograph, and training with them: policies and loss scaling.

>>> import monograph as mg
>>> mg.tensor([1.0, 2.0], dtype="bfloat16").dtype
monograph.bfloat16
"""

from .loss_scale import DynamicLossScale, StaticLossScale, all_finite
from .policies import Policy, mixed_bfloat16, mixed_float16, policy
from .types import (
    bfloat16,
    float8_e4m3b11fnuz,
    float8_e4m3fn,
    float8_e4m3fnuz,
    float8_e5m2,
    float8_e5m2fnuz,
    float16,
)

__all__ = [
    "bfloat16", "float16",
    "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e4m3b11fnuz",
    "Policy", "mixed_bfloat16", "mixed_float16", "policy",
    "DynamicLossScale", "StaticLossScale", "all_finite",
]  # fmt: skip
