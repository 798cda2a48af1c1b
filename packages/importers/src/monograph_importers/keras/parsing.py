"""A model's config as a `Network`: of Keras 3, and of Keras 2, which names results in another way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
from monograph.errors import FileFormatError
from monograph.storage import damaged

from . import functions
from .layers import LAYERS
from .network import Entry, Network, Ref, Step, refs
from .rows import class_of

NESTED = ("Functional", "Model", "Sequential")
"""Classes of models."""

DEEPEST = 30
"""The most models that hold one another."""


@contextmanager
def sound(path: Any) -> Iterator[None]:
    """What goes wrong inside is the config's fault: it may hold anything in any place."""
    try:
        yield
    except FileFormatError:
        raise
    except Exception as e:
        raise damaged(path, f"its config is not one of a Keras model ({e!r:.200})") from None


def network(path: Any, kind: str, config: Any, old: bool, prefix: tuple[str, ...] = ()) -> Network:
    """The steps of a Sequential or functional model.

    Raises:
        FileFormatError: its layers wait for one another, or lack names. Called within `sound`.
    """
    if len(prefix) > DEEPEST:
        raise damaged(path, "its models hold one another without end")
    make = _sequential if kind == "Sequential" else _functional
    return make(path, config, old, prefix)


def _entries(path: Any, layers: list[Any], old: bool, prefix: tuple[str, ...]) -> list[Entry]:
    out: list[Entry] = []
    counts: dict[str, int] = {}
    names: set[str] = set()
    for number, data in enumerate(layers, start=1):
        config, kind = data["config"], data["class_name"]
        name = data.get("name") or (
            config["name"] if isinstance(config, dict) else f"{kind.lower()}_{number}"
        )
        if not isinstance(name, str) or not isinstance(kind, str) or not name or name in names:
            raise damaged(path, f"its layer {number} has no name of its own")
        names.add(name)
        config = config if isinstance(config, dict) else {"layers": config}
        own, inner, function = class_of(data), None, None
        if kind in NESTED or "input_layers" in config:
            inner = network(path, kind, config, old, (*prefix, name))
        elif not _is_layer(data, old):
            function = functions.find(kind, config)
            own = kind if function else f"keras.ops {kind}"
        elif own not in LAYERS:
            function = functions.find(own, config)
        key = snake = _snake(kind)
        if _is_layer(data, old):
            n = counts[snake] = counts.get(snake, -1) + 1
            key = f"{snake}_{n}" if n else snake
        out.append(Entry(name, own, config, key, number, inner, function))
    return out


def _is_layer(data: dict[str, Any], old: bool) -> bool:
    """Whether it is a layer: functions between them have the same names, and no place in a file."""
    if data.get("module"):
        return ".ops." not in data["module"]
    return old or data["class_name"] not in functions.FUNCTIONS or "trainable" in data["config"]


