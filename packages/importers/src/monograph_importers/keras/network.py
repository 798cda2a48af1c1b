"""A Keras model as steps, each a call of a layer, run with our ops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import monograph as mg
from monograph.dtypes import dtype as as_dtype
from monograph.errors import FileFormatError, MonographError
from monograph.graph import Source
from monograph.importing import Input, Signature
from monograph.storage import damaged
from monograph.tracing import at

from . import functions
from .layers import LAYERS
from .rows import Call, problems

Specs = Mapping[str, Mapping[str, mg.Spec]]
"""Of the variables that a model has: by the layer's path, then by name."""


@dataclass(frozen=True)
class Ref:
    """A result: of which layer, of which of its calls, and which of several."""

    layer: str
    call: int
    index: int = 0


@dataclass(frozen=True)
class Entry:
    """A layer as a config has it, with what was found of it.

    Attributes:
        key: what a ``.keras`` file calls it: its class, numbered.
        inner: the model that it is, if it is one.
        function: what it computes, if it is no layer but a function between layers.
    """

    name: str
    kind: str
    config: dict[str, Any]
    key: str
    number: int
    inner: Network | None = None
    function: Callable[..., Any] | None = None


@dataclass(frozen=True)
class Step:
    """One call of a layer; arguments hold a `Ref` where an array is."""

    entry: Entry
    call: int
    args: Any
    kwargs: dict[str, Any]


@dataclass
class Network:
    """A model: layers in the order of the config, calls in an order that can be run.

    Attributes:
        path: the file.
        prefix: names of the models that it is in.
        inputs, outputs: a `Ref` or a list or dict of them.
    """

    path: Any
    prefix: tuple[str, ...]
    entries: list[Entry]
    steps: list[Step]
    inputs: Any
    outputs: Any
    old: bool

    def leaves(
        self, keys: tuple[str, ...] = ()
    ) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], Entry]]:
        """Layers that are no models: names of the models they are in and their own, keys alike."""
        for e in self.entries:
            if e.inner is not None:
                yield from e.inner.leaves((*keys, e.key))
            else:
                yield (*self.prefix, e.name), (*keys, e.key), e

    def missing(self) -> Iterator[tuple[str, str, str]]:
        """``(class, path, why)`` of what cannot be run."""
        for names, _, e in self.leaves():
            if e.kind == "InputLayer" or e.function is not None:
                continue
            name = e.config.get("function", e.kind) if e.kind == "TFOpLambda" else e.kind
            for why in problems(e.kind, e.config):
                yield str(name), "/".join(names), why

    def signature(self) -> Signature:
        """Inputs in the order of the config; axes of any length have names."""
        inputs: list[Input] = []
        sizes: dict[str, int] = {}
        layers = {e.name: e for e in self.entries}
        for ref in refs(self.inputs):
            config = layers[ref.layer].config
            shape: Any = config.get("batch_shape", config.get("batch_input_shape"))
            axes = [f"{ref.layer}_{i}" if n is None else n for i, n in enumerate(shape)]
            if axes:  # any number of examples, also where one is given: a first call leaves its own
                axes[0] = "batch"
                sizes |= {} if shape[0] is None else {"batch": shape[0]}
            inputs.append(Input(ref.layer, tuple(axes), as_dtype(config.get("dtype") or "float32")))
        return Signature(tuple(inputs), tuple(r.layer for r in refs(self.outputs)), sizes)

    def run(
        self, scope: mg.Scope, inputs: Sequence[Any], masks: Sequence[Any],
        specs: Specs, training: bool,
    ) -> tuple[Any, Any]:  # fmt: skip
        """Results in the structure of the config, and their masks."""
        values: dict[Ref, Any] = {}
        kept: dict[Ref, Any] = {}
        for ref, x, m in zip(refs(self.inputs), inputs, masks):
            values[ref], kept[ref] = x, m
        for step in self.steps:
            path = "/".join((*self.prefix, step.entry.name))
            source = Source(str(self.path), step.entry.number, step.entry.kind, path)
            with at(source):
                try:
                    y, m = self._call(step, path, scope, values, kept, specs, training)
                except MonographError:
                    raise
                except Exception as e:  # of a config that is not sound, anything
                    raise FileFormatError(
                        f"{source}: {step.entry.kind} {path!r}: {e!r:.300}"
                    ) from None
            several = isinstance(y, (tuple, list))
            for i, one in enumerate(y if several else (y,)):
                ref = Ref(step.entry.name, step.call, i)
                values[ref], kept[ref] = one, m if not several or not i else None
        if lost := [r for r in refs(self.outputs) if r not in values]:
            raise damaged(self.path, f"its output {lost[0]} is of no call")
        return _map(self.outputs, values.__getitem__), _map(self.outputs, kept.get)

    def _call(
        self, step: Step, path: str, scope: mg.Scope, values: dict[Ref, Any], kept: dict[Ref, Any],
        specs: Specs, training: bool,
    ) -> tuple[Any, Any]:  # fmt: skip
        entry = step.entry
        args, kwargs = (_map(x, values.__getitem__) for x in (step.args, step.kwargs))
        masks = [kept.get(r) for r in refs(step.args)]
        if entry.inner is not None:
            y, m = entry.inner.run(scope, _flat(args), masks, specs, training)
            y = list(y.values()) if isinstance(y, dict) else y
            return y, m if not isinstance(m, (list, dict)) else None
        if entry.function is not None:
            options = functions.options(entry.kind, entry.config)
            return entry.function(*args, **kwargs, **options), None
        row, inputs = LAYERS[entry.kind], _cast(entry.config, _flat(args))
        own = scope.shared(path)
        call = Call(
            own if entry.config.get("trainable", True) else own.frozen(), entry.config, inputs, masks or [None], kwargs, training,
            specs.get(path, {}), self.old,
        )  # fmt: skip
        y = row.run(call)
        return y, row.mask(call, y)


def _cast(config: dict[str, Any], inputs: list[Any]) -> list[Any]:
    """Floats in the dtype that the layer computes in."""
    dtype = config.get("dtype")
    dtype = dtype["config"].get("name") if isinstance(dtype, dict) else dtype
    if not isinstance(dtype, str) or not dtype.startswith(("float", "bfloat")):
        return inputs
    return [mg.astype(x, dtype) if x.dtype.is_float else x for x in inputs]


# ---- trees of results; `mg.tree` would go into arrays of the graph too


def _map(x: Any, fn: Callable[[Ref], Any]) -> Any:
    if isinstance(x, Ref):
        return fn(x)
    if isinstance(x, (list, tuple)):
        return type(x)(_map(v, fn) for v in x)
    if isinstance(x, dict):
        return {k: _map(v, fn) for k, v in x.items()}
    return x


def refs(x: Any) -> list[Ref]:
    """Every `Ref` in lists and dicts, in order."""
    if isinstance(x, Ref):
        return [x]
    items = x.values() if isinstance(x, dict) else x if isinstance(x, (list, tuple)) else ()
    return [r for v in items for r in refs(v)]


def _flat(x: Any) -> list[Any]:
    """Arrays of the arguments in order."""
    if isinstance(x, (list, tuple)):
        return [a for v in x for a in _flat(v)]
    if isinstance(x, dict):
        return [a for v in x.values() for a in _flat(v)]
    return [] if x is None else [x]
