"""`Compiled`: a graph made callable on one device, and what is said when that goes wrong."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from . import guarding, plugins, tree
from .engine import Device, Options, failed, resolve
from .errors import ArgumentError, MonographError, TraceError
from .graph import Graph, Value
from .tensor import Tensor, feed, wrap
from .tracing import current, user_source

if TYPE_CHECKING:
    from .examine.guard import Guarded


class Compiled:
    """A graph compiled for one device: ``exe(*args)`` with the graph's own argument structure.

    Args:
        graph: what to compute.
        engine: where, as in `jit`.
        donate: positions of inputs whose memory the engine may take; such a tensor cannot be used
            after the call.
        steady: positions of inputs that hardly ever change, as in `Options`.

    Raises:
        UnsupportedOp: the engine lacks operations of the graph; all are named.
        EngineError: the engine failed to compile it, or (when called) to run it.
        ArgumentError: when called: arguments of another structure or spec than the graph's.
    """

    __slots__ = ("graph", "device", "executable", "seconds", "_specs", "_gone", "_guarded")

    def __init__(
        self, graph: Graph, engine: Any = None, donate: Sequence[int] = (),
        steady: Sequence[int] = (),
    ):  # fmt: skip
        self.graph = graph
        self.device: Device = resolve(engine)
        self._specs = graph.output_specs
        self._guarded: Guarded | None = None
        self._gone = [(i, _gone(graph.name, graph.input_names[i])) for i in donate]
        started = time.perf_counter()
        plugins.hooks().hook.monograph_graph_traced(graph=graph)
        self.executable = self._compile(tuple(donate), tuple(steady))
        self.seconds = time.perf_counter() - started
        plugins.hooks().hook.monograph_compiled(
            graph=graph, engine=self.device.engine.name, seconds=self.seconds
        )

    def _compile(self, donate: tuple[int, ...], steady: tuple[int, ...] = ()) -> Any:
        engine = self.device.engine
        try:
            return engine.compile(
                engine.prepare(self.graph, self.device), Options(self.device, donate, steady)
            )
        except MonographError:
            raise
        except Exception as e:
            error = failed(self.device, f"to compile graph {self.graph.name!r}", e)
            if error.__cause__ is e:
                error.add_note(
                    "This is a defect of the engine: please report it with graph.save()."
                )
            raise error  # noqa: B904  (its cause is set)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if guarding.on and type(self) is Compiled and guarding.current() is not None:
            if self._guarded is None:
                donate = [i for i, _ in self._gone]
                self._guarded = guarded_class()(self.graph, self.device, donate)
            return self._guarded(*args, **kwargs)
        leaves = arguments(self.graph, args, kwargs)
        fed = [feed(x, self.device) for x in leaves]
        check_specs(self.graph, [spec for spec, _ in fed])
        return self.run([buffer for _, buffer in fed], leaves)

    def run(self, buffers: Sequence[Any], leaves: Sequence[Any] = ()) -> Any:
        """Tensors in the structure the function returned, of buffers on this device.

        Args:
            leaves: the arguments that the buffers are of, if any of them are donated.
        """
        if self._gone:
            self.claim(leaves)
        outs = self.execute(buffers)
        if self._gone:
            self.give_up(leaves)
        out_tree = self.graph.out_tree
        if out_tree is tree.LEAF and len(self._specs) == 1:
            return Tensor(outs[0], self._specs[0], self.device)
        return tree.unflatten(out_tree, wrap(outs, self._specs, self.device))

    def execute(self, buffers: Sequence[Any]) -> Sequence[Any]:
        """Buffers from buffers; what the engine raises becomes an `EngineError`."""
        try:
            return self.executable(*buffers)
        except MonographError:
            raise
        except Exception as e:
            raise failed(self.device, f"while it ran graph {self.graph.name!r}", e)  # noqa: B904

    def claim(self, leaves: Sequence[Any]) -> None:
        """A donated tensor must not come in a second time: its memory is overwritten meanwhile."""
        ids = [id(x) for x in leaves]
        if len(set(ids)) == len(ids):
            return
        for i, _ in self._gone:
            if i < len(leaves) and type(leaves[i]) is Tensor and ids.count(ids[i]) > 1:
                names = [n for n, other in zip(self.graph.input_names, ids) if other == ids[i]]
                raise ArgumentError(
                    f"{user_source()}: {self.graph.name}: one tensor is given as "
                    f"{' and '.join(names)}, but {self.graph.input_names[i]} is donated; give it a "
                    f"copy, or leave it out of donate_argnums"
                )

    def give_up(self, leaves: Sequence[Any]) -> None:
        """Mark the donated ones of these arguments as used up."""
        for i, gone in self._gone:
            if i >= len(leaves):  # a variable of a store, which takes what the call returned
                continue
            x = leaves[i]
            if type(x) is Tensor and x._device is self.device:
                x.buffer, x._device = None, gone


def guarded_class() -> type[Guarded]:
    """`Guarded`, which takes `Compiled`'s place under a NaN guard; imported when first needed."""
    from .examine.guard import Guarded

    return Guarded


def arguments(graph: Any, args: tuple, kwargs: dict[str, Any]) -> list:
    """The leaves of a call's arguments, once it is sure that they nest as the graph's inputs."""
    leaves, in_tree = tree.flatten_call(args, kwargs)
    want = graph.in_tree
    if want is not None and in_tree != want:
        raise ArgumentError(
            f"{user_source()}: {graph.name} takes arguments nested as "
            f"{tree.describe(want)}, got {tree.describe(in_tree)}"
        )
    if len(leaves) != len(graph.input_specs):
        raise ArgumentError(
            f"{user_source()}: {graph.name} takes {len(graph.input_specs)} arrays, got {len(leaves)}"
        )
    if current() is not None and any(isinstance(x, Value) for x in leaves):
        raise TraceError(
            f"{user_source()}: {graph.name} is compiled and takes arrays; in a traced function call "
            f"the function it was made of"
        )
    return leaves


def check_specs(graph: Any, specs: Sequence[Any]) -> None:
    """Raise if an argument has not the spec that the graph was traced for."""
    for spec, want, name in zip(specs, graph.input_specs, graph.input_names):
        if spec is not want:
            raise ArgumentError(
                f"{user_source()}: {graph.name}: input {name!r} is {spec}, the graph was "
                f"traced for {want}"
            )


class _Donated:
    """Stands where a donated tensor's engine was; whatever it is asked, it says what happened."""

    def __init__(self, call: str, argument: str):
        self.call, self.argument = call, argument

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ArgumentError(
            f"{user_source()}: this tensor was donated to {self.call}, as {self.argument}: its "
            f"memory was given up there. Use what the call returned, or leave the argument out of "
            f"donate_argnums."
        )


def _gone(call: str, argument: str) -> Device:
    return Device(_Donated(call, argument), "donated")  # type: ignore[arg-type]
