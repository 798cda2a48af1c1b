"""Scopes: where a model's variables are named, read, written and differentiated while it is traced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import control, ops
from .dtypes import int32
from .errors import ArgumentError, VariableError
from .graph import Value
from .spec import Spec
from .store import Given, Init, Store
from .tracing import Trace, as_value, current, tracing, user_source

Transform = Callable[["Scope", str, Any], Any]  # (scope, name, value) -> value


class Scope:
    """Where a model's variables are named. ``scope / "name"`` opens one below it.

    Attributes:
        path: its own name, such as ``"block1/conv"``; empty at the root.
        policy: in which dtypes variables are kept and layers compute (an object with ``param``,
            ``compute``, ``output``, such as `monograph_dtypes.Policy`); None leaves it to the inputs.
    """

    __slots__ = ("frame", "path", "is_shared", "policy", "transforms", "first", "is_frozen")

    def __init__(
        self, frame: Frame, path: str = "", is_shared: bool = False, policy: Any = None,
        transforms: tuple[Transform, ...] = (), first: Mapping[str, Any] | None = None,
        is_frozen: bool = False,
    ):  # fmt: skip
        self.frame, self.path, self.is_shared = frame, path, is_shared
        self.policy, self.transforms, self.first = policy, transforms, first or {}
        self.is_frozen = is_frozen

    def _with(self, **changes: Any) -> Scope:
        now = {k: getattr(self, k) for k in self.__slots__}
        return Scope(**(now | changes))

    def __truediv__(self, name: str) -> Scope:
        return self._with(path=self._join(name))

    def shared(self, name: str) -> Scope:
        """A sub-scope whose variables may be asked for more than once in a trace."""
        return self._with(path=self._join(name), is_shared=True)

    def with_policy(self, policy: Any) -> Scope:
        """This scope with another policy, which the scopes below it follow; None takes it away."""
        return self._with(policy=policy)

    def frozen(self) -> Scope:
        """This scope, whose parameters are made as state: no gradient is for them.

        A pretrained part stays as it is while the rest learns.

        >>> import monograph as mg
        >>> def model(scope, x):
        ...     y = (scope / "body").frozen().parameter("w", (), 2.0) * x
        ...     return y * (scope / "head").parameter("w", (), 3.0)
        >>> store = mg.Store()
        >>> store.bind(model)(1.0).item(), store.trainable
        (6.0, ['head/w'])
        """
        return self._with(is_frozen=True)

    def mapped(self, fn: Transform) -> Scope:
        """This scope, with ``fn(scope, name, value)`` in the place of each parameter's value.

        So a layer's weights can be normalised, masked or quantised without a change to the layer.

        >>> import monograph as mg
        >>> def model(scope, x):
        ...     halved = scope.mapped(lambda s, name, value: value / 2)
        ...     return x * halved.parameter("w", (), 3.0)
        >>> mg.Store().bind(model)(mg.tensor(2.0)).item()
        3.0
        """
        return self._with(transforms=(*self.transforms, fn))

    def starting(self, values: Mapping[str, Any]) -> Scope:
        """This scope, with first values from ``values`` in the place of the initializers'.

        So any model starts from weights that are there already, as a part of a larger one too.

        Args:
            values: arrays by the path below this scope; what it lacks is initialized as ever.
                Read-only ones, such as a file's pages, are not copied.

        >>> import monograph as mg
        >>> def model(scope, x):
        ...     return x * scope.parameter("w", (), 3.0)
        >>> store = mg.Store()
        >>> store.bind(lambda scope, x: model(scope.starting({"w": 2.0}) / "part", x))(1.0).item()
        3.0
        >>> store = mg.Store()
        >>> store.bind(lambda scope, x: model((scope / "part").starting({"w": 2.0}), x))(1.0).item()
        2.0
        """
        below = f"{self.path}/" if self.path else ""
        return self._with(first={**self.first, **{f"{below}{p}": v for p, v in values.items()}})

    def _join(self, name: str) -> str:
        if not isinstance(name, str) or not name:
            raise VariableError(
                f"{user_source()}: a scope's name is a non-empty string, not {name!r}"
            )
        return f"{self.path}/{name}" if self.path else name

    def variable(
        self, name: str, shape: Any, init: Init | float = 0.0, dtype: Any = "float32",
        trainable: bool = False,
    ) -> Variable:  # fmt: skip
        """A variable of this scope, made by ``init`` when the store lacks it.

        Args:
            init: ``(key, shape, dtype) -> array``, or a number to fill with.
            trainable: whether gradients are for it; `parameter` says yes.

        Raises:
            VariableError: asked for twice in one trace without `shared`, or stored with another
                shape or dtype.
        """
        path = self._join(name)
        if (first := self.first.get(path)) is not None:
            init = Given(first)  # type: ignore[assignment]
        return self.frame.variable(path, Spec(shape, dtype), init, trainable, self.is_shared)

    def parameter(
        self, name: str, shape: Any, init: Init | float = 0.0, dtype: Any = "float32",
        regularizer: Callable[[Value], Any] | None = None,
    ) -> Value:  # fmt: skip
        """A trainable variable's value.

        Args:
            dtype: of the variable and its value; under a `policy` the variable has ``policy.param``
                and the value ``policy.compute``.
            regularizer: ``value -> scalar``, handed to `add_loss`.
        """
        policy = self.policy
        kept = policy.param if policy else dtype
        value = self.variable(name, shape, init, kept, not self.is_frozen).value
        if regularizer is not None:
            self.add_loss(regularizer(value))
        plain = self._with(transforms=())
        for transform in self.transforms:
            value = transform(plain, name, value)
        return ops.convert(value, dtype=policy.compute) if policy else value

    def add_loss(self, x: Any) -> None:
        """A scalar that training shall add to its loss, such as a penalty on weights.

        Raises:
            ArgumentError: no real scalar, or inside a loop or branch body.
        """
        self.frame.add_loss(x)

    @property
    def losses(self) -> tuple[Value, ...]:
        """What was given to `add_loss` so far in this trace, by any scope."""
        return tuple(self.frame.losses)

    def cond(self, pred: Any, fn: Callable[[], Any], undo: bool = False) -> None:
        """Run ``fn()`` only when ``pred``: else what it assigns to variables does not happen.

        Args:
            pred: a 0-d bool.
            fn: assigns variables; its result is not used.
            undo: else what this trace has assigned before, through any scope, does not happen
                either: those variables are as they were when the call began.

        >>> import monograph as mg
        >>> def model(scope, x):  # counts positive inputs
        ...     n = scope.variable("n", (), 0)
        ...     scope.cond(x > 0, lambda: n.assign(n.value + 1))
        ...     return n.value
        >>> call = mg.Store().bind(model)
        >>> [call(mg.tensor(x)).item() for x in (1.0, -1.0, 2.0)]
        [1.0, 1.0, 2.0]
        """
        self.frame.cond(pred, fn, undo)

    def read(self, path: str) -> Value:
        """The value of any variable of the store, by its full path: what optimizers do."""
        self.frame.store.spec(path)
        return self.frame.read(path)

    def assign(self, path: str, x: Any) -> None:
        """Write any variable by its full path; see `Variable.assign`."""
        self.frame.store.spec(path)
        self.frame.write(path, x)

    def key(self) -> Value:
        """A fresh random key ``uint32[2]``; the store's random state moves on."""
        from . import random

        store = self.frame.store
        first = lambda k, s, d: random.key(store.seed)  # noqa: E731
        state = self.frame.variable("random/state", Spec((2,), "uint32"), first, False, True)
        keys = random.split(state.value)
        state.assign(keys[0])
        return keys[1]

    def value_and_grad(self, fn: Callable, has_aux: bool = False) -> Callable:
        """``fn`` with its gradient by every trainable variable it reads.

        Returns:
            A function giving ``(fn(...), {path: gradient})``; with ``has_aux`` the first is the
            pair ``(scalar, aux)`` that ``fn`` returned.
        """
        return lambda *args, **kwargs: self.frame.value_and_grad(fn, has_aux, args, kwargs)

    def __repr__(self) -> str:
        return f"Scope({self.path!r})"


