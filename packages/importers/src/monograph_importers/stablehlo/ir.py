"""A StableHLO program as plain data: what `parse` makes and `interpret` walks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from monograph.graph import Source


class Tensor(NamedTuple):
    """The type of an array: None is a length not known; ``element`` as MLIR spells it, ``"f32"``."""

    shape: tuple[int | None, ...]
    element: str

    def __str__(self) -> str:
        return (
            f"tensor<{''.join('?x' if n is None else f'{n}x' for n in self.shape)}{self.element}>"
        )


class Other(NamedTuple):
    """Any other type, such as a token; ``parts`` are those of a tuple."""

    text: str
    parts: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return self.text


class Elements(NamedTuple):
    """A dense constant as written: hex digits, one number for all, or numbers in order."""

    type: Tensor
    hex: str
    numbers: list[Any]


class Symbol(str):
    """The name of a function: ``@name``."""


class Enum(NamedTuple):
    """``#dialect<kind value>``, such as a comparison's direction."""

    kind: str
    value: str


@dataclass(slots=True)
class Block:
    """Straight-line code with arguments; its last operation gives the results."""

    arguments: list[tuple[str, Any]]
    ops: list[Op]


@dataclass(slots=True)
class Op:
    """One operation; operands and results are the names of values."""

    name: str
    operands: list[str]
    results: list[str]
    attributes: dict[str, Any]
    regions: list[list[Block]]
    operand_types: list[Any] = field(default_factory=list)
    types: list[Any] = field(default_factory=list)
    location: Any = None
    source: Source | None = None

    @property
    def body(self) -> Block:
        return self.regions[0][0]

    def walk(self) -> Iterator[Op]:
        """This operation and those inside."""
        yield self
        for region in self.regions:
            for block in region:
                for op in block.ops:
                    yield from op.walk()


@dataclass(slots=True)
class Module:
    """A program: functions by name."""

    name: str
    attributes: dict[str, Any]
    functions: dict[str, Op]
