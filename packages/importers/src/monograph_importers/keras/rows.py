"""How a row of `layers.LAYERS` is written: what a layer is called with, and what is known of its class."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import monograph as mg
from monograph_layers.activations import ACTIVATIONS

Variables = Sequence[tuple[str, str]]
"""Where each variable of a layer lies in a ``.keras`` file, and its name, below the layer; "" if it is not used."""


@dataclass(frozen=True)
class Call:
    """One call of a layer.

    Attributes:
        scope: the layer's.
        config: what the file says of it.
        inputs: arrays, in the order of the arguments.
        masks: of each input, bools ``[batch, time]`` or None.
        options: the call's other arguments.
        training: whether the model is to be trained.
        specs: shape and dtype of the layer's variables by name.
        old: whether Keras 2 wrote the file.
    """

    scope: Any
    config: Mapping[str, Any]
    inputs: Sequence[Any]
    masks: Sequence[Any] = (None,)
    options: Mapping[str, Any] = field(default_factory=dict)
    training: bool = False
    specs: Mapping[str, mg.Spec] = field(default_factory=dict)
    old: bool = False

    @property
    def x(self) -> Any:
        """The first input."""
        return self.inputs[0]

    @property
    def mask(self) -> Any:
        """That of the first input, or the one given in the call."""
        return self.all_masks[0]

    @property
    def all_masks(self) -> Sequence[Any]:
        """Those of all inputs."""
        given = self.options.get("mask")
        if isinstance(given, (list, tuple)):
            return given
        return self.masks if given is None else (given, *self.masks[1:])

    def __getitem__(self, key: str) -> Any:
        """An option of the layer; activations as functions, lists as tuples."""
        value = self.config.get(key)
        if key == "training":
            return self.training
        if key == "mask":
            return self.mask
        return activation(value, self.old) if key in ACTIVATED else _tuples(value)

    def some(self, keys: str) -> dict[str, Any]:
        """Those options of which the file says something."""
        always = ("training", "mask")
        return {k: self[k] for k in keys.split() if k in always or self.config.get(k) is not None}

    def variable(self, name: str) -> Any:
        """A parameter of the shape it has in the file."""
        return self.scope.parameter(name, self.specs[name].shape, dtype=self.specs[name].dtype)


@dataclass(frozen=True)
class Layer:
    """A class of layers.

    Attributes:
        run: gives the result of a call.
        variables: those of a layer with this config.
        mask: what becomes of the mask: ``(call, result) -> mask``; by default there is none after it.
        needs: what of a config is missing here, as text.
    """

    run: Callable[[Call], Any]
    variables: Callable[[Mapping[str, Any]], Variables] = lambda config: ()
    mask: Callable[[Call, Any], Any] = lambda call, y: None
    needs: Callable[[Mapping[str, Any]], Sequence[str]] = lambda config: ()


ACTIVATED = ("activation", "recurrent_activation")


AS_FUNCTIONS = "ReLU", "LeakyReLU", "ELU", "Softmax"
"""Layers that may be given as another layer's activation."""


def activation(value: Any, old: bool = False) -> Callable[[Any], Any] | None:
    """The function that a config names; None where ours lacks it, and where it is code.

    >>> activation("relu").__name__, activation({"class_name": "function", "config": "elu"}).__name__
    ('relu', 'elu')
    >>> activation({"class_name": "__lambda__", "config": {"value": "4wEA"}}) is None
    True
    """
    if isinstance(value, dict):
        kind, config = value.get("class_name"), value.get("config")
        if kind in AS_FUNCTIONS and isinstance(config, dict):
            return lambda x: LAYERS[kind].run(Call(None, config, [x], old=old))
        value = config if isinstance(config, str) else "code"
    if value == "hard_sigmoid" and old:
        return lambda x: mg.clip(0.2 * x + 0.5, 0.0, 1.0)  # Keras 3 has PyTorch's
    return ACTIVATIONS.get("linear" if value is None else str(value))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


# ---- how rows are written


_OPTIONAL = {"bias": "use_bias", "gamma": "scale", "beta": "center"}
"""Variables that a layer may do without, and the option that says so."""


def held(names: str) -> Callable[[Mapping[str, Any]], Variables]:
    """The layer's own variables, in the order of their making."""

    def variables(config: Mapping[str, Any]) -> Variables:
        kept = [n for n in names.split() if config.get(_OPTIONAL.get(n, ""), True)]
        return [(f"vars/{i}", n) for i, n in enumerate(kept)]

    return variables


def same_mask(call: Call, y: Any) -> Any:
    """That of the input."""
    return call.mask


def either_mask(call: Call, y: Any) -> Any:
    """Of several inputs: where any of them counts, if all have masks."""
    masks = call.all_masks
    return None if any(m is None for m in masks) else functools.reduce(mg.logical_or, masks)


def layer(
    fn: Callable, args: str = "", options: str = "", names: str = "", mask: Any = None,
    **needs: Any,
) -> Layer:  # fmt: skip
    """``fn(scope, x, *args, **options)``, all of them keys of the config."""
    run = lambda c: fn(c.scope, c.x, *[c[k] for k in args.split()], **c.some(options))  # noqa: E731
    return Layer(run, held(names), mask or (lambda call, y: None), **needs)


def function(fn: Callable, options: str = "", mask: Any = same_mask, **names: str) -> Layer:
    """``fn(x, **options)``, without variables; ``ours="theirs"`` where an option has another name."""

    def run(c: Call) -> Any:
        renamed = {
            ours: c[theirs] for ours, theirs in names.items() if c.config.get(theirs) is not None
        }
        return fn(c.x, **c.some(options), **renamed)

    return Layer(run, mask=mask)


def merged(fn: Callable[[Any, Any], Any]) -> Layer:
    """``fn`` of the first two inputs, then of that and the third, and so on."""
    return Layer(lambda c: functools.reduce(fn, c.inputs), mask=either_mask)


LAYERS: dict[str, Layer] = {}
"""A row per class of layers; `layers` fills it."""

REFUSED: dict[str, Any] = {
    "data_format": "channels_first", "stateful": True, "rms_scaling": True, "renorm": True,
    "crop_to_aspect_ratio": True, "pad_to_aspect_ratio": True, "lora_enabled": True,
}  # fmt: skip
"""Values of options that no layer of ours has."""


def class_of(data: Mapping[str, Any]) -> str:
    """A layer's class; one that is not Keras's own with where it is from, so that it is no other's.

    >>> class_of({"class_name": "Dense", "module": "mine", "registered_name": "mine>Dense"})
    'mine>Dense'
    """
    name, module = str(data["class_name"]), str(data.get("module") or "keras")
    if module.partition(".")[0] in ("keras", "tf_keras", "tensorflow"):
        return name
    return str(data.get("registered_name") or f"{module}.{name}")


def problems(name: str, config: Mapping[str, Any]) -> list[str]:
    """Why a layer of this class and config cannot be run; ``[""]`` where it is not known at all."""
    if name not in LAYERS:
        return [""]
    found = [f"{k}={v!r}" for k, v in REFUSED.items() if config.get(k) == v]
    for key in ACTIVATED:
        if activation(config.get(key)) is None:
            found.append(f"{key}={config[key]!r:.60}")
    policy = config.get("dtype")
    policy = policy.get("config", {}).get("name") if isinstance(policy, dict) else policy
    if isinstance(policy, str) and ("mixed" in policy or "_from_" in policy):
        found.append(f"dtype={policy!r}")
    return found + list(LAYERS[name].needs(config))
