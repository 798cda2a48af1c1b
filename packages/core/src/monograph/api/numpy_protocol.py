"""NumPy's own functions on our arrays: ``np.sin(x)`` and ``np.sum(x)`` mean `monograph`'s.

NumPy asks its arguments before it works (NEP 13 and 18). A function that we have runs as ours, so that it
can be recorded; any other takes a tensor's numbers, and refuses a value that is being traced.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..array import Array
from ..errors import MonographError, TraceError
from ..graph import Value
from ..tracing import user_source

# where NumPy's name is not the array API's
_NAMES = {
    "absolute": "abs", "arccos": "acos", "arccosh": "acosh", "arcsin": "asin", "arcsinh": "asinh",
    "arctan": "atan", "arctan2": "atan2", "arctanh": "atanh", "concatenate": "concat",
    "conjugate": "conj", "cumsum": "cumulative_sum", "cumprod": "cumulative_prod",
    "invert": "bitwise_invert", "left_shift": "bitwise_left_shift", "power": "pow", "rint": "round",
    "right_shift": "bitwise_right_shift", "true_divide": "divide",
    "amax": "max", "amin": "min",
}  # fmt: skip


def _ours(module: str, name: str) -> Any:
    import monograph

    home = {"numpy": monograph}.get(module) or getattr(
        monograph, module.removeprefix("numpy."), None
    )
    found = getattr(home, _NAMES.get(name, name), None)
    return found if getattr(found, "__module__", "").startswith("monograph.api") else None


def _numbers(x: Any, name: str) -> Any:
    """A tensor's array, in any nesting; a traced value has none."""
    if isinstance(x, (tuple, list)):
        return type(x)(_numbers(i, name) for i in x)
    if isinstance(x, dict):
        return {k: _numbers(v, name) for k, v in x.items()}
    if isinstance(x, Value):
        raise TraceError(
            f"{user_source()}: numpy.{name} cannot work on {x.spec}, which is being traced and has no "
            f"numbers yet; use a function of monograph's instead"
        )
    return np.asarray(x) if isinstance(x, Array) else x


def _call(ours: Any, theirs: Any, name: str, args: tuple, kwargs: dict) -> Any:
    if ours is not None:
        try:
            return ours(*args, **kwargs)
        except TypeError as e:  # an argument that only NumPy's function has, such as out=
            if isinstance(e, MonographError):
                raise
    return theirs(*_numbers(args, name), **_numbers(kwargs, name))


def array_ufunc(self: Array, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
    """NEP 13: ``np.sin(x)``, ``np_array + x``."""
    name = ufunc.__name__
    if method == "__call__":
        return _call(_ours("numpy", name), ufunc, name, inputs, kwargs)
    return _call(None, getattr(ufunc, method), f"{name}.{method}", inputs, kwargs)


def array_function(self: Array, func: Any, types: Any, args: tuple, kwargs: dict) -> Any:
    """NEP 18: ``np.sum(x, axis=0)``, ``np.concatenate([x, y])``."""
    name = f"{func.__module__}.{func.__name__}".removeprefix("numpy.")
    return _call(_ours(func.__module__, func.__name__), func, name, args, kwargs)
