"""Weight transforms: a scope whose kernels are normalised, whatever layer asks for them.

>>> import monograph_layers as nn
>>> def model(scope, x):
...     return nn.dense(weight_norm(scope / "logits"), x, 10)
>>> store = mg.Store(seed=0)
>>> store.bind(model, engine="numpy")(mg.ones((2, 4))).shape, list(store)
((2, 10), ['logits/bias', 'logits/kernel', 'logits/kernel_g'])
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import monograph as mg

KERNELS = ("kernel", "embeddings")


def _stored(scope: mg.Scope, name: str) -> Any:
    """A variable's value in the store: what first values of other variables are made from."""
    return scope.frame.store[f"{scope.path}/{name}" if scope.path else name]


def _others(w: Any, axis: int | Sequence[int] | None) -> tuple[int, ...]:
    kept = () if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    return tuple(a for a in range(w.ndim) if a not in {k % w.ndim for k in kept})


def _length(w: Any, axes: tuple[int, ...]) -> Any:
    return mg.sqrt(mg.sum(mg.square(w), axis=axes, keepdims=True))


def weight_norm(
    scope: mg.Scope, *, axis: int | Sequence[int] | None = -1, names: Sequence[str] = KERNELS
) -> mg.Scope:
    """Weights ``v`` as ``g * v / |v|``, with the length ``g`` learned apart (Salimans and Kingma 2016).

    As torch.nn.utils.parametrizations.weight_norm: ``kernel`` holds ``v`` and ``kernel_g`` holds
    ``g``, at first the lengths of the stored ``kernel``, so that nothing changes before training.

    Args:
        axis: there is one length per index of it: the output's by default; None: one in all.
        names: of the parameters to normalise; others are left alone.

    Returns:
        The scope to hand to a layer.
    """

    def normalised(scope: mg.Scope, name: str, v: Any) -> Any:
        if name not in names:
            return v
        axes, wide = _others(v, axis), v.dtype.compute
        shape = tuple(1 if a in axes else n for a, n in enumerate(v.shape))

        def first(key: Any, shape: tuple, dtype: Any) -> Any:
            return mg.astype(_length(mg.astype(_stored(scope, name), wide), axes), dtype)

        g = scope.with_policy(None).parameter(f"{name}_g", shape, first, v.dtype)
        w = mg.astype(v, wide)
        return mg.astype(mg.astype(g, wide) * (w / _length(w, axes)), v.dtype)

    return scope.mapped(normalised)


def spectral_norm(
    scope: mg.Scope, *, training: bool = False, power_iterations: int = 1, epsilon: float = 1e-12,
    names: Sequence[str] = KERNELS,
) -> mg.Scope:  # fmt: skip
    """Weights divided by their largest singular value, as a matrix of the last axis (Miyato et al. 2018).

    As torch.nn.utils.parametrizations.spectral_norm (Keras's SpectralNormalization divides the stored
    kernel itself): the singular vectors ``kernel_u [out]`` and ``kernel_v [rest]`` are state that
    ``power_iterations`` steps improve, in training only; they start after 15.

    Args:
        names: of the parameters to normalise; others are left alone.

    Returns:
        The scope to hand to a layer.

    >>> import monograph_layers as nn
    >>> def model(scope, x):
    ...     return nn.dense(spectral_norm(scope, training=True), x, 2, use_bias=False)
    >>> store = mg.Store(seed=0)
    >>> call = store.bind(model, engine="numpy")
    >>> store["kernel"] = mg.asarray([[3.0, 0.0], [0.0, 0.1]])
    >>> mg.round(100 * call(mg.eye(2))).tolist()
    [[100.0, 0.0], [0.0, 3.0]]
    """

    def unit(x: Any) -> Any:
        return x / mg.maximum(mg.sqrt(mg.sum(mg.square(x))), epsilon)

    def step(w: Any, v: Any) -> tuple[Any, Any]:
        u = unit(v @ w)
        return u, unit(w @ u)

    def normalised(scope: mg.Scope, name: str, value: Any) -> Any:
        if name not in names or value.ndim < 2:
            return value
        wide = value.dtype.compute

        def matrix(x: Any) -> Any:
            return mg.reshape(mg.astype(x, wide), (-1, x.shape[-1]))

        def first_u(key: Any, shape: tuple, dtype: Any) -> Any:
            w = matrix(_stored(scope, name))
            v = unit(mg.random.normal(key, w.shape[:1], wide))
            for _ in range(15):
                u, v = step(w, v)
            return u

        def first_v(key: Any, shape: tuple, dtype: Any) -> Any:
            return unit(matrix(_stored(scope, name)) @ _stored(scope, f"{name}_u"))

        out = value.shape[-1]
        rest = math.prod(value.shape[:-1])
        left = scope.variable(f"{name}_u", (out,), first_u, wide)
        right = scope.variable(f"{name}_v", (rest,), first_v, wide)
        w, u, v = matrix(value), left.value, right.value
        if training:
            for _ in range(power_iterations):
                u, v = step(mg.stop_gradient(w), v)
            left.assign(u)
            right.assign(v)
        sigma = mg.vecdot(v @ w, u)
        return mg.astype(mg.astype(value, wide) / sigma, value.dtype)

    return scope.mapped(normalised)
