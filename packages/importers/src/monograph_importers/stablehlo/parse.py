"""The generic text of MLIR, read into `ir`.

One grammar for every operation (MLIR language reference, "Generic operation syntax"); attributes of
StableHLO's own that have a syntax of their own become dicts.
"""

from __future__ import annotations

import re
from typing import Any

from monograph.errors import FileFormatError

from .ir import Block, Elements, Enum, Module, Op, Other, Symbol, Tensor
from .locations import Locations

_SPACE = re.compile(r"(?:\s|//[^\n]*)*")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"', re.S)
_VALUE = re.compile(r"%[\w$.-]+(?:#\d+)?")
_RESULT = re.compile(r"(%[\w$.-]+)(?::(\d+))?")
_NUMBER = re.compile(r"-?(?:0x[0-9a-fA-F]+|\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)")
_WORD = re.compile(r"[A-Za-z_][\w$.]*")
_HASH = re.compile(r"#[\w$.-]+")
_BANG = re.compile(r"![\w$.-]+")
_SYMBOL = re.compile(r'@(?:[\w$.-]+|"(?:[^"\\]|\\.)*")')
_LABEL = re.compile(r"\^[\w$.-]+")
_DIMENSIONS = re.compile(r"((?:(?:\d+|\?)x)*)")
_HEX = re.compile(r'"0x([0-9a-fA-F]*)"')
_RESOURCE = re.compile(r'"?([\w$.-]+)"?\s*:\s*"0x[0-9a-fA-F]{8}([0-9a-fA-F]*)"')
_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|->|[<>]', re.S)
_COLUMNS = re.compile(r":\d+(?:\s+to\s+(?:\d+)?:\d+)?")


def parse(text: str, name: str) -> Module:
    """The module that generic ``text`` holds.

    Raises:
        FileFormatError: not generic text, or not one module.
    """
    try:
        return _Reader(text, name).module()
    except RecursionError:
        raise FileFormatError(f"{name}: regions or attributes nest too deeply") from None


