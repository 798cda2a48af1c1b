"""Where in a sequence: learned, sinusoidal and rotary positions; distances are in `attention`."""

from __future__ import annotations

from typing import Any

import monograph as mg

from .authoring import layer, refuse
from .initializers import Init, glorot_uniform


def _places(start: Any, n: int) -> Any:
    """``start .. start + n - 1`` as int32; ``start`` may be traced."""
    return mg.arange(n, dtype="int32") + mg.astype(mg.asarray(start), "int32")


def _frequencies(features: int, max_wavelength: float, dtype: Any) -> Any:
    """``[features / 2]``: from 1 down to nearly ``1 / max_wavelength``, radians per place."""
    half = mg.arange(features // 2, dtype=dtype)
    return mg.pow(mg.asarray(max_wavelength, dtype=dtype), half * (-2.0 / features))


def _angles(places: Any, features: int, max_wavelength: float, dtype: Any) -> Any:
    """``[..., features / 2]`` for places ``[...]``."""
    return mg.astype(places, dtype)[..., None] * _frequencies(features, max_wavelength, dtype)


@layer
def position_embedding(
    scope: mg.Scope, x: Any, sequence_length: int, *, initializer: Init = glorot_uniform,
    start_index: Any = 0,
) -> Any:  # fmt: skip
    """A learned vector for each place, to be added to ``x``, as keras_hub's PositionEmbedding.

    Args:
        scope: holds ``embeddings [sequence_length, features]``.
        x: ``[..., length, features]``; only its shape and dtype matter.
        sequence_length: the longest that can come.
        start_index: place of the first element, an integer or a traced one.

    Returns:
        ``[length, features]``, which broadcasts to ``x``.

    Raises:
        ShapeError: ``x`` is longer than ``sequence_length``.

    >>> call = mg.Store(seed=0).bind(lambda s, x: x + position_embedding(s, x, 16), engine="numpy")
    >>> call(mg.ones((2, 9, 4))).shape
    (2, 9, 4)
    """
    length, features = _sequence(scope, "position_embedding", x)
    last = length + (start_index if isinstance(start_index, int) else 0)
    if last > sequence_length:
        refuse(
            scope, "position_embedding", f"place {last - 1} is past sequence_length={sequence_length}"
        )  # fmt: skip
    shape = (sequence_length, features)
    rows = scope.parameter("embeddings", shape, initializer, x.dtype)
    return mg.take(rows, _places(start_index, length), axis=0)


def _sequence(scope: mg.Scope, name: str, x: Any, even: bool = False) -> tuple[int, int]:
    if x.ndim < 2 or (even and x.shape[-1] % 2):
        what = "an even number of features" if even else "features"
        refuse(scope, name, f"needs [..., length, features] with {what}, got shape {x.shape}")
    return x.shape[-2], x.shape[-1]


@layer
def sine_position_encoding(
    scope: mg.Scope, x: Any, *, max_wavelength: float = 10_000.0, start_index: Any = 0
) -> Any:
    """Sines and cosines in turn, of falling frequency, to be added to ``x`` (Vaswani et al. 2017).

    As keras_hub's SinePositionEncoding; no variables.

    Args:
        x: ``[..., length, features]``; only its shape and dtype matter.
        start_index: place of the first element, an integer or a traced one.

    Returns:
        ``[length, features]``, which broadcasts to ``x``.

    >>> call = mg.Store(seed=0).bind(sine_position_encoding, engine="numpy")
    >>> call(mg.ones((2, 1, 4))).tolist()
    [[0.0, 1.0, 0.0, 1.0]]
    """
    length, features = _sequence(scope, "sine_position_encoding", x, even=True)
    angles = _angles(_places(start_index, length), features, max_wavelength, x.dtype.compute)
    pairs = mg.stack([mg.sin(angles), mg.cos(angles)], axis=-1)
    return mg.astype(mg.reshape(pairs, (length, features)), x.dtype)


def rotated(x: Any, places: Any, max_wavelength: float = 10_000.0, frequencies: Any = None) -> Any:
    """Turn the pairs ``(i, i + features / 2)`` of ``x`` by angles that grow with the place.

    Args:
        x: ``[batch, length, heads, features]``.
        places: ``[length]`` or ``[batch, length]``.
        frequencies: ``[features / 2]``, radians per place, in the place of ``max_wavelength``'s.
    """
    wide = x.dtype.compute
    if frequencies is None:
        frequencies = _frequencies(x.shape[-1], max_wavelength, wide)
    angles = (mg.astype(places, wide)[..., None] * mg.astype(mg.asarray(frequencies), wide))[
        ..., None, :
    ]
    cos, sin = mg.cos(angles), mg.sin(angles)
    a, b = mg.split(mg.astype(x, wide), 2, axis=-1)
    return mg.astype(mg.concat([a * cos - b * sin, b * cos + a * sin], axis=-1), x.dtype)


@layer
def rotary_embedding(
    scope: mg.Scope, x: Any, *, max_wavelength: float = 10_000.0, scaling_factor: float = 1.0,
    start_index: Any = 0, positions: Any = None, frequencies: Any = None,
) -> Any:  # fmt: skip
    """Rotary positions (Su et al. 2021), as in LLaMA and keras_hub's RotaryEmbedding; no variables.

    The product of two vectors rotated so depends on their distance alone. A vector's halves are
    paired, ``(i, i + features / 2)``. In `multi_head_attention`: ``rotary=max_wavelength``.

    Args:
        x: ``[batch, length, heads, features]``.
        scaling_factor: places are divided by it (Chen et al. 2023, to reach longer sequences).
        start_index: place of the first element, an integer or a traced one.
        positions: the places themselves, ``[length]`` or ``[batch, length]``, instead.
        frequencies: ``[features / 2]``, radians per place, in the place of ``max_wavelength``'s.

    Raises:
        ShapeError: not four axes, or an odd number of features.

    >>> call = mg.Store(seed=0).bind(rotary_embedding, engine="numpy")
    >>> call(mg.ones((1, 2, 1, 2)))[0, :, 0].tolist()
    [[1.0, 1.0], [-0.30116..., 1.38177...]]
    """
    if x.ndim != 4 or x.shape[-1] % 2:
        refuse(
            scope, "rotary_embedding", f"needs [batch, length, heads, features], features even, got "
            f"shape {x.shape}",
        )  # fmt: skip
    places = _places(start_index, x.shape[1]) if positions is None else positions
    places = mg.astype(places, x.dtype.compute) / scaling_factor
    return rotated(x, places, max_wavelength, frequencies)


def relative_encoding(distances: Any, features: int, dtype: Any) -> Any:
    """``[n, features]``: the sines, then the cosines of distances ``[n]``, as in Transformer-XL."""
    angles = _angles(distances, features, 10_000.0, mg.dtypes.dtype(dtype).compute)
    return mg.astype(mg.concat([mg.sin(angles), mg.cos(angles)], axis=-1), dtype)
