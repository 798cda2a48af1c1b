"""16-bit floats for Monograph, and training with them: policies and loss scaling.

>>> import monograph as mg
>>> mg.tensor([1.0, 2.0], dtype="bfloat16").dtype
monograph.bfloat16
"""

from .loss_scale import DynamicLossScale, StaticLossScale, all_finite
from .policies import Policy, mixed_bfloat16, mixed_float16, policy
from .types import bfloat16, float16

__all__ = [
    "bfloat16", "float16",
    "Policy", "mixed_bfloat16", "mixed_float16", "policy",
    "DynamicLossScale", "StaticLossScale", "all_finite",
]  # fmt: skip