class _Reader:
    def __init__(self, text: str, name: str):
        self.text, self.at, self.name = text, 0, name
        self.locations = Locations()
        self.aliases: dict[str, Any] = {}
        end = text.rfind("\n{-#")  # each begins with four bytes that say how it is aligned
        self.resources = dict(_RESOURCE.findall(text, end)) if end >= 0 else {}

    # ---- the scanner

    def fail(self, wanted: str) -> FileFormatError:
        line = self.text.count("\n", 0, self.at) + 1
        found = self.text[self.at : self.at + 40].split("\n")[0]
        return FileFormatError(f"{self.name}:{line}: expected {wanted}, found {found!r}")

    def space(self) -> None:
        self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]

    def sees(self, s: str) -> bool:
        self.space()
        return self.text.startswith(s, self.at)

    def take(self, s: str) -> bool:
        if self.sees(s):
            self.at += len(s)
            return True
        return False

    def need(self, s: str) -> None:
        if not self.take(s):
            raise self.fail(repr(s))

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        self.space()
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def word(self, pattern: re.Pattern[str], what: str) -> str:
        found = self.match(pattern)
        if not found:
            raise self.fail(what)
        return found.group()

    def string(self) -> str:
        found = self.match(_STRING)
        if not found:
            raise self.fail("a string")
        return _unescaped(found.group(1))

    def many(self, close: str, item: Any) -> list[Any]:
        """Items with commas between, up to ``close``."""
        out: list[Any] = []
        while not self.take(close):
            if out:
                self.need(",")
            out.append(item())
        return out

    def balanced(self) -> str:
        """The text inside ``<...>``, with what nests in it."""
        self.need("<")
        start, depth = self.at, 1
        while depth:
            found = _BRACKET.search(self.text, self.at)
            if not found:
                raise self.fail("'>'")
            depth += {"<": 1, ">": -1}.get(found.group(), 0)
            self.at = found.end()
        return self.text[start : self.at - 1]

    # ---- operations

    def module(self) -> Module:
        found = None
        while True:
            self.space()
            if self.at == len(self.text):
                break
            if self.sees("#") or self.sees("!"):
                self.alias()
            elif self.sees("{-#"):
                end = self.text.find("#-}", self.at)
                self.at = len(self.text) if end < 0 else end + 3
            else:
                found = self.op()
        if found is None or found.name != "builtin.module":
            raise FileFormatError(f"{self.name}: it holds no module")
        functions = {}
        for op in found.walk():
            op.source = self.locations.source(op.location)
            if op.name == "func.func":
                if "sym_name" not in op.attributes:
                    raise FileFormatError(f"{self.name}: a function in it has no name")
                functions[op.attributes["sym_name"]] = op
        return Module(found.attributes.get("sym_name", self.name), found.attributes, functions)

    def alias(self) -> None:
        name = self.word(_HASH if self.sees("#") else _BANG, "an alias")
        self.need("=")
        if name.startswith("#loc"):
            self.need("loc")
            self.locations.aliases[name] = self.location()
        else:
            self.aliases[name] = self.type() if name[0] == "!" else self.attribute()

    def op(self) -> Op:
        results: list[str] = []
        if self.sees("%"):
            while True:
                name, n = self.match(_RESULT).groups()  # type: ignore[union-attr]
                results += [name] if n is None else [f"{name}#{i}" for i in range(int(n))]
                if not self.take(","):
                    break
            self.need("=")
        op = Op(self.string(), [], results, {}, [])
        self.need("(")
        op.operands = self.many(")", lambda: self.word(_VALUE, "a value"))
        if self.take("["):
            self.many("]", lambda: self.word(_LABEL, "a label"))
        if self.sees("<{"):
            self.need("<")
            op.attributes = self.dictionary()
            self.need(">")
        elif self.sees("<"):  # of an operation that jaxlib does not know
            self.balanced()
        if self.take("("):
            op.regions = self.many(")", self.region)
        if self.sees("{"):
            op.attributes.update(self.dictionary())
        self.need(":")
        op.operand_types, op.types = self.function_type()
        if self.take("loc"):
            op.location = self.location()
        if len(op.types) != len(results) and results:
            raise self.fail(f"{len(results)} result types of {op.name}")
        return op

    def region(self) -> list[Block]:
        self.need("{")
        blocks: list[Block] = []
        while not self.take("}"):
            if self.match(_LABEL):
                arguments = self.many(")", self.argument) if self.take("(") else []
                self.need(":")
                blocks.append(Block(arguments, []))
            else:
                if not blocks:
                    blocks.append(Block([], []))
                blocks[-1].ops.append(self.op())
        return blocks

    def argument(self) -> tuple[str, Any]:
        name = self.word(_VALUE, "an argument")
        self.need(":")
        kind = self.type()
        if self.take("loc"):
            self.location()
        return name, kind

    def location(self) -> Any:
        """A location as nested tuples, aliases unresolved."""
        self.need("(")
        found = self._location()
        self.need(")")
        return found

    def _location(self) -> Any:
        if self.sees('"'):
            name = self.string()
            if self.take(":"):
                line = int(self.word(_NUMBER, "a line"))
                self.match(_COLUMNS)
                return "file", name, line
            return "name", name, self.location() if self.sees("(") else None
        if self.sees("#"):
            return "alias", self.word(_HASH, "an alias")
        kind = self.word(_WORD, "a location")
        if kind == "callsite":
            self.need("(")
            callee = self._location()
            self.need("at")
            caller = self._location()
            self.need(")")
            return "callsite", callee, caller
        if kind == "fused":
            if self.sees("<"):
                self.balanced()
            self.need("[")
            return "fused", self.many("]", self._location)
        return None

    # ---- types

    def function_type(self) -> tuple[list[Any], list[Any]]:
        self.need("(")
        given = self.many(")", self.type)
        self.need("->")
        if self.take("("):
            return given, self.many(")", self.type)
        return given, [self.type()]

    def type(self) -> Any:
        if self.sees("("):
            given, out = self.function_type()
            return Other("function", (tuple(given), tuple(out)))
        if self.sees("!"):
            name = self.word(_BANG, "a type")
            if name in self.aliases:
                return self.aliases[name]
            return Other(name + (f"<{self.balanced()}>" if self.sees("<") else ""))
        word = self.word(_WORD, "a type")
        if word == "tuple":
            self.need("<")
            return Other("tuple", tuple(self.many(">", self.type)))
        if word != "tensor" or not self.sees("<"):
            return Other(word + (f"<{self.balanced()}>" if self.sees("<") else ""))
        inside = self.balanced()
        dims = _DIMENSIONS.match(inside).group()  # type: ignore[union-attr]
        element = inside[len(dims) :].split(",")[0].strip()
        if "*" in element:
            return Other(f"tensor<{inside}>")
        lengths = dims.split("x")[:-1]
        return Tensor(tuple(None if n == "?" else int(n) for n in lengths), element)

    # ---- attributes

    def dictionary(self) -> dict[str, Any]:
        self.need("{")
        return dict(self.many("}", self.entry))

    def entry(self) -> tuple[str, Any]:
        key = self.string() if self.sees('"') else self.word(_WORD, "a name")
        return key, self.attribute() if self.take("=") else True

    def attribute(self) -> Any:
        if self.sees('"'):
            found = self.string()
            if self.take(":"):
                self.type()
            return found
        if self.take("["):
            return self.many("]", self.attribute)
        if self.sees("{"):
            return self.dictionary()
        if self.sees("@"):
            found = self.word(_SYMBOL, "a symbol")[1:].strip('"')
            while self.take("::"):
                found += "::" + self.word(_SYMBOL, "a symbol")[1:]
            return Symbol(found)
        if self.sees("#"):
            return self.special()
        if self.sees("(") or self.sees("!"):
            return self.type()
        if number := self.match(_NUMBER):
            kind = self.type() if self.take(":") else None
            return _number(number.group(), str(kind))
        word = self.word(_WORD, "an attribute")
        if word in _WORDS:
            return _WORDS[word]
        if word == "dense":
            return self.dense()
        if word == "array":
            self.need("<")
            self.word(_WORD, "a type")
            self.take(":")
            return self.many(">", self.plain)
        if word == "dense_resource":
            return self.resource()
        self.at -= len(word)
        return self.type()

    def plain(self) -> Any:
        """A number or a bool without its type."""
        if word := self.match(_WORD):
            return _WORDS.get(word.group(), word.group())
        return _number(self.word(_NUMBER, "a number"), "")

    def dense(self) -> Elements:
        self.need("<")
        digits, numbers = "", []  # type: str, list[Any]
        if found := self.match(_HEX):
            digits = found.group(1)
        elif not self.sees(">"):
            self.nested(numbers)
        self.need(">")
        self.need(":")
        kind = self.type()
        if not isinstance(kind, Tensor):
            raise self.fail("a constant of a tensor type")
        return Elements(kind, digits, numbers)

    def resource(self) -> Elements:
        """A constant whose bytes are in the section at the end of the file."""
        self.need("<")
        key = self.string() if self.sees('"') else self.word(_WORD, "the name of a resource")
        self.need(">")
        self.need(":")
        kind = self.type()
        if key not in self.resources or not isinstance(kind, Tensor):
            raise FileFormatError(f"{self.name}: there are no bytes for the constant {key}")
        return Elements(kind, self.resources[key], [])

    def nested(self, into: list[Any]) -> None:
        if self.take("["):
            self.many("]", lambda: self.nested(into))
        elif self.take("("):
            into.append(tuple(self.many(")", self.plain)))
        else:
            into.append(self.plain())

    def special(self) -> Any:
        """``#alias``, ``#dialect<kind value>`` or ``#dialect.kind<key = value, ...>``."""
        name = self.word(_HASH, "an attribute")
        if name in self.aliases:
            return self.aliases[name]
        name = name[1:]
        if not self.sees("<"):
            return Enum(name, "")
        if name == "stablehlo.conv":
            return self.convolution()
        inside = self.balanced()
        if "=" in inside or name in _NUMBERS:
            return {k: _integers(v) for k, v in _KEY.findall(inside)}
        kind, _, value = inside.partition(" ")
        return Enum(kind, value.strip()) if value else Enum(name, kind)

    def convolution(self) -> dict[str, list[str]]:
        """``<[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]>``: what each axis is."""
        sides = re.findall(r"\[([^\]]*)\]", self.balanced())
        if len(sides) != 3:
            raise self.fail("three lists of axes")
        named = ("input", "kernel", "output")
        return {k: [a.strip() for a in s.split(",") if a.strip()] for k, s in zip(named, sides)}


