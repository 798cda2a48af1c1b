"""What machine learning adds: convolution, pooling, activations, normalisation, segments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import ops
from ..array import Array
from ..dtypes import dtype as as_dtype
from ..errors import ArgumentError, ShapeError
from ..ops._build import limit
from ..ops.losses import at_label
from ..tracing import at_user_line
from ._common import asarray, cast, one_axis, promote
from .elementwise import clip, maximum


def _each(value: Any, n: int, what: str) -> tuple[int, ...]:
    out = (value,) * n if isinstance(value, int) else tuple(value)
    if len(out) != n:
        raise at_user_line(
            ArgumentError(f"{what}={value} has {len(out)} entries for {n} spatial axes")
        )
    return out


def _edges(
    padding: Any, shape: Sequence[int], window: Sequence[int], strides: Sequence[int]
) -> tuple:
    """``(low, high)`` per axis of ``"same"`` (as Keras: the odd one goes high), ``"valid"`` or pairs."""
    if isinstance(padding, int):
        return ((padding, padding),) * len(shape)
    if not isinstance(padding, str):
        return tuple((p, p) if isinstance(p, int) else tuple(p) for p in padding)
    if padding.lower() == "valid":
        return ((0, 0),) * len(shape)
    if padding.lower() != "same":
        raise at_user_line(
            ArgumentError(f"padding={padding!r} is neither 'same', 'valid' nor pairs of numbers")
        )
    out = []
    for n, w, s in zip(shape, window, strides):
        total = max((math.ceil(n / s) - 1) * s + w - n, 0)
        out.append((total // 2, total - total // 2))
    return tuple(out)


def conv(
    x: Any, kernel: Any, *, strides: Any = 1, padding: Any = "valid", dilation: Any = 1,
    input_dilation: Any = 1, groups: int = 1,
) -> Array:  # fmt: skip
    """Convolution, channels last, no kernel flip.

    Args:
        x: ``[batch, *spatial, in]``.
        kernel: ``[*spatial, in / groups, out]``.
        padding: ``"same"``, ``"valid"``, a number, or ``(low, high)`` per spatial axis.

    Returns:
        ``[batch, *spatial, out]``.

    >>> import monograph as mg
    >>> mg.conv(mg.ones((1, 5, 1)), mg.ones((3, 1, 1))).shape
    (1, 3, 1)
    """
    x, kernel = promote(x, kernel)
    n = x.ndim - 2
    if n < 0 or kernel.ndim != x.ndim:
        raise at_user_line(
            ShapeError(
                f"conv needs x [batch, *spatial, in] and kernel [*spatial, in / groups, out]; got {x.shape} "
                f"and {kernel.shape}"
            )
        )
    s, r, b = (
        _each(strides, n, "strides"),
        _each(dilation, n, "dilation"),
        _each(input_dilation, n, "input_dilation"),
    )
    window = [(k - 1) * d + 1 for k, d in zip(kernel.shape, r)]
    edges = _edges(padding, x.shape[1:-1], window, s)
    return ops.convolution(
        x, kernel, strides=s, padding=edges, lhs_dilation=b, rhs_dilation=r, feature_groups=groups
    )


def conv_transpose(
    x: Any, kernel: Any, *, strides: Any = 1, padding: Any = "valid", dilation: Any = 1,
    output_padding: Any = 0, groups: int = 1,
) -> Array:  # fmt: skip
    """The transpose of `conv`: what its gradient does, as Keras' and PyTorch's transposed convolution.

    Args:
        x: ``[batch, *spatial, in]``.
        kernel: ``[*spatial, out / groups, in]``, that of the `conv` which leads back.
        padding: of that `conv`. ``"same"`` gives ``strides`` times the length, else the result has
            ``(length - 1) * strides + window - padding`` elements, and ``output_padding`` more.

    Returns:
        ``[batch, *spatial, out]``.

    >>> import monograph as mg
    >>> mg.conv_transpose(mg.ones((1, 3, 1)), mg.ones((2, 4, 1)), strides=2).shape
    (1, 6, 4)
    """
    x, kernel = promote(x, kernel)
    n = x.ndim - 2
    if n < 0 or kernel.ndim != x.ndim or kernel.shape[-1] != x.shape[-1]:
        raise at_user_line(
            ShapeError(
                f"conv_transpose needs x [batch, *spatial, in] and kernel [*spatial, out / groups, in]; "
                f"got {x.shape} and {kernel.shape}"
            )
        )
    s, r = _each(strides, n, "strides"), _each(dilation, n, "dilation")
    more = _each(output_padding, n, "output_padding")
    window = [(k - 1) * d + 1 for k, d in zip(kernel.shape, r)]
    if isinstance(padding, str) and padding.lower() == "same":
        if any(more):
            raise at_user_line(
                ArgumentError(
                    f"padding='same' fixes the length; output_padding={output_padding} would change it"
                )
            )
        lengths = [m * b for m, b in zip(x.shape[1:-1], s)]
        edges = _edges(padding, lengths, window, s)
    else:
        edges = _edges(padding, x.shape[1:-1], window, s)
        lengths = [
            (m - 1) * b + w - sum(p) + e
            for m, b, w, p, e in zip(x.shape[1:-1], s, window, edges, more)
        ]
    return ops.convolution_input_grad(
        x, kernel, input_shape=(x.shape[0], *lengths, kernel.shape[-2] * groups), strides=s,
        padding=edges, lhs_dilation=(1,) * n, rhs_dilation=r, feature_groups=groups,
    )  # fmt: skip


def _pool(op: Any, x: Array, window: Any, strides: Any, padding: Any) -> Array:
    n = x.ndim - 2
    w = _each(window, n, "window")
    s = w if strides is None else _each(strides, n, "strides")
    edges = _edges(padding, x.shape[1:-1], w, s)
    ones = (1,) * x.ndim
    return op(
        x, window=(1, *w, 1), strides=(1, *s, 1), padding=((0, 0), *edges, (0, 0)),
        base_dilation=ones, window_dilation=ones,
    )  # fmt: skip


def max_pool(x: Any, window: Any, *, strides: Any = None, padding: Any = "valid") -> Array:
    """Largest of each window over the spatial axes of ``x [batch, *spatial, channels]``."""
    return _pool(ops.reduce_window_max, asarray(x), window, strides, padding)


def avg_pool(x: Any, window: Any, *, strides: Any = None, padding: Any = "valid") -> Array:
    """Mean of each window over the spatial axes; padding does not count, as in Keras."""
    x = asarray(x)
    total = _pool(ops.reduce_window_sum, x, window, strides, padding)
    one = ops.full(1, x.spec.with_((1, *x.shape[1:-1], 1)))  # padding is where no batch differs
    count = _pool(ops.reduce_window_sum, one, window, strides, padding)
    return total / count


def relu(x: Any, /) -> Array:
    """``max(x, 0)``, elementwise; its gradient at 0 is 0."""
    return ops.relu(asarray(x))


def hard_tanh(x: Any, /, low: float = -1.0, high: float = 1.0) -> Array:
    """``x`` kept within ``low`` and ``high``, whose gradient is 0 at either.

    `clip` is the same but for its gradient, of which a bound takes half where ``x`` meets it.

    >>> import monograph as mg
    >>> mg.hard_tanh(mg.asarray([-3.0, 0.5, 2.0])).tolist()
    [-1.0, 0.5, 1.0]
    """
    x = asarray(x)
    if not x.dtype.is_float:
        return clip(x, low, high)
    return ops.hard_tanh(x, low=float(low), high=float(high))


def relu6(x: Any, /) -> Array:
    """`relu` up to 6 (Krizhevsky 2010); its gradient at 0 and 6 is 0.

    >>> import monograph as mg
    >>> mg.relu6(mg.asarray([-1.0, 5.0, 7.0])).tolist()
    [0.0, 5.0, 6.0]
    """
    return hard_tanh(x, 0.0, 6.0)


def softmax(x: Any, /, axis: int = -1) -> Array:
    """``exp(x) / sum(exp(x))`` along ``axis``."""
    x = asarray(x)
    return ops.softmax(x, axis=one_axis(axis, x.ndim))


def log_softmax(x: Any, /, axis: int = -1) -> Array:
    """Logarithm of `softmax`, without its overflow."""
    x = asarray(x)
    return ops.log_softmax(x, axis=one_axis(axis, x.ndim))


def gelu(x: Any, /, *, approximate: bool = False) -> Array:
    """Gaussian error linear unit (Hendrycks and Gimpel 2016)."""
    return ops.gelu(asarray(x), approximate=approximate)


def silu(x: Any, /) -> Array:
    """``x * sigmoid(x)``, also called swish."""
    return ops.silu(asarray(x))


def layer_norm(x: Any, scale: Any, bias: Any, *, epsilon: float = 1e-5) -> Array:
    """Normalisation over the last axis, scaled and shifted by ``[channels]``."""
    return ops.layer_norm(asarray(x), asarray(scale), asarray(bias), epsilon=epsilon)[0]


def rms_norm(x: Any, scale: Any, *, epsilon: float = 1e-5) -> Array:
    """Division by the root mean square over the last axis, scaled by ``[channels]``."""
    return ops.rms_norm(asarray(x), asarray(scale), epsilon=epsilon)[0]


def cross_entropy(logits: Any, labels: Any) -> Array:
    """``-log softmax(logits)[label]`` per row: ``[..., classes]`` and integers ``[...]``."""
    return ops.cross_entropy(asarray(logits), asarray(labels))


def attention(
    q: Any, k: Any, v: Any, *, mask: Any = None, is_causal: bool = False, scale: float | None = None
) -> Array:
    """Scaled dot-product attention (Vaswani et al. 2017), fused where the engine has it.

    A query that may look at nothing gives zeros and sends no gradient back, as in PyTorch.

    Args:
        q: ``[batch, queries, heads, features]``.
        k: ``[batch, keys, kv_heads, features]``; ``kv_heads`` divides ``heads``, and each run of
            ``heads / kv_heads`` query heads shares one (grouped queries: Ainslie et al. 2023).
        v: ``[batch, keys, kv_heads, values]``.
        mask: broadcasts to ``[batch, heads, queries, keys]``. Bool: true where a query may look.
            Float: added to the scores, in ``q``'s dtype.
        is_causal: query ``i`` sees keys ``0..i``, counted from the front as in PyTorch.
        scale: of the scores; ``1 / sqrt(features)`` by default.

    Returns:
        ``[batch, queries, heads, values]``.

    Raises:
        ShapeError: an axis differs between the operands; the message names it.
        DTypeError: the mask holds integers, or ``q`` is no float.

    >>> import monograph as mg
    >>> q = mg.zeros((1, 3, 2, 4))
    >>> v = mg.reshape(mg.arange(3.0), (1, 3, 1, 1))
    >>> mg.attention(q, q[:, :, :1], v, is_causal=True)[0, :, 0, 0].tolist()
    [0.0, 0.5, 1.0]
    """
    q, k, v = promote(q, k, v)
    if mask is None:
        return ops.attention(q, k, v, is_causal=is_causal, scale=scale)[0]
    mask = asarray(mask)
    if mask.dtype.is_float:
        mask = cast(mask, q.dtype)
    if mask.ndim < 4:
        mask = ops.reshape(mask, shape=(1,) * (4 - mask.ndim) + mask.shape)
    return ops.attention(q, k, v, mask, is_causal=is_causal, scale=scale)[0]


def one_hot(labels: Any, classes: int, *, dtype: Any = "float32") -> Array:
    """1 at each label's place of a new last axis; all zeros for a label out of range."""
    labels = asarray(labels)
    return ops.convert(at_label(labels, (*labels.shape, classes)), dtype=as_dtype(dtype))


