"""`jit`: trace once per input spec, compile for an engine, call many times.

The call path is kept short: the usual call (tensors on the right device, nothing static) lists their
interned specs, compares them with the last call's, and hands the buffers to the engine.
"""

from __future__ import annotations

import contextlib
import functools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from . import guarding, tree
from .array import Array
from .compiled import Compiled, guarded_class
from .engine import Device, _selected, resolve
from .errors import ArgumentError, MonographError
from .graph import Graph
from .spec import Spec
from .tensor import Tensor, feed, unwrap
from .tracing import _current, argument_names, trace_flat, tracing, user_source

_NOTHING = (None, None, None)


class CacheInfo(NamedTuple):
    """What `Jitted.cache_info` reports; the words of `functools.lru_cache`."""

    hits: int
    misses: int
    maxsize: int
    currsize: int


class Jitted:
    """A compiled function; made by `jit`."""

    def __init__(
        self,
        fn: Callable,
        engine: Any = None,
        static_argnums: Iterable[int] | int = (),
        static_argnames: Iterable[str] | str = (),
        donate_argnums: Iterable[int] | int = (),
        max_cache: int = 128,
    ):
        functools.update_wrapper(self, fn, updated=())
        self.__name__ = getattr(fn, "__name__", type(fn).__name__)
        self.fn, self.engine, self.max_cache = fn, engine, max_cache
        self._device = None if engine is None else resolve(engine)
        nums, names, donate = map(_set, (static_argnums, static_argnames, donate_argnums))
        self._options = (nums, names, donate, max_cache)
        self._static, self._donate = _places(fn, nums, names), donate
        self._plain = not (self._static or donate)
        self._cache: OrderedDict[Any, Compiled] = OrderedDict()
        # the last plain call's device, specs and compilation: the usual next one's too
        self._last: Any = _NOTHING
        self._others: dict[Any, Jitted] = {}
        self._chosen: dict[Any, Device] = {}  # by engine="auto"
        self._hits = self._misses = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _current.get() is not None:
            return self.fn(*args, **kwargs)
        device = self._device or _selected.get() or resolve()
        if device.kind == "auto":
            device = self._fastest(device, args, kwargs)
        if guarding.on and guarding.current() is not None:
            return self._general(device, args, kwargs, guarded=True)
        if self._plain and not kwargs:
            found = unwrap(args, device)
            if found is not None:
                specs, buffers = found
                last = self._last  # read once: another thread may replace it
                if last[1] == specs and last[0] is device:
                    self._hits += 1
                    return last[2].run(buffers)
                made = self._recall((device, *specs))
                if made is not None:
                    self._last = (device, specs, made)
                    return made.run(buffers)
        return self._general(device, args, kwargs)

    def _general(self, device: Device, args: tuple, kwargs: dict, guarded: bool = False) -> Any:
        static: tuple = ()
        if self._static:
            args, kwargs, static = self._partition(args, kwargs)
        leaves, in_tree = tree.flatten_call(args, kwargs)
        specs, buffers = unwrap(leaves, device) or self._feed(leaves, args, kwargs, device)
        key = self._key(device, args, kwargs, in_tree, static, specs)
        key = ("guarded", *key) if guarded else key
        found = self._recall(key)
        if found is None:
            self._misses += 1
            graph = self._trace(specs, in_tree, static, argument_names(args, kwargs))
            kind = guarded_class() if guarded else Compiled
            found = self._keep(key, kind(graph, device, self._donated(args)))
        return found.run(buffers, leaves)

    def _key(
        self, device: Device | None, args: tuple, kwargs: dict, in_tree: Any, static: tuple,
        specs: Sequence[Spec],
    ) -> tuple:  # fmt: skip
        if self._plain and not kwargs and in_tree[2][0][2] == (tree.LEAF,) * len(args):
            return (device, *specs)  # the usual call's key is the one that __call__ looks for
        return (device, in_tree, *[(k, _typed(v)) for k, v in static], *specs)

    def _fastest(self, device: Device, args: tuple, kwargs: dict) -> Device:
        """Where ``engine="auto"`` runs this call; measured for the first of its kind."""
        if self._plain and not kwargs and all(type(x) is Tensor for x in args):
            found = self._chosen.get((None, *[x.spec for x in args]))
            if found is not None:
                return found
        static: tuple = ()
        if self._static:
            args, kwargs, static = self._partition(args, kwargs)
        leaves, in_tree = tree.flatten_call(args, kwargs)
        specs = [Spec.of(x) for x in leaves]
        key = self._key(None, args, kwargs, in_tree, static, specs)
        found = self._chosen.get(key)
        if found is None:
            from . import auto

            graph = self._trace(specs, in_tree, static, argument_names(args, kwargs))
            donated = self._donated(args)
            found, made = auto.choose(
                graph, lambda d, make=Compiled: make(graph, d, donated), leaves, donated,
                mixes=device.index > 0,
            )  # fmt: skip
            self._chosen[key] = found
            self._keep((found, *key[1:]), made)
        return found

    def _partition(self, args: tuple, kwargs: dict) -> tuple[tuple, dict, tuple]:
        """Arguments without the static ones (None in their places), and those by place or name."""
        dynamic: list = list(args)
        static: list[tuple[Any, Any]] = []
        for place in self._static:
            if type(place) is str:
                if place in kwargs:
                    static.append((place, kwargs.pop(place)))
            elif -len(args) <= place < len(args):
                static.append((place, args[place]))
                dynamic[place] = None
        try:
            hash(tuple(static))
        except TypeError:
            raise ArgumentError(
                f"{user_source()}: static arguments of {self.__name__} must be hashable; got "
                f"{', '.join(f'{k}={v!r}' for k, v in static)}"
            ) from None
        return tuple(dynamic), kwargs, tuple(static)

    def _feed(
        self, leaves: list, args: tuple, kwargs: dict, device: Device
    ) -> tuple[list[Spec], list]:
        specs, buffers = [], []
        try:
            for x in leaves:
                spec, buffer = feed(x, device)
                specs.append(spec)
                buffers.append(buffer)
        except MonographError as e:
            if isinstance(x, Array):  # an error of its own, such as having been donated
                raise
            name = argument_names(args, kwargs)[len(specs)]
            raise type(e)(
                f"{user_source()}: argument {name} of {self.__name__} is {type(x).__name__}: "
                f"{e.args[0]} Pass arrays or numbers, or name it in static_argnames."
            ) from None
        return specs, buffers

    def _trace(
        self, specs: Sequence[Spec], in_tree: Any, static: tuple, names: Sequence[str]
    ) -> Graph:
        from .rewrite import simplify

        def flat(*values: Any) -> Any:
            args, kwargs = tree.unflatten(in_tree, values)
            args = list(args)
            for place, value in static:
                (kwargs if type(place) is str else args)[place] = value
            return self.fn(*args, **kwargs)

        with tracing(None):
            graph, out_tree, _ = trace_flat(flat, specs, names, self.__name__)
        return simplify(Graph(graph.inputs, graph.outputs, in_tree, out_tree, graph.name))

    def _donated(self, args: tuple) -> tuple[int, ...]:
        if not self._donate:
            return ()
        counts = [tree.count(tree.flatten(a)[1]) for a in args]
        starts = [sum(counts[:i]) for i in range(len(counts))]
        return tuple(
            starts[i] + j for i in sorted(self._donate) if i < len(counts) for j in range(counts[i])
        )

    def _recall(self, key: Any) -> Compiled | None:
        """What is kept for ``key``, now the most recently used."""
        self._last = _NOTHING
        found = self._cache.get(key)
        if found is not None:
            self._hits += 1
            try:
                self._cache.move_to_end(key)
            except KeyError:  # another thread has pushed it out meanwhile
                self._keep(key, found)
        return found

    def _keep(self, key: Any, made: Compiled) -> Compiled:
        self._cache[key] = made
        while len(self._cache) > self.max_cache:
            try:
                self._cache.popitem(last=False)
            except KeyError:  # another thread has emptied it
                break
        return made

    def on(self, engine: Any) -> Jitted:
        """The same function on another engine or device; the caches are kept apart."""
        found = self._others.get(engine)
        if found is None:
            found = self._others.setdefault(engine, Jitted(self.fn, engine, *self._options))
        return found

    def trace(self, *specs: Any, **kwspecs: Any) -> Graph:
        """The graph for these specs (or example arrays); see `monograph.trace`."""
        args, kwargs, static = self._partition(specs, kwspecs)
        leaves, in_tree = tree.flatten_call(args, kwargs)
        names = argument_names(args, kwargs)
        return self._trace([Spec.of(x) for x in leaves], in_tree, static, names)

    def cache_info(self) -> CacheInfo:
        """Hits, misses, and how many compilations are kept."""
        return CacheInfo(self._hits, self._misses, self.max_cache, len(self._cache))

    def cache_clear(self) -> None:
        """Forget every compilation."""
        self._last = _NOTHING
        self._cache.clear()
        self._chosen.clear()
        self._hits = self._misses = 0

    def __repr__(self) -> str:
        return f"<jit {self.__name__}" + (f" on {self.engine}>" if self.engine else ">")

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)


