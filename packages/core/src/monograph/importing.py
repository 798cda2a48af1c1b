"""Models from elsewhere: `load` asks the importer of their format; `Imported` is what it brings.

An importer is a plug-in of the group ``monograph.importers``: an object with ``recognises(source)``
and ``load(source, **options)``. Nothing of a file is executed, ever.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from . import ops, plugins, tree
from .bound import Bound, record
from .dtypes import DType
from .engine import resolve
from .errors import ArgumentError, FileFormatError, PluginError, StorageError, UnsupportedModel
from .graph import Graph
from .scope import Scope
from .spec import Spec
from .store import Store
from .tracing import user_source


@dataclass(frozen=True)
class Input:
    """One array that a model takes.

    Attributes:
        name: what the model calls it.
        shape: axis lengths; a name instead of a number is an axis of any length, the same wherever
            the name stands, such as ``("batch", 3, 224, 224)``.
        dtype: of its elements.
        optional: whether it may be left out, or given as None.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: DType
    optional: bool = False

    def __str__(self) -> str:
        mark = "?" if self.optional else ""
        return f"{self.name}{mark}: {self.dtype.name}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives.

    Attributes:
        inputs: in the order of the arguments.
        outputs: names of the results, where the format has them.
        sizes: a length for each named axis, such as that of the example it was exported with.
    """

    inputs: tuple[Input, ...]
    outputs: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.inputs))}) -> ({', '.join(self.outputs) or '...'})"

    def specs(self, **sizes: int) -> list[Spec | None]:
        """A spec per input; ``sizes`` (else `sizes`, else 2) for the named axes."""
        known = {**self.sizes, **sizes}
        return [
            None if i.optional
            else Spec([known.get(n, 2) if isinstance(n, str) else n for n in i.shape], i.dtype)
            for i in self.inputs
        ]  # fmt: skip


@dataclass(frozen=True)
class Unsupported:
    """Something a model needs and the importer lacks.

    Attributes:
        op: what the format calls it.
        count: how often it occurs.
        where: the first place.
        why: what is missing of it; empty when all of it is.
    """

    op: str
    count: int
    where: str
    why: str = ""

    def __str__(self) -> str:
        return (
            f"{self.op} ({self.count}x, first at {self.where}){': ' if self.why else ''}{self.why}"
        )


class Imported:
    """A model from elsewhere, as a function of a scope: run it, fine-tune it, build it into another.

    Args:
        run: ``(scope, *inputs) -> results``, asks ``scope`` for its variables by their paths in
            ``parameters``, and for other inputs of `signature` in their order.
        parameters: first values by path, weights and state alike; they may be a file's own pages.
        unsupported: what cannot be run, or a function that finds it out.
        name: what the source calls the model.

    Attributes:
        signature: what it takes and gives.
        engine: where `call` runs; None follows `mg.engine`.
    """

    def __init__(
        self, run: Callable[..., Any], signature: Signature, parameters: Mapping[str, np.ndarray],
        unsupported: Sequence[Unsupported] | Callable[[], Sequence[Unsupported]] = (),
        name: str = "model",
    ):  # fmt: skip
        self.run, self.signature, self.parameters = run, signature, dict(parameters)
        self.name, self.engine = name, None
        found = unsupported if callable(unsupported) else lambda: unsupported
        self._unsupported = functools.cache(
            lambda: tuple(found())
        )  # once, also for those on other engines
        self._shared: dict[str, Any] = {}  # the store, with those on other engines

    @property
    def unsupported(self) -> tuple[Unsupported, ...]:
        """What cannot be run, all of it; `call`, `model` and `graph` say so before anything runs.

        It is found out when it is first asked for.
        """
        return self._unsupported()

    def model(self, scope: Scope, *args: Any, **named: Any) -> Any:
        """The model with its variables in ``scope``: whole, or as a part of a larger model.

        Args:
            args: arrays in the order of `signature`.
            named: or by their names; optional ones may be left out.

        Returns:
            What the model gave where it comes from: an array, or arrays in tuples and dicts.

        Raises:
            UnsupportedModel: lists everything in `unsupported`.
            ArgumentError: lists every input that is missing, unknown, or of another shape or kind.
        """
        if self.unsupported:
            raise UnsupportedModel(f"{user_source()}: {self.name}", self.unsupported)
        inputs = _fitted(self.signature, args, named, self.name)
        return self.run(scope.with_policy(None).starting(self.parameters), *inputs)

    def call(self, *args: Any, **named: Any) -> Any:
        """The model on arrays, compiled per shape, with the variables of `store`."""
        return self.bound(*_ordered(self.signature, args, named, self.name))

    def on(self, engine: Any) -> Imported:
        """The same model and `store`, called on another engine."""
        resolve(engine)
        out = copy.copy(self)
        out.__dict__.pop("bound", None)
        out.engine = engine
        return out

    @property
    def store(self) -> Store:
        """The variables of `call` and `graph`: to look at, to train, to save."""
        return self._shared.setdefault("store", Store())

    @functools.cached_property
    def bound(self) -> Bound:
        """`model` compiled with `store` as its state."""
        return self.store.bind(self.model, self.engine)

    @property
    def graph(self) -> Graph:
        """The graph for the sizes of `signature`: its inputs are the model's, then the variables by path."""
        return self.trace()

    def trace(self, *specs: Any, **sizes: int) -> Graph:
        """The graph for other specs, or for other lengths of the axes that have names."""
        return record(self.bound, *self.arguments(specs, sizes))[0]

    def arguments(self, specs: Sequence[Any], sizes: Mapping[str, int]) -> tuple[list, Any, list]:
        """Specs of the inputs, how they nest as arguments, and the inputs' names."""
        specs = list(specs) or self.signature.specs(**sizes)
        leaves, in_tree = tree.flatten(tuple(specs))
        names = [i.name for i, s in zip(self.signature.inputs, specs) if s is not None]
        return [Spec.of(x) for x in leaves], in_tree, names

    def save(self, path: Any, **sizes: int) -> None:
        """Write the model with its variables as they are now; ``mg.load(path)`` reads it.

        Args:
            path: a file, replaced whole or not at all.
            sizes: lengths of the named axes, as in `trace`: the file holds the graph for these.

        Raises:
            StorageError: the system refused; what was there before is there still.
        """
        from .saved import save  # which needs Imported

        save(self, path, **sizes)

    def __repr__(self) -> str:
        numbers = sum(a.size for a in self.parameters.values())
        lacks = f", {len(self.unsupported)} unsupported" if self.unsupported else ""
        return f"Imported({self.name}{self.signature}, {numbers:,} numbers{lacks})"


