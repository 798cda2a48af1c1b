"""Operations written in C or C++: `custom_op_from_c`, and what engines call them through."""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ..dtypes import dtype as as_dtype
from ..errors import ArgumentError, DTypeError, GraphError, NativeError, ShapeError
from ..op import NOT_DIFFERENTIABLE, Op
from ..spec import Spec
from ..tracing import at_user_line, user_source
from . import abi
from .call import Kernel, Plan
from .compile import HEADERS, SUFFIXES, NoCompiler, build, exported, words

__all__ = [
    "HEADERS",
    "Kernel",
    "NoCompiler",
    "Plan",
    "abi",
    "build",
    "custom_op_from_c",
    "enabled",
    "twin",
]

_LIBRARIES = (".so", ".dylib", ".dll")
_loaded: dict[str, str] = {}  # path of a library that is loaded -> digest of its content


def custom_op_from_c(
    source: str | os.PathLike,
    symbol: str,
    *,
    infer: Callable,
    vjp: Any = None,
    name: str | None = None,
    language: str | None = None,
    flags: str | Sequence[str] = (),
    dtypes: str | Sequence[str] | Mapping[str, str | Sequence[str]] = "float32",
    multi: bool = False,
    samples: Callable | None = None,
    ulps: float = 4,
    batch: Callable | None = None,
    doc: str | None = None,
) -> Op:
    """An op whose body is a C function, compiled once and called by address.

    The function is ``int symbol(const mg_call *)`` of ``monograph_op.h``, best written with its macro
    ``MG_OP(symbol)``. XLA and PyTorch call it natively on the CPU; elsewhere arrays go by way of the
    host. Results are the same on every engine, to the last bit.

    Args:
        source: C or C++ source text, a file of such (``.c .cc .cpp .cxx``), or a shared library.
        symbol: the function's name.
        infer: shape rule, ``(*specs, **attrs) -> Spec | tuple[Spec, ...]``. Its parameters are the
            op's: positional ones the operands, keyword-only ones the attributes, which are bools,
            ints, floats, strings and tuples of numbers.
        vjp: gradient rule ``(g, y, *inputs, **attrs) -> tuple``, as in `mg.op`; other C ops may be
            used in it. None: asking for a gradient is an error.
        name: the op's; ``symbol`` if None.
        language: ``"c"`` or ``"c++"``; None goes by the file's suffix, else C.
        flags: for the compiler, such as ``("-O3", "-march=native", "-lfftw3")``.
        dtypes: what operands may be, all others are refused while tracing: of every operand, or by
            the operand's name. ``samples`` is run with each; with float64 among them gradients are
            held against differences.
        multi, samples, ulps, batch: as in `mg.op`.
        doc: the op's docstring.

    Raises:
        NativeError: the source does not compile, the library cannot be loaded or lacks the function.
        ArgumentError: no such file, or an unknown language.

    >>> import monograph as mg
    >>> twice = mg.custom_op_from_c(
    ...     '''#include "monograph_op.h"
    ...     MG_OP(twice) {
    ...       for (int64_t i = 0; i < call->in[0].size; i++) MG_OUT(0, float)[i] = 2 * MG_IN(0, float)[i];
    ...       return 0;
    ...     }''', "twice", infer=lambda x: x, vjp=lambda g, y, x: (twice(g),))
    >>> mg.grad(lambda x: mg.sum(twice(x) * x))(mg.tensor([1.0, 2.0])).tolist()
    [4.0, 8.0]
    """
    name = (name or symbol).rstrip("_")  # as of every op
    try:
        flags = words(flags, f"{name}: flags=") if isinstance(flags, str) else tuple(flags)
        if not hasattr(infer, "__code__"):
            raise ArgumentError(
                f"{name}: infer= is {type(infer).__name__}; the op's operands and attributes are read off "
                f"it, so it must be a Python function of them"
            )
        path = _library(source, name, language, flags)
        digest = _load(path, symbol, name)
        rule = _checked(infer, name, dtypes, multi)
        kernel = Kernel(name, path, symbol, digest, rule, multi)
    except (NativeError, ArgumentError) as e:
        raise at_user_line(e) from e.__cause__
    # an op reads its name, operands and attributes off a function: here off its shape rule
    module = sys._getframe(1).f_globals.get("__name__", "__main__")
    face: Any = SimpleNamespace(
        __name__=name, __qualname__=f"{name} from C", __module__=module,
        __doc__=doc or f"The C function {symbol!r}.",
        __code__=infer.__code__, __kwdefaults__=infer.__kwdefaults__,
    )  # fmt: skip
    made = Op(
        face, infer=rule, vjp=NOT_DIFFERENTIABLE if vjp is None else vjp, samples=samples,
        dtypes=tuple(sorted(_all(dtypes))), ulps=ulps, multi=multi, is_composite=False, bits=True,
        batch=batch,
    )  # fmt: skip
    made.reference, made.outside = kernel, True
    return made