def _set(x: Any) -> frozenset:
    return frozenset((x,) if isinstance(x, (int, str)) else x)


def _places(fn: Callable, nums: frozenset, names: frozenset) -> tuple[Any, ...]:
    """Static arguments, each by position and by name where the function's signature tells both."""
    places = {*nums, *names}
    if places:
        import inspect

        with contextlib.suppress(ValueError):  # some built-in functions have no signature
            for i, p in enumerate(inspect.signature(fn).parameters.values()):
                if p.kind is p.POSITIONAL_OR_KEYWORD and (i in nums or p.name in names):
                    places |= {i, p.name}
    return tuple(sorted(places, key=str))


def _typed(x: Any) -> Any:
    """A key for a static value: 1, 1.0 and True are equal, and not the same argument."""
    if type(x) is tuple:
        return tuple([_typed(i) for i in x])
    return (float, x.hex()) if type(x) is float else (type(x), x)  # -0.0 is not 0.0


def jit(fn: Callable | None = None, **options: Any) -> Any:
    """Compile a function of arrays.

    Args:
        fn: takes arrays and numbers, in any tuples, lists and dicts, and returns such.
        engine: where to run, e.g. ``"xla"``; None follows `mg.engine` and ``MONOGRAPH_ENGINE``.
            ``"auto"`` measures every engine in the first call and stays on the fastest.
        static_argnums, static_argnames: arguments handed over as Python values; hashable, and each
            combination is compiled anew.
        donate_argnums: arguments the engine may overwrite. A tensor given there is used up: what is
            done with it after the call is an error that names the argument.
        max_cache: how many compilations are kept; the least recently used goes first.

    Returns:
        A function with ``.on(engine)``, ``.trace(*specs)``, ``.cache_info()``. Threads may share it.

    Raises:
        ArgumentError: a static argument that cannot be hashed, a donated one that is used twice.
        EngineError: the engine is missing, or failed while it compiled or ran the graph.

    >>> import monograph as mg
    >>> double = mg.jit(lambda x: x + x)
    >>> double.on("numpy")(mg.tensor([1.0, 2.0])).tolist()
    [2.0, 4.0]
    """
    if fn is None:
        return functools.partial(jit, **options)
    if isinstance(fn, Jitted):
        fn = fn.fn
    return Jitted(fn, **options)
