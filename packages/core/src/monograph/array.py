"""`Array`: what a traced `Value` and an eager `Tensor` have in common.

Operators and methods are the array API's; `monograph.api` installs them here from one table, so a
function and the method of its name are the same object.
"""

from __future__ import annotations

from typing import Any

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

    # identity, so that arrays can key dicts although == is elementwise
    __hash__ = object.__hash__

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """The array API namespace: `monograph` itself."""
        import monograph

        from .errors import ArgumentError

        if api_version not in (None, "2021.12", "2022.12", "2023.12", "2024.12"):
            raise ArgumentError(f"array API version {api_version!r} is not known; 2024.12 is")
        return monograph
