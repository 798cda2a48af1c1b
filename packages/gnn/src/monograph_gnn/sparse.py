"""`SparseMatrix`: features of which most are zero, such as bags of words, for the layers' first product."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import ShapeError
from monograph.tracing import at_user_line

from .index import EdgeIndex, edge_index
from .propagation import neighbor_sum


@dataclass(frozen=True, eq=False)
class SparseMatrix:
    """A matrix ``[rows, columns]`` by its stored entries; a tree of arrays, so a step's argument.

    Layers that begin with ``x @ kernel`` (`gcn_conv`, `gat_conv`, `nn.dense`) take it in the place of an
    array: each row gathers the kernel's rows at its entries. `sparse` makes one.

    Attributes:
        index: an edge from the column to the row of each entry.
        values: ``[entries]``, in the order of `index`; or ``[entries, heads]``, a matrix per head, each of
            which is multiplied by its share of a kernel's columns.

    >>> x = sparse(np.float32([[0, 2, 0], [1, 0, 0]]))
    >>> x, (x @ np.float32([[1], [10], [100]])).tolist()
    (SparseMatrix([2, 3], 2 entries), [[20.0], [1.0]])
    """

    index: EdgeIndex
    values: Any

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.index.num_receivers, self.index.num_senders

    ndim = 2

    @property
    def dtype(self) -> Any:
        """Of `values`."""
        return mg.asarray(self.values).dtype

    def map(self, fn: Callable[[Any], Any]) -> SparseMatrix:
        """``fn`` of the stored values; for one that leaves zeros alone, such as dropout, of the matrix."""
        return SparseMatrix(self.index, fn(mg.asarray(self.values)))

    def per_head(self, heads: int) -> SparseMatrix:
        """The same matrix ``heads`` times, for dropout that each head has of its own."""
        return self.map(lambda v: mg.broadcast_to(v[:, None], (v.shape[0], heads)))

    def __matmul__(self, other: Any) -> Any:
        """The product with ``[columns, ...]``; per head with ``[columns, heads * width]``.

        Raises:
            ShapeError: ``other`` has not as many rows as this has columns, or columns that do not part
                among the heads.
        """
        other, values = mg.asarray(other), mg.asarray(self.values)
        heads = values.shape[1] if values.ndim == 2 else 1
        if other.ndim < 2 or other.shape[0] != self.shape[1] or other.shape[1] % heads:
            wanted = f"[{self.shape[1]}, n{f' * {heads}' if heads > 1 else ''}]"
            raise at_user_line(
                ShapeError(f"{self!r} is to be multiplied by {wanted}, got {other.spec}")
            )
        if values.ndim == 1:
            return neighbor_sum(self.index, other, values)
        parts = mg.reshape(other, (other.shape[0], heads, -1))
        return mg.reshape(neighbor_sum(self.index, parts, values), (-1, *other.shape[1:]))

    def __repr__(self) -> str:
        rows, columns = self.shape
        return f"SparseMatrix([{rows}, {columns}], {self.index.num_edges} entries)"


mg.tree.register(
    SparseMatrix, lambda m: (None, (m.index, m.values)), lambda _, parts: SparseMatrix(*parts)
)


def sparse(x: Any) -> SparseMatrix:
    """The entries that are not zero of an array ``[rows, columns]``, or those a SciPy matrix stores.

    Raises:
        ShapeError: no matrix.
    """
    if hasattr(x, "tocoo"):
        x = x.tocoo()
        shape, rows, columns, values = x.shape, x.row, x.col, x.data
    else:
        x = np.asarray(x)
        shape = x.shape
        if len(shape) == 2:
            rows, columns = np.nonzero(x)
            values = x[rows, columns]
    if len(shape) != 2:
        raise at_user_line(ShapeError(f"a sparse matrix is [rows, columns], got shape {shape}"))
    index, places = edge_index(columns, rows, *shape)
    return SparseMatrix(index, values[places])