_KEY = re.compile(r"(\w+)\s*=\s*(\[[-\d,\s]*\]|-?\d+)")
_NUMBERS = ("stablehlo.dot", "stablehlo.gather", "stablehlo.scatter")  # dimension numbers
_WORDS = {"true": True, "false": False, "unit": True}


def _integers(s: str) -> Any:
    return [int(n) for n in s[1:-1].split(",") if n.strip()] if s[0] == "[" else int(s)


_ESCAPE = re.compile(r"\\([0-9A-Fa-f]{2}|.)", re.S)


def _unescaped(s: str) -> str:
    """MLIR's strings are bytes: ``\\0A`` is one; what is no UTF-8 stays as Latin-1."""
    if "\\" not in s:
        return s
    raw = _ESCAPE.sub(
        lambda m: chr(int(m[1], 16)) if len(m[1]) == 2 else {"n": "\n", "t": "\t"}.get(m[1], m[1]),
        s,
    )
    try:
        return raw.encode("latin-1").decode()
    except UnicodeError:
        return raw


def _number(s: str, kind: str) -> Any:
    """An int, a float, or the bits of a float as ``"0x..."``."""
    if "0x" in s:
        return s
    floats = any(c in s for c in ".eE") or kind.startswith(("f", "bf"))
    return float(s) if floats else int(s)
