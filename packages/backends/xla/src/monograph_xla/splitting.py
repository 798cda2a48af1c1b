"""Many small parts of one array, copied by one C function: XLA would compile a kernel for each.

Ten milliseconds a kernel and more, for each part lies elsewhere; a step with 500 packed variables took
ten seconds longer to compile.
"""

from __future__ import annotations

import functools
from typing import Any

from jax import lax
from monograph import Spec
from monograph.errors import NativeError, ShapeError
from monograph.native import NoCompiler, custom_op_from_c, enabled
from monograph.native.compile import compiler
from monograph.op import Op

from . import native
from .outside import TARGET, on_host

MANY, LARGEST = 4, 1 << 16
"""Parts for which it is called, and bytes of each at most: larger ones are better fused with their use."""

_DTYPES = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "float16": 2, "bfloat16": 2, "int32": 4,
    "uint32": 4, "float32": 4, "int64": 8, "uint64": 8, "float64": 8, "complex64": 8, "complex128": 16,
}  # fmt: skip

_SOURCE = """#include "monograph_op.h"
MG_OP(mg_xla_split) {
  const char *from = call->in[0].data;
  size_t element = (size_t)mg_int(call, "element");
  for (int32_t i = 0; i < call->n_out; i++) {
    size_t n = (size_t)call->out[i].size * element;
    if (n) memcpy(call->out[i].data, from, n);
    from += n;
  }
  return 0;
}
"""


def _parts(x: Spec, *, sizes: tuple[int, ...], element: int) -> tuple[Spec, ...]:
    if sum(sizes) != x.shape[0]:
        raise ShapeError(f"the sizes {sizes} must add up to {x.shape[0]}")
    return tuple(x.with_((n, *x.shape[1:])) for n in sizes)


@functools.cache
def _in_c() -> Op | None:
    try:
        return custom_op_from_c(
            _SOURCE, "mg_xla_split", infer=_parts, name="split_in_c", dtypes=tuple(_DTYPES), multi=True,
            flags="-O2",
        )  # fmt: skip
    except NativeError:
        return None


def is_quick(platform: str) -> bool:
    """Whether there is what the C function takes: the host's memory, and a compiler."""
    if platform != "cpu" or not enabled():
        return False
    try:
        return bool(compiler())
    except NoCompiler:
        return False


def split(x: Any, *, sizes: tuple[int, ...], axis: int) -> Any:
    """Parts of the given sizes, one after another along ``axis``."""
    largest = max(sizes, default=0) * x.nbytes // max(x.shape[axis], 1)
    many = axis == 0 and len(sizes) >= MANY and largest <= LARGEST and x.dtype.name in _DTYPES
    platform = TARGET.get().platform
    if many and is_quick(platform) and (op := _in_c()) and native.callable_natively(op, platform):
        return on_host(op)(x, sizes=sizes, element=_DTYPES[x.dtype.name])
    return tuple(lax.split(x, sizes, axis))