class Variable:
    """A variable inside a trace: read `value`, write with `assign`."""

    __slots__ = ("frame", "path", "spec")

    def __init__(self, frame: Frame, path: str, spec: Spec):
        self.frame, self.path, self.spec = frame, path, spec

    @property
    def value(self) -> Value:
        """Its value at this point of the function."""
        return self.frame.read(self.path)

    def assign(self, x: Any) -> None:
        """Its value from here on; stored when the call returns.

        Raises:
            VariableError: another shape or dtype, or inside a loop or branch body.
        """
        self.frame.write(self.path, x)


class Frame:
    """The variables of one trace: which were read, and what they hold now."""

    def __init__(self, store: Store, trace: Trace):
        self.store, self.trace = store, trace
        self.values: dict[str, Value] = {}
        self.inputs: dict[str, Value] = {}
        self.written: dict[str, None] = {}
        self.asked: dict[str, Any] = {}
        self.created: list[str] = []
        self.regions: list[dict[str, Value]] = []
        self.losses: list[Value] = []
        self.open = trace  # where variables may be assigned

    def variable(
        self, path: str, spec: Spec, init: Any, trainable: bool, is_shared: bool
    ) -> Variable:
        if path in self.asked and not is_shared:
            raise VariableError(
                f"{user_source()}: variable {path!r} is created twice in one trace (first at "
                f"{self.asked[path]}). Give the second another scope, or share it with "
                f"scope.shared(name)."
            )
        self.asked.setdefault(path, user_source())
        slot = self.store.slots.get(path)
        if slot is None:
            self._create(path, spec, init, trainable)
        elif slot.spec is not spec:
            raise VariableError(
                f"{user_source()}: variable {path!r} is stored as {slot.spec}, the model asks for "
                f"{spec}"
            )
        return Variable(self, path, spec)

    def _create(self, path: str, spec: Spec, init: Any, trainable: bool) -> None:
        value = self.store.first(path, spec, init)
        if value.spec is not spec:
            raise VariableError(
                f"{user_source()}: the initializer of {path!r} made {value.spec}, asked was {spec}"
            )
        self.store.add(path, value, trainable)
        self.store.slots[path].init = None if isinstance(init, Given) else init
        self.created.append(path)

    def read(self, path: str) -> Value:
        if path not in self.values:
            slot = self.store.slots[path]
            self.inputs[path] = self.values[path] = self.trace.add_input(slot.spec, path)
        region = self.regions[-1] if self.regions else None
        if region is not None and path not in region and self.store.slots[path].trainable:
            with tracing(self.trace):
                self.values[path] = region[path] = ops.alias(self.values[path])
        return self.values[path]

    def write(self, path: str, x: Any) -> None:
        if current() is not self.open:
            raise VariableError(
                f"{user_source()}: variable {path!r} is assigned inside the body of a loop, branch or "
                f"checkpoint; return the value from the body and assign it outside"
            )
        value, spec = as_value(x), self.store.slots[path].spec
        if value.spec is not spec:
            raise VariableError(
                f"{user_source()}: variable {path!r} is {spec}; cannot assign {value.spec}"
            )
        self.read(path)
        self.values[path] = value
        self.written[path] = None

    def add_loss(self, x: Any) -> None:
        value = as_value(x)
        if value.shape != () or not value.dtype.is_float:
            raise ArgumentError(
                f"{user_source()}: add_loss needs a real scalar, got {value.spec}; reduce it first"
            )
        if current() is not self.trace:
            raise ArgumentError(
                f"{user_source()}: add_loss inside the body of a loop, branch or checkpoint; return "
                f"the scalar from the body and add it outside"
            )
        self.losses.append(value)

    def cond(self, pred: Any, fn: Callable[[], Any], undo: bool) -> None:
        before, written, opened = dict(self.values), dict(self.written), self.open
        changed: list[str] = []

        def taken() -> tuple[Value, ...]:
            self.open, self.written = current(), {}  # type: ignore[assignment]
            try:
                fn()
                changed.extend({**written, **self.written} if undo else self.written)
                return tuple(self.values[p] for p in changed)
            finally:  # a variable that fn was the first to read is an input of the whole trace
                region = self.regions[-1] if self.regions else {}
                first = {p: region.get(p, v) for p, v in self.inputs.items()}
                self.open, self.written, self.values = opened, written, first | before

        def kept() -> tuple[Value, ...]:
            values = self.inputs if undo else self.values
            return tuple(values[p] for p in changed)

        # `taken` is traced first: what it assigns is what `kept` must return
        index = ops.convert(ops.not_(control.predicate(pred)), dtype=int32)
        for path, value in zip(changed, control.switch(index, (taken, kept))):
            self.write(path, value)

    def value_and_grad(self, fn: Callable, has_aux: bool, args: tuple, kwargs: dict) -> Any:
        from .autodiff import backward

        region: dict[str, Value] = {}
        self.regions.append(region)
        try:
            out = fn(*args, **kwargs)
        finally:
            self.regions.pop()
        y = as_value(out[0] if has_aux else out)
        if y.shape != () or not y.dtype.is_float:
            raise ArgumentError(
                f"{user_source()}: the gradient needs a real scalar loss, got {y.spec}; reduce it first"
            )
        paths = sorted(region)
        got = backward([y], [ops.full(1, y.spec)], [region[p] for p in paths])
        grads = {p: ops.full(0, region[p].spec) if g is None else g for p, g in zip(paths, got)}
        return out, grads