def _ordered(signature: Signature, args: tuple, named: dict[str, Any], name: str) -> list[Any]:
    """Arguments in the order of the signature, None for those left out."""
    inputs, problems = signature.inputs, []
    if len(args) > len(inputs):
        problems.append(f"it takes {len(inputs)} inputs, got {len(args)}")
    given = dict(zip([i.name for i in inputs], args))
    for key, value in named.items():
        if key in given:
            problems.append(f"{key} is given twice")
        elif not any(key == i.name for i in inputs):
            problems.append(f"there is no input {key}")
        given[key] = value
    problems += [
        f"{i.name} is missing" for i in inputs if given.get(i.name) is None and not i.optional
    ]
    if problems:
        raise ArgumentError(f"{user_source()}: {name}{signature}: {'; '.join(problems)}")
    return [given.get(i.name) for i in inputs]


def _fitted(signature: Signature, args: tuple, named: dict[str, Any], name: str) -> list[Any]:
    """Arguments held against the signature; numbers of another width are converted."""
    ordered, sizes, problems = _ordered(signature, args, named, name), {}, []  # type: ignore[var-annotated]
    for n, (want, x) in enumerate(zip(signature.inputs, ordered)):
        if x is None:
            continue
        spec = Spec.of(x)
        ours = (
            sizes.setdefault(a, b) if isinstance(a, str) else a
            for a, b in zip(want.shape, spec.shape)
        )
        if len(want.shape) != spec.ndim or any(a != b for a, b in zip(ours, spec.shape)):
            problems.append(f"{want} got shape {spec.shape}")
        elif spec.dtype is not want.dtype:
            if spec.dtype.kind.lstrip("u") != want.dtype.kind.lstrip("u"):
                problems.append(f"{want} got {spec.dtype.name}")
            else:
                ordered[n] = ops.convert(x, dtype=want.dtype)
    if problems:
        where = "".join(f", {k}={v}" for k, v in sizes.items())
        raise ArgumentError(f"{user_source()}: {name}{signature}{where}: {'; '.join(problems)}")
    return ordered


