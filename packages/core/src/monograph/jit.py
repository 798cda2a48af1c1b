"""`jit`: trace once per input spec, compile for an engine, call many times.

The call path is kept short: the usual call (tensors on the right device, nothing static) builds one
tuple of interned specs, looks it up, and hands the buffers to the engine.
"""

from __future__ import annotations

import functools
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from . import plugins, tree
from .engine import Device, EngineError, Options, _selected, resolve
from .errors import ArgumentError, MonographError
from .graph import Graph
from .spec import Spec
from .tensor import Tensor
from .tracing import _current, trace_flat, tracing, user_source


class CacheInfo(NamedTuple):
    """What `Jitted.cache_info` reports; the words of `functools.lru_cache`."""

    hits: int
    misses: int
    maxsize: int
    currsize: int


class Compiled:
    """A graph compiled for one device: ``exe(*args)`` with the graph's own argument structure.

    Raises:
        ArgumentError: arguments of another structure or spec than the graph's.
    """

    __slots__ = ("graph", "device", "executable", "_specs", "seconds")

    def __init__(self, graph: Graph, engine: Any = None, donate: Sequence[int] = ()):
        self.graph = graph
        self.device: Device = resolve(engine)
        self._specs = graph.output_specs
        started = time.perf_counter()
        plugins.hooks().hook.monograph_graph_traced(graph=graph)
        self.executable = _guarded(self.device, graph, tuple(donate))
        self.seconds = time.perf_counter() - started
        plugins.hooks().hook.monograph_compiled(
            graph=graph, engine=self.device.engine.name, seconds=self.seconds
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        leaves, in_tree = tree.flatten((args, kwargs))
        want = self.graph.in_tree
        if want is not None and in_tree != want:
            raise ArgumentError(
                f"{user_source()}: {self.graph.name} takes arguments nested as "
                f"{tree.describe(want)}, got {tree.describe(in_tree)}"
            )
        tensors = [x if type(x) is Tensor else Tensor.of(x, device=self.device) for x in leaves]
        for i, (x, s) in enumerate(zip(tensors, self.graph.input_specs)):
            if x.spec is not s:
                raise ArgumentError(
                    f"{user_source()}: {self.graph.name}: input {self.graph.input_names[i]!r} is "
                    f"{x.spec}, the graph was traced for {s}"
                )
        return self.wrap(self.executable(*[x.on(self.device).buffer for x in tensors]))

    def wrap(self, buffers: Sequence[Any]) -> Any:
        """Output buffers as tensors in the structure the function returned."""
        device = self.device
        out = [Tensor(b, s, device) for b, s in zip(buffers, self._specs)]
        out_tree = self.graph.out_tree
        if out_tree is tree.LEAF and len(out) == 1:
            return out[0]
        return tree.unflatten(out_tree, out)


def _guarded(device: Device, graph: Graph, donate: tuple[int, ...]) -> Any:
    engine = device.engine
    try:
        return engine.compile(engine.prepare(graph), Options(device, donate))
    except MonographError:
        raise
    except Exception as e:
        error = EngineError(
            f"engine {engine.name!r} could not compile graph {graph.name!r}: "
            f"{type(e).__name__}: {str(e)[:2000]}"
        )
        error.__notes__ = ["This is a defect of the engine: please report it with graph.save()."]
        raise error from None


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
        self._static = frozenset(
            (static_argnums,) if isinstance(static_argnums, int) else static_argnums
        )
        self._static_names = frozenset(
            (static_argnames,) if isinstance(static_argnames, str) else static_argnames
        )
        self._donate = frozenset(
            (donate_argnums,) if isinstance(donate_argnums, int) else donate_argnums
        )
        self._plain = not (self._static or self._static_names or self._donate)
        self._cache: OrderedDict[Any, Compiled] = OrderedDict()
        self._others: dict[Any, Jitted] = {}
        self._hits = self._misses = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _current.get() is not None:
            return self.fn(*args, **kwargs)
        device = self._device or _selected.get() or resolve()
        if self._plain and not kwargs:
            specs, buffers = [device], []
            for x in args:
                if type(x) is not Tensor or x._device is not device:
                    break
                specs.append(x.spec)
                buffers.append(x.buffer)
            else:
                found = self._cache.get(tuple(specs))
                if found is not None:
                    self._hits += 1
                    return found.wrap(found.executable(*buffers))
        return self._general(device, args, kwargs)

    def _general(self, device: Device, args: tuple, kwargs: dict) -> Any:
        dynamic, static = self._partition(args, kwargs)
        leaves, in_tree = tree.flatten(dynamic)
        tensors = [
            x if type(x) is Tensor and x._device is device else self._place(x, i, dynamic, device)
            for i, x in enumerate(leaves)
        ]
        specs = [x.spec for x in tensors]
        flat = self._plain and not kwargs and len(tensors) == len(args)
        flat = flat and all(child is tree.LEAF for child in in_tree[2][0][2])
        # the usual call's key is the short one that __call__ looks for
        key = (device, *specs) if flat else (device, in_tree, static, tuple(specs))
        found = self._lookup(key)
        if found is None:
            graph = self._trace(specs, in_tree, static, dynamic)
            found = self._store(key, Compiled(graph, device, self._donated(dynamic)))
        return found.wrap(found.executable(*[x.buffer for x in tensors]))

    def _partition(self, args: tuple, kwargs: dict) -> tuple[Any, Any]:
        if not (self._static or self._static_names):
            return (args, kwargs), None
        nums = {i % len(args) if -len(args) <= i < 0 else i for i in self._static}
        names = self._static_names
        static = (
            tuple((i, a) for i, a in enumerate(args) if i in nums),
            tuple((k, v) for k, v in sorted(kwargs.items()) if k in names),
        )
        try:
            hash(static)
        except TypeError:
            raise ArgumentError(
                f"{user_source()}: static arguments of {self.__name__} must be hashable; got "
                f"{', '.join(f'{k}={v!r}' for part in static for k, v in part)}"
            ) from None
        dynamic = (
            tuple(None if i in nums else a for i, a in enumerate(args)),
            {k: v for k, v in kwargs.items() if k not in names},
        )
        return dynamic, static

    def _place(self, x: Any, i: int, dynamic: Any, device: Device) -> Tensor:
        try:
            return Tensor.of(x, device=device)
        except MonographError as e:
            where = tree.paths(dynamic)[i]
            raise type(e)(
                f"{user_source()}: argument {where} of {self.__name__} is {type(x).__name__}: "
                f"{e.args[0]} Pass arrays or numbers, or name it in static_argnames."
            ) from None

    def _trace(self, specs: Sequence[Spec], in_tree: Any, static: Any, dynamic: Any) -> Graph:
        from .rewrite import simplify

        def flat(*values: Any) -> Any:
            args, kwargs = tree.unflatten(in_tree, values)
            if static is not None:
                args = list(args)
                for i, a in static[0]:
                    args[i] = a
                kwargs.update(static[1])
            return self.fn(*args, **kwargs)

        with tracing(None):
            graph, out_tree, _ = trace_flat(flat, specs, tree.paths(dynamic), self.__name__)
        return simplify(Graph(graph.inputs, graph.outputs, in_tree, out_tree, graph.name))

    def _donated(self, dynamic: Any) -> tuple[int, ...]:
        if not self._donate:
            return ()
        counts = [tree.count(tree.flatten(a)[1]) for a in dynamic[0]]
        starts = [sum(counts[:i]) for i in range(len(counts))]
        return tuple(
            starts[i] + j for i in sorted(self._donate) if i < len(counts) for j in range(counts[i])
        )

    def _lookup(self, key: Any) -> Compiled | None:
        found = self._cache.get(key)
        if found is None:
            self._misses += 1
        else:
            self._hits += 1
            self._cache.move_to_end(key)
        return found

    def _store(self, key: Any, made: Compiled) -> Compiled:
        self._cache[key] = made
        if len(self._cache) > self.max_cache:
            self._cache.popitem(last=False)
        return made

    def on(self, engine: Any) -> Jitted:
        """The same function on another engine or device; the caches are kept apart."""
        found = self._others.get(engine)
        if found is None:
            found = self._others[engine] = Jitted(
                self.fn, engine, self._static, self._static_names, self._donate, self.max_cache
            )
        return found

    def trace(self, *specs: Any, **kwspecs: Any) -> Graph:
        """The graph for these specs (or example arrays); see `monograph.trace`."""
        dynamic, static = self._partition(specs, kwspecs)
        leaves, in_tree = tree.flatten(dynamic)
        return self._trace([Spec.of(x) for x in leaves], in_tree, static, dynamic)

    def cache_info(self) -> CacheInfo:
        """Hits, misses, and how many compilations are kept."""
        return CacheInfo(self._hits, self._misses, self.max_cache, len(self._cache))

    def cache_clear(self) -> None:
        """Forget every compilation."""
        self._cache.clear()
        self._hits = self._misses = 0

    def __repr__(self) -> str:
        return f"<jit {self.__name__}" + (f" on {self.engine}>" if self.engine else ">")

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)


def jit(fn: Callable | None = None, **options: Any) -> Any:
    """Compile a function of arrays.

    Args:
        fn: takes arrays and numbers, in any tuples, lists and dicts, and returns such.
        engine: where to run, e.g. ``"xla"``; None follows `mg.engine` and ``MONOGRAPH_ENGINE``.
        static_argnums, static_argnames: arguments handed over as Python values; hashable, and each
            combination is compiled anew.
        donate_argnums: arguments the engine may overwrite; do not use them after the call.
        max_cache: how many compilations are kept; the least recently used goes first.

    Returns:
        A function with ``.on(engine)``, ``.trace(*specs)``, ``.cache_info()``.

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
