"""What the tables share: dtypes, and the forms an entry may take besides source text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from monograph.dtypes import dtype as as_dtype

from .. import onednn

NAMES: dict[str, Any] = {"torch": torch, "onednn": onednn}
"""What source text may call."""

HALF = (torch.float16, torch.bfloat16)
# whose products torch's CPU kernels are slow at: all of float16; bfloat16 too where AVX-512 is missing,
# where some convolutions keep their sums in 16 bits besides
SLOW = ("float16", "bfloat16")[
    : 1 + (torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2"))
]
FLOAT8 = {
    f"float8_{kind}": getattr(torch, f"float8_{kind}")
    for kind in ("e4m3fn", "e5m2", "e4m3fnuz", "e5m2fnuz")
}
# what torch does not show to NumPy goes there in lanes of the same bits
LANES = {torch.bfloat16: torch.int16} | dict.fromkeys(FLOAT8.values(), torch.uint8)


def shown(host: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """A host tensor's memory as an array, and the same with a dtype that NumPy itself does not have."""
    lanes = LANES.get(host.dtype)
    if lanes is None:
        array = host.numpy()
        return array, array
    array = host.contiguous().view(lanes).numpy()
    return array, array.view(as_dtype(str(host.dtype).removeprefix("torch.")).numpy)


def dtype_of(spec: Any) -> torch.dtype:
    """torch's dtype of a spec."""
    return getattr(torch, spec.dtype.name)


def owned(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """A tensor with a copy of ``array``."""
    copy = np.array(array, array.dtype.newbyteorder("="), copy=True, order="C")
    if copy.dtype.isbuiltin != 2:  # not one of ml_dtypes, which NumPy shows to torch in lanes only
        # by its name: a dtype that once had another byte order is equal, but torch does not take it
        return torch.from_numpy(copy.view(copy.dtype.name)).to(device)
    same = torch.from_numpy(copy.view(f"i{copy.itemsize}"))
    return same.view(getattr(torch, copy.dtype.name)).to(device)


def call(fn: Callable) -> Callable:
    """A lowering that calls ``fn(*tensors, **attributes)``."""
    return lambda node, device: (lambda *xs, a=node.attrs: fn(*xs, **a)) if node.attrs else fn


def fast_half(lower: Callable) -> Callable:
    """The lowering of a product of two; on the CPU through float32 where that is 5 to 170 times faster."""

    def wrapped(node: Any, device: Any) -> Any:
        how = lower(node, device)
        if node.inputs[0].dtype.name not in SLOW or device.type != "cpu":
            return how
        product = function(how) if isinstance(how, str) else how
        return lambda x, y: product(x.float(), y.float()).to(x.dtype)

    return wrapped


def function(text: str, arity: int = 2) -> Callable:
    """Source text of so many operands as a function."""
    names = [f"x{i}" for i in range(arity)]
    return eval(f"lambda {', '.join(names)}: {text.format(*names)}", {**NAMES})


class Writer:
    """A lowering that may write its result into operands nobody needs any more.

    Attributes:
        places: positions of operands that can take a result.
        write: ``(free positions) -> source text or callable``; ``free`` is a part of `places`.
    """

    def __init__(self, places: tuple[int, ...], write: Callable[[tuple[int, ...]], Any]):
        self.places, self.write = places, write


class Pointwise(Writer):
    """An elementwise torch function: operands may be of smaller shapes that broadcast."""

    def __init__(self, text: str, places: tuple[int, ...] = (), into: str = ""):
        def write(free: tuple[int, ...]) -> str:
            if not free:
                return text
            return into or f"{text[:-1]}, out={{{free[0]}}})"

        super().__init__(places, write)


def pointwise(name: str, arity: int = 1, places: tuple[int, ...] | None = None) -> Callable:
    """``torch.<name>`` of ``arity`` operands, able to write into those at ``places`` (all)."""
    args = ", ".join(f"{{{i}}}" for i in range(arity))
    made = Pointwise(f"torch.{name}({args})", tuple(range(arity)) if places is None else places)
    return lambda node, device: made
