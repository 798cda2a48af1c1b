"""`Array`: what a traced `Value` and an eager `Tensor` have in common.

Operators and methods are the array API's; `monograph.api` installs them here from one table, so a
function and the method of its name are the same object.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .dtypes import DType
from .spec import Spec


class Array:
    """Something with a spec that operations accept: a graph value or a concrete tensor."""

    __slots__ = ()
    spec: Spec

    @property
    def shape(self) -> tuple[int, ...]:
        """Axis lengths."""
        return self.spec.shape

    @property
    def dtype(self) -> DType:
        """Element type."""
        return self.spec.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.spec.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.spec.size

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.spec.nbytes

    if (
        TYPE_CHECKING
    ):  # what `api.operators` installs from its tables, for type checkers and editors
        T: Array
        mT: Array
        at: Any

        def numpy(self) -> Any: ...
        def tolist(self) -> Any: ...
        def item(self) -> Any: ...
        def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any: ...
        def __getitem__(self, key: Any, /) -> Array: ...
        def __len__(self) -> int: ...
        def __iter__(self) -> Iterator[Array]: ...
        def __contains__(self, value: Any, /) -> bool: ...
        def __divmod__(self, other: Any, /) -> tuple[Array, Array]: ...
        def __rdivmod__(self, other: Any, /) -> tuple[Array, Array]: ...
        def astype(self, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Array: ...
        def reshape(self, *shape: Any) -> Array: ...
        def squeeze(self, /, axis: Any = None) -> Array: ...
        def _reduce(self, /, axis: Any = None, *, keepdims: bool = False) -> Array: ...
        def _unary(self, /) -> Array: ...
        def _binary(self, other: Any, /) -> Array: ...

        sum = mean = max = min = prod = all = any = std = var = argmax = argmin = _reduce
        __neg__ = __pos__ = __abs__ = __invert__ = _unary
        __add__ = __sub__ = __mul__ = __truediv__ = __floordiv__ = __mod__ = __pow__ = _binary
        __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rfloordiv__ = __rmod__ = __rpow__ = (
            _binary
        )
        __matmul__ = __and__ = __or__ = __xor__ = __lshift__ = __rshift__ = _binary
        __rmatmul__ = __rand__ = __ror__ = __rxor__ = __rlshift__ = __rrshift__ = _binary
        __lt__ = __le__ = __gt__ = __ge__ = _binary
        __eq__ = __ne__ = _binary  # type: ignore[assignment]

    # identity, so that arrays can key dicts although == is elementwise
    __hash__ = object.__hash__

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """The array API namespace: `monograph` itself."""
        import monograph

        from .errors import ArgumentError

        if api_version not in (None, "2021.12", "2022.12", "2023.12", "2024.12"):
            raise ArgumentError(f"array API version {api_version!r} is not known; 2024.12 is")
        return monograph
