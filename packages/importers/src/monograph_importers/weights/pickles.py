"""A reader of pickles that runs nothing: opcodes build lists, dicts and what a table of ours makes.

A pickle is a program of a stack machine that may name any function and call it. Here a name is looked
up in the caller's table only; what is not there becomes a `Foreign`, which does nothing when it is
called, and is named in the error at the end. (`pickle.Unpickler` with a ``find_class`` of our own would
not do: it takes memory by the numbers that a file says.)
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monograph.errors import FileFormatError
from monograph.storage import damaged

MOST = 250_000
"""The most opcodes of a pickle: a state dict has some fifty per tensor."""

LONGEST = 64_000_000
"""The longest text or number in a pickle, in bytes."""


class Foreign:
    """A name that is not in the table, and what would come of it: nothing is done with it."""


FOREIGN = Foreign()


class Source:
    """Bytes to read on from, as `pickletools` wants them, without trust in a length."""

    def __init__(self, raw: memoryview, at: int = 0):
        self.raw, self.at = raw, at

    def tell(self) -> int:
        return self.at

    def read(self, n: int = -1) -> bytes:
        if not 0 <= n <= LONGEST:
            raise ValueError(f"a value of {n:,} bytes")
        out = bytes(self.raw[self.at : self.at + n])
        self.at += len(out)
        return out

    def readline(self, size: int | None = -1) -> bytes:
        line = bytes(self.raw[self.at : self.at + 65_536])
        line = line[: line.find(b"\n") + 1]  # none without an end: pickletools then complains
        self.at += len(line)
        return line


def load(
    source: Source, path: Path, table: Mapping[str, Any],
    stored: Callable[[Any], Any] = lambda key: FOREIGN, most: int = MOST,
) -> Any:  # fmt: skip
    """The next pickle's value.

    Args:
        table: what ``module.name`` stands for: functions of ours, called with what the file gives.
        stored: what a persistent id stands for.
        most: how many opcodes at most.

    Returns:
        Numbers, texts, lists, tuples, dicts, and what the table's functions return.

    Raises:
        FileFormatError: no sound pickle, or it names what is not in the table: all of it is listed.
    """
    machine = _Machine(table, stored)
    try:
        steps = pickletools.genops(source)  # type: ignore[arg-type]
        for n, (op, arg, _) in enumerate(steps):
            if n >= most:
                raise FileFormatError(f"{path}: a pickle of more than {most:,} steps")
            step = _STEPS.get(op.name)
            if step is None:
                raise ValueError(f"the step {op.name}")
            step(machine, arg)
        out = machine.stack.pop()
    except FileFormatError:
        raise
    except Exception as e:  # of a damaged program, anything
        raise damaged(path, f"it holds no sound pickle ({e!r:.200})") from None
    if machine.foreign:
        names = sorted(machine.foreign)
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        raise FileFormatError(
            f"{path}: a pickle that asks for {', '.join(names[:8])}{more}, which are no part of a "
            f"dict of tensors; nothing of it was run. Where it was made, save "
            f"torch.save(model.state_dict(), path), or safetensors"
        )
    return out


class _Machine:
    """What a pickle works on: values, where groups of them begin, and values to come back to."""

    def __init__(self, table: Mapping[str, Any], stored: Callable[[Any], Any]):
        self.table, self.stored = table, stored
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.foreign: set[str] = set()

    def group(self) -> list[Any]:
        """The values since the last mark, taken off."""
        begin = self.marks.pop()
        out = self.stack[begin:]
        del self.stack[begin:]
        return out

    def name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name that is no text")
        full = f"{module}.{name}"
        if full in self.table:
            self.stack.append(self.table[full])
        else:
            self.foreign.add("".join(c if c.isprintable() else "?" for c in full[:100]))
            self.stack.append(FOREIGN)

    def call(self, fn: Any, args: Any) -> None:
        if type(args) is not tuple:  # unpacking a long text would take eight times its memory
            raise ValueError("a call without a tuple of arguments")
        self.stack.append(FOREIGN if fn is FOREIGN else fn(*args))

    def instance(self, arg: str) -> None:
        args = self.group()
        self.name(*arg.split(" ", 1))
        self.call(self.stack.pop(), tuple(args))

    def put(self, items: list[Any]) -> None:
        """Keys and values into the dict below them; a key that is no plain value is left out."""
        target = self.stack[-1]
        if isinstance(target, dict):
            for key, value in zip(items[::2], items[1::2], strict=True):
                # of a tuple in tuples the hash may take for ever
                if type(key) is str or (type(key) is int and abs(key) < 2**64):
                    target[key] = value

    def extend(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)

    def build(self, state: Any) -> None:
        """State goes into our own objects that have a ``build``; others do without."""
        if hasattr(self.stack[-1], "build"):
            self.stack[-1].build(state)


def _push(make: Callable[[Any], Any]) -> Callable[[_Machine, Any], None]:
    return lambda m, arg: m.stack.append(make(arg))


def _tuple(n: int) -> Callable[[_Machine, Any], None]:
    def step(m: _Machine, arg: Any) -> None:
        items = tuple(m.stack[-n:])
        if len(items) != n:
            raise ValueError("too few values")
        m.stack[-n:] = [items]

    return step


def _grouped(make: Callable[[list[Any]], Any]) -> Callable[[_Machine, Any], None]:
    return lambda m, arg: m.stack.append(make(m.group()))


def _popped(n: int, do: Callable[..., None]) -> Callable[[_Machine, Any], None]:
    """``do(machine, *the last n values)``, those taken off."""

    def step(m: _Machine, arg: Any) -> None:
        args = [m.stack.pop() for _ in range(n)]
        do(m, *reversed(args))

    return step


def _dict(m: _Machine, arg: Any) -> None:
    items = m.group()
    m.stack.append({})
    m.put(items)


def _drop(m: _Machine, arg: Any) -> None:
    if m.marks and m.marks[-1] == len(m.stack):
        m.marks.pop()
    else:
        m.stack.pop()


_VALUES = (
    "INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING",
    "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
)  # fmt: skip

_STEPS: dict[str, Callable[[_Machine, Any], Any]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda m, arg: None),
    **dict.fromkeys(_VALUES, _push(lambda arg: arg)),
    "NONE": _push(lambda arg: None), "NEWTRUE": _push(lambda arg: True),
    "NEWFALSE": _push(lambda arg: False), "EMPTY_LIST": _push(lambda arg: []),
    "EMPTY_TUPLE": _push(lambda arg: ()), "EMPTY_DICT": _push(lambda arg: {}),
    "EMPTY_SET": _push(lambda arg: []),  # of a set nothing is asked but what is in it
    "TUPLE1": _tuple(1), "TUPLE2": _tuple(2), "TUPLE3": _tuple(3), "TUPLE": _grouped(tuple),
    "LIST": _grouped(list), "FROZENSET": _grouped(list), "DICT": _dict,
    "MARK": lambda m, arg: m.marks.append(len(m.stack)), "POP": _drop,
    "POP_MARK": lambda m, arg: m.group(), "DUP": lambda m, arg: m.stack.append(m.stack[-1]),
    "APPEND": _popped(1, lambda m, x: m.extend([x])),
    "APPENDS": lambda m, arg: m.extend(m.group()), "ADDITEMS": lambda m, arg: m.extend(m.group()),
    "SETITEM": _popped(2, lambda m, k, v: m.put([k, v])),
    "SETITEMS": lambda m, arg: m.put(m.group()),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda m, n: m.memo.update({n: m.stack[-1]})),
    "MEMOIZE": lambda m, arg: m.memo.update({len(m.memo): m.stack[-1]}),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, n: m.stack.append(m.memo[n])),
    "GLOBAL": lambda m, arg: m.name(*arg.split(" ", 1)), "STACK_GLOBAL": _popped(2, _Machine.name),
    "REDUCE": _popped(2, _Machine.call), "NEWOBJ": _popped(2, _Machine.call),
    "NEWOBJ_EX": _popped(3, lambda m, fn, args, named: m.call(fn, args)),
    "INST": _Machine.instance,
    "OBJ": lambda m, arg: m.call((made := m.group())[0], tuple(made[1:])),
    "BUILD": _popped(1, _Machine.build),
    "BINPERSID": _popped(1, lambda m, key: m.stack.append(m.stored(key))),
    "PERSID": lambda m, arg: m.stack.append(m.stored(arg)),
}  # fmt: skip
"""What each opcode does; one that is not here, such as those of `copyreg`'s registry, is refused."""