def _library(
    source: str | os.PathLike, name: str, language: str | None, flags: Sequence[str]
) -> str:
    text, file = str(source), ""
    if language not in (None, *SUFFIXES.values()):
        raise ArgumentError(f"{name}: language={language!r}; it is 'c' or 'c++'")
    if isinstance(source, os.PathLike) or ("\n" not in text and "{" not in text):
        file = str(Path(text).expanduser().absolute())
        suffix = Path(file).suffix
        if not Path(file).is_file():
            raise ArgumentError(
                f"{name}: there is no file {text!r} (nor does it read like C source)"
            )
        if suffix in _LIBRARIES or ".so." in Path(file).name:
            return file
        language = language or SUFFIXES.get(suffix)
        if language is None:
            raise ArgumentError(
                f"{name}: {text!r} is neither C ({', '.join(SUFFIXES)}) nor a library "
                f"({', '.join(_LIBRARIES)}); say language= if it is source"
            )
        try:
            text = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as e:
            raise ArgumentError(f"{name}: cannot read {file!r} as UTF-8: {e}") from e
    return str(build(text, name, language or "c", flags, file))


def _load(path: str, symbol: str, name: str) -> str:
    """Load a library, see that it has the function, and return a digest of both."""
    content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    if _loaded.setdefault(path, content) != content:
        raise NativeError(
            f"{name}: {path} has changed since this process loaded it, and cannot be loaded again; "
            f"start a new process, or give it another file name"
        )
    try:
        abi.function(path, symbol)
    except OSError as e:
        del _loaded[path]
        raise NativeError(f"{name}: cannot load {path}: {e}") from e
    except (AttributeError, ValueError) as e:
        raise NativeError(f"{name}: {_missing(path, symbol)}") from e
    return hashlib.sha256(f"{content} {symbol}".encode()).hexdigest()[:32]


def _missing(path: str, symbol: str) -> str:
    import difflib

    names = exported(path)
    text = f"{Path(path).name} has no function {symbol!r}"
    if names:
        text += f"; it exports {', '.join(names[:20])}"
    mangled = [n for n in names if n.startswith("_Z") and symbol in n]
    if mangled:
        return f'{text}. {mangled[0]} is a C++ name: write MG_OP({symbol}), or extern "C"'
    close = difflib.get_close_matches(symbol, names, 1)
    return text + (f". Did you mean {close[0]!r}?" if close else "")


def _all(dtypes: Any) -> set[str]:
    each = dtypes.values() if isinstance(dtypes, Mapping) else (dtypes,)
    return {as_dtype(d).name for one in each for d in ((one,) if isinstance(one, str) else one)}


def _checked(infer: Callable, name: str, dtypes: Any, multi: bool) -> Callable:
    """The shape rule, with operands of dtypes that the C function was not written for refused."""
    operands = infer.__code__.co_varnames[: infer.__code__.co_argcount]
    if isinstance(dtypes, Mapping):
        if dtypes.keys() != set(operands):
            raise ArgumentError(
                f"{name}: dtypes= names {', '.join(dtypes)}; the operands are {', '.join(operands)}"
            )
        allowed = [_all(dtypes[o]) for o in operands]
    else:
        allowed = [_all(dtypes)] * len(operands)

    def rule(*specs: Spec, **attrs: Any) -> Any:
        rest = [_all(dtypes)] * (len(specs) - len(allowed))
        for i, (s, names) in enumerate(zip(specs, [*allowed, *rest])):
            if s.dtype.name not in names:
                which = operands[i] if i < len(operands) else f"operand {i}"
                raise DTypeError(
                    f"{name}: {which} is {s}; the C function takes {', '.join(sorted(names))}. "
                    f"Convert it with .astype(), or widen dtypes= if it takes more"
                )
        for k, v in attrs.items():
            if not abi.takes(v):
                raise ArgumentError(
                    f"{name}: attribute {k!r} is {v!r}; a C function takes bools, ints, floats, strings "
                    f"and tuples of numbers"
                )
        out = infer(*specs, **attrs)
        if isinstance(out, tuple) is not multi:
            raise GraphError(
                f"{name}: its shape rule gives {out!r}; say multi=True if and only if it is a tuple"
            )
        return out

    return rule


def enabled() -> bool:
    """Whether C functions may stand for what can be done without: not with ``MONOGRAPH_NATIVE=0``."""
    return os.environ.get("MONOGRAPH_NATIVE", "1") != "0"


_twins: dict[Op, Op | None] = {}


def twin(op: Op, specs: Sequence[Spec], attrs: Mapping[str, Any]) -> Op | None:
    """The C function that stands for a composite on a CPU; None where it does not.

    That is where there is no compiler, where it does not compile (said once, as a warning), for operands
    it is not written for, and with ``MONOGRAPH_NATIVE=0``.
    """
    if not enabled() or op.native is None:
        return None
    if op not in _twins:
        try:
            _twins[op] = op.native()
        except NoCompiler:
            _twins[op] = None
        except NativeError as e:
            _twins[op] = None
            warnings.warn(f"op {op.name!r} goes without its C function: {e}", stacklevel=2)
    found = _twins[op]
    try:
        return found if found is None or found.infer_specs(specs, dict(attrs)) else None
    except (DTypeError, ShapeError):
        return None