class Importer(Protocol):
    """What an entry point of ``monograph.importers`` is: a module or object with these two."""

    def recognises(self, source: Any) -> bool:
        """Whether ``source`` looks like this format, by type, name or first bytes: no import, no parsing."""
        ...

    def load(self, source: Any, **options: Any) -> Imported:
        """The model; raises `FileFormatError` or `StorageError` for a file that is not sound."""
        ...


def load(source: Any, format: str | None = None, **options: Any) -> Imported:
    """A model from elsewhere, as a graph that runs on every engine and can be fine-tuned.

    Args:
        source: a path, an object such as a torch ``ExportedProgram`` or a jitted JAX function, or text of
            several lines such as MLIR.
        format: the importer's name; None asks each that is installed whether it knows the source.
        options: what the importer of that format takes besides, such as example inputs.

    Returns:
        `Imported`: ``.call(x)`` runs it, ``.model(scope, x)`` is the model for a store of your own,
        ``.parameters`` are its weights, ``.unsupported`` is what it needs and cannot have.

    Raises:
        StorageError: there is no such file, or it cannot be read.
        FileFormatError: no importer knows the file, or it is damaged.
        PluginError: ``format`` is not installed.
    """
    if isinstance(source, Path) or (isinstance(source, str) and "\n" not in source):  # else text
        try:
            Path(source).stat()
        except ValueError as e:  # a name that no system takes
            raise StorageError(f"{user_source()}: cannot read {source!r}: {e}") from None
        except OSError as e:
            if format is None:
                from .storage import refused

                raise refused("read", source, e) from e
    return _importer(source, format).load(source, **options)


def _importer(source: Any, format: str | None) -> Importer:
    if format is not None:
        return plugins.load("monograph.importers", format)
    found, ill, names = {}, [], plugins.names("monograph.importers")
    for name in names:
        try:
            importer = plugins.load("monograph.importers", name)
        except PluginError as e:
            ill.append(str(e))
            continue
        try:
            if importer.recognises(source):
                found[name] = importer
        except Exception as e:  # one that cannot look shall not keep others from it
            ill.append(f"importer {name!r} failed to look at it: {type(e).__name__}: {e}"[:300])
    if len(found) == 1:
        return next(iter(found.values()))
    what = (
        str(source).split("\n")[0]
        if isinstance(source, (str, Path))
        else f"an object of type {type(source).__name__}"
    )
    if found:
        raise ArgumentError(
            f"{user_source()}: {what} may be of the formats {', '.join(found)}; say which with format="
        )
    raise FileFormatError(
        f"{user_source()}: {what} is of no format that an installed importer knows "
        f"({', '.join(names) or 'none is installed: pip install monograph-importers'})"
        + "".join(f"\n  {problem}" for problem in ill)
    )


__all__ = ["Imported", "Importer", "Input", "Signature", "Unsupported", "load"]
