"""Frequencies of rotary positions, as configurations of Hugging Face's transformers describe them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from monograph.errors import ArgumentError

WIDEST = 1 << 16
"""The most features of a head, 256 times the most there are: a file may ask for any number."""


def frequencies(rotary: Mapping[str, Any], key_dim: int) -> tuple[np.ndarray, float]:
    """Radians per place of each pair of features, and what cosines and sines are multiplied by.

    Args:
        rotary: ``rope_theta``, the longest wavelength, and with another ``rope_type`` than
            ``"default"`` what that needs: ``"linear"`` (Chen et al. 2023), ``"llama3"`` (Dubey et al.
            2024), ``"yarn"`` (Peng et al. 2023).

    Returns:
        float32 ``[key_dim / 2]``, and a number.

    Raises:
        ArgumentError: a type that is unknown, an entry that it needs and lacks, or one out of range.

    >>> frequencies({"rope_theta": 100.0}, 4)
    (array([1. , 0.1], dtype=float32), 1.0)
    """
    kind = rotary.get("rope_type") or "default"
    if key_dim > WIDEST:
        raise ArgumentError(f"a head of {key_dim:,} features is wider than {WIDEST:,}")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise ArgumentError(f"rope_type={kind!r} is none of {', '.join(_TYPES)}")
    needs, change = _TYPES[kind]
    given = {k: v for k, v in rotary.items() if v is not None}
    lacks = [name for name in ("rope_theta", *needs) if name not in given]
    if lacks:
        raise ArgumentError(f"rope_type={kind!r} needs {', '.join(lacks)}")
    for name, value in given.items():
        if name not in ("rope_type", "truncate") and not _is_positive(value):
            raise ArgumentError(f"{name}={value!r} must be a number above 0")
    if rotary["rope_theta"] <= 1:
        raise ArgumentError(f"rope_theta={rotary['rope_theta']!r} must be above 1")
    if rotary.get("partial_rotary_factor", 1.0) != 1.0:
        raise ArgumentError("partial_rotary_factor must be 1 here")
    powers = np.arange(0, key_dim, 2, dtype="float32") / np.float32(key_dim)
    plain = (1.0 / np.float32(rotary["rope_theta"]) ** powers).astype("float32")
    return change(plain, **given)


def _is_positive(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf


def _default(plain: np.ndarray, **_: Any) -> tuple[np.ndarray, float]:
    return plain, 1.0


def _linear(plain: np.ndarray, *, factor: float, **_: Any) -> tuple[np.ndarray, float]:
    return plain / np.float32(factor), 1.0


def _llama3(
    plain: np.ndarray, *, factor: float, low_freq_factor: float, high_freq_factor: float,
    original_max_position_embeddings: int, **_: Any,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """Long waves are slowed down by ``factor``, short ones are not, those between in part."""
    if high_freq_factor <= low_freq_factor:
        raise ArgumentError(
            f"high_freq_factor={high_freq_factor} must be above low_freq_factor={low_freq_factor}"
        )
    turns = original_max_position_embeddings * plain / np.float32(2 * math.pi)
    share = np.clip((turns - low_freq_factor) / (high_freq_factor - low_freq_factor), 0, 1)
    return ((1 - share) * plain / factor + share * plain).astype("float32"), 1.0


def _yarn(
    plain: np.ndarray, *, rope_theta: float, factor: float, original_max_position_embeddings: int,
    attention_factor: float | None = None, beta_fast: float | None = None,
    beta_slow: float | None = None, mscale: float | None = None,
    mscale_all_dim: float | None = None, truncate: bool = True, **_: Any,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """As `_llama3` by the features' places; and the scores grow with the logarithm of ``factor``."""
    dim = 2 * len(plain)

    def place(turns: float) -> float:  # of the feature that turns so often in the original length
        waves = original_max_position_embeddings / (turns * 2 * math.pi)
        return dim * math.log(waves) / (2 * math.log(rope_theta))

    def larger(by: float = 1.0) -> float:
        return 0.1 * by * math.log(factor) + 1.0 if factor > 1 else 1.0

    low, high = place(beta_fast or 32), place(beta_slow or 1)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    share = np.clip((np.arange(len(plain)) - low) / (high - low or 0.001), 0, 1)
    if attention_factor is None:
        both = mscale and mscale_all_dim
        attention_factor = larger(mscale) / larger(mscale_all_dim) if both else larger()  # type: ignore[arg-type]
    return (plain / factor * share + plain * (1 - share)).astype("float32"), attention_factor


_LENGTH = "original_max_position_embeddings"
_TYPES: dict[str, tuple[tuple[str, ...], Callable[..., tuple[np.ndarray, float]]]] = {
    "default": ((), _default),
    "linear": (("factor",), _linear),
    "llama3": (("factor", "low_freq_factor", "high_freq_factor", _LENGTH), _llama3),
    "yarn": (("factor", _LENGTH), _yarn),
}