def _snake(name: str) -> str:
    """``"Conv2DTranspose"`` as Keras writes it: ``"conv2d_transpose"``."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _sequential(path: Any, config: Any, old: bool, prefix: tuple[str, ...]) -> Network:
    layers = list(config if isinstance(config, list) else config["layers"])
    if layers and layers[0]["class_name"] != "InputLayer":
        layers.insert(0, _first(path, config, layers[0]))
    entries = _entries(path, layers, old, prefix)
    steps = [Step(e, 0, [Ref(before.name, 0)], {}) for before, e in pairwise(entries)]
    return Network(
        path, prefix, entries, steps, Ref(entries[0].name, 0), Ref(entries[-1].name, 0), old
    )


def _first(path: Any, config: Any, layer: dict[str, Any]) -> dict[str, Any]:
    """The input that a Sequential of Keras 2 has no layer for."""
    inner = layer["config"]
    shape = config.get("build_input_shape") if isinstance(config, dict) else None
    while isinstance(inner, dict) and shape is None:
        shape = inner.get("batch_input_shape") or inner.get("batch_shape")
        if shape is None and inner.get("input_dim") and layer["class_name"] == "Dense":
            shape = [None, inner["input_dim"]]
        if shape is None and layer["class_name"] == "Embedding":
            shape = [None, inner.get("input_length")]
        layer = inner["layers"][0] if "layers" in inner else {}
        inner = layer.get("config")
    if shape is None:
        raise FileFormatError(
            f"{path}: a Sequential that was not built: it does not say its input's shape"
        )
    return {"class_name": "InputLayer", "config": {"name": "input", "batch_shape": shape}}


def _functional(path: Any, config: Any, old: bool, prefix: tuple[str, ...]) -> Network:
    layers = config["layers"]
    entries = _entries(path, layers, old, prefix)
    by_name = {e.name: e for e in entries}
    waiting: dict[Ref, Step] = {}
    done = set()
    for e, data in zip(entries, layers):
        nodes = data.get("inbound_nodes") or []
        if e.kind == "InputLayer" or not nodes:
            done.add(Ref(e.name, 0))
        for n, node in enumerate(nodes):
            waiting[Ref(e.name, n)] = Step(e, n, *_arguments(node, by_name, old))
    inputs, outputs = (_ends(config[k], by_name, old) for k in ("input_layers", "output_layers"))
    for ref in refs((inputs, outputs)):
        if ref.layer not in by_name:
            raise damaged(path, f"there is no layer {ref.layer!r:.60}")
    if any(by_name[r.layer].kind != "InputLayer" for r in refs(inputs)):
        raise damaged(path, "an input of it is no InputLayer")
    steps = _ordered(path, waiting, done)
    return Network(path, prefix, entries, steps, inputs, outputs, old)


def _ordered(path: Any, waiting: dict[Ref, Step], done: set[Ref]) -> list[Step]:
    """Each call after those it needs."""
    needs = {
        key: {Ref(r.layer, r.call) for r in refs((s.args, s.kwargs))} for key, s in waiting.items()
    }
    users: dict[Ref, list[Ref]] = {}
    for key, needed in needs.items():
        for r in needed:
            users.setdefault(r, []).append(key)
    ready = [key for key, needed in needs.items() if needed <= done]
    steps = []
    for key in ready:  # which grows
        steps.append(waiting[key])
        done.add(key)
        ready += [u for u in users.get(key, ()) if u not in done and needs[u] <= done]
    if len(steps) != len(waiting):
        stuck = [k.layer for k in waiting if k not in done]
        raise damaged(
            path, f"layers wait for one another, or for some that are missing: {stuck[:5]}"
        )
    return steps


def _arguments(node: Any, by_name: dict[str, Entry], old: bool) -> tuple[Any, dict[str, Any]]:
    if isinstance(node, dict):
        return _revived(node["args"]), _revived(node["kwargs"])
    if node and isinstance(node[0], str):  # one input, not in a list
        node = [node]
    kwargs = node[0][3] if len(node[0]) > 3 else {}
    refs = [_old_value(n[:3], by_name, old) for n in node]
    named = {k: _old_value(v, by_name, old) for k, v in kwargs.items() if k != "name"}
    return refs, named


def _old_value(v: Any, by_name: dict[str, Entry], old: bool) -> Any:
    """An argument of Keras 2: a list that begins with a layer's name is a result."""
    if isinstance(v, list):
        if len(v) >= 3 and v[0] == "_CONSTANT_VALUE":
            return v[2]
        if len(v) >= 3 and isinstance(v[0], str) and v[0] in by_name:
            return _ref(v[:3], by_name, old)
        return [_old_value(x, by_name, old) for x in v]
    if isinstance(v, dict) and set(v) == {"start", "stop", "step"}:
        return slice(v["start"], v["stop"], v["step"])
    return v


def _ref(row: Any, by_name: dict[str, Entry], old: bool) -> Ref:
    """A result by ``[layer, call, index]``; of a model in it, Keras counts its own making as a call."""
    name, call, index = row
    if type(call) is not int or type(index) is not int or not isinstance(name, str):
        raise ValueError("a result is named by a layer and two numbers")
    entry = by_name.get(name)
    own = entry is not None and entry.inner is not None and (old or entry.kind != "Sequential")
    return Ref(name, max(call - 1, 0) if own else call, index)


def _revived(x: Any) -> Any:
    """Arguments of a call in Keras 3, of which arrays are named by their ``keras_history``."""
    if isinstance(x, list):
        return [_revived(v) for v in x]
    if not isinstance(x, dict):
        return x
    kind: Any = x.get("class_name")
    config: Any = x.get("config")
    if kind == "__keras_tensor__":
        name, call, index = config["keras_history"]
        if type(call) is not int or type(index) is not int or not isinstance(name, str):
            raise ValueError("a result is named by a layer and two numbers")
        return Ref(name, call, index)
    if kind == "__slice__":
        return slice(*(_revived(config[k]) for k in ("start", "stop", "step")))
    if kind == "__tuple__":
        return tuple(_revived(v) for v in x["items"])
    if kind == "__numpy__":
        return np.asarray(config["value"], dtype=config["dtype"])
    if kind == "__tensor__":
        return np.asarray(config["value"], dtype=config["dtype"])
    if kind == "DTypePolicy":
        return config["name"]
    if "class_name" in x:
        raise ValueError(f"an argument of the class {kind!r:.60}")
    return {k: _revived(v) for k, v in x.items()}


def _ends(x: Any, by_name: dict[str, Entry], old: bool) -> Any:
    """Inputs or outputs: one, or several in lists and dicts; a list of one is that one."""
    if isinstance(x, dict):
        return {k: _ends(v, by_name, old) for k, v in x.items()}
    if isinstance(x, list) and len(x) == 3 and isinstance(x[0], str):
        return _ref(x, by_name, old)
    found = [_ends(v, by_name, old) for v in x]
    return found[0] if len(found) == 1 else found