def _segment(kind: str, start: str = "") -> Any:
    def reduce(data: Any, segment_ids: Any, num_segments: int) -> Array:
        data, ids = asarray(data), asarray(segment_ids)
        if ids.ndim != 1 or not data.ndim or ids.shape[0] != data.shape[0]:
            raise at_user_line(
                ShapeError(f"segment ids {ids.shape} must be one per row of the data {data.shape}")
            )
        empty = limit(data.dtype.numpy, start) if start else 0
        first = ops.full(empty, data.spec.with_((num_segments, *data.shape[1:])))
        return ops.scatter(
            first, ops.reshape(ids, shape=(ids.shape[0], 1)), data,
            update_window_dims=tuple(range(1, data.ndim)), inserted_window_dims=(0,),
            scatter_dims_to_operand_dims=(0,), index_vector_dim=1, kind=kind,
        )  # fmt: skip

    return reduce


def segment_sum(data: Any, segment_ids: Any, num_segments: int) -> Array:
    """Rows of ``data [rows, ...]`` summed per segment id; ids out of range are skipped."""
    return _segment("add")(data, segment_ids, num_segments)


def segment_max(data: Any, segment_ids: Any, num_segments: int) -> Array:
    """Largest per segment; for an empty one -inf, or the smallest integer of the dtype."""
    return _segment("maximum", "min")(data, segment_ids, num_segments)


def segment_min(data: Any, segment_ids: Any, num_segments: int) -> Array:
    """Smallest per segment; for an empty one inf, or the largest integer of the dtype."""
    return _segment("minimum", "max")(data, segment_ids, num_segments)


def segment_mean(data: Any, segment_ids: Any, num_segments: int) -> Array:
    """Mean per segment; 0 for an empty one."""
    data = asarray(data)
    rows = ops.full(1, data.spec.with_(data.shape[:1] + (1,) * (data.ndim - 1)))
    count = segment_sum(rows, segment_ids, num_segments)
    return segment_sum(data, segment_ids, num_segments) / maximum(count, 1)
