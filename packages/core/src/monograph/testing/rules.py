"""What an engine promises besides values: its memory is its own, and it can do what it lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..dtypes import DType, known
from ..engine import Engine, Options, get_engine
from ..errors import EngineError, MonographError, UnsupportedOp
from ..graph import Graph, Node
from ..op import Op, all_ops
from ..spec import Spec
from ..tensor import Tensor
from ..tracing import Trace, trace_flat, tracing
from .distance import same


def _dtypes(e: Engine) -> list[DType]:
    return [d for d in known() if e.supports_dtype(d)]


def _arrays(e: Engine) -> Iterator[np.ndarray]:
    """Of every dtype: 0-d, empty, small, strided, and one as big and as aligned as pages are."""
    for d in _dtypes(e):
        for x in (np.array(1), np.zeros((0, 2)), np.arange(3), np.arange(12).reshape(3, 4).T):
            yield x.astype(d.numpy, order="K")
        room = np.zeros((1 << 16) + 4096, np.uint8)
        start = -room.ctypes.data % 4096
        yield room[start : start + (1 << 16)].view(d.numpy)


def _program(e: Engine, fn: Callable, *specs: Spec, donate: tuple[int, ...] = ()) -> Callable:
    with tracing(None):
        graph = trace_flat(fn, specs, name="rule")[0]
    return e.compile(e.prepare(graph), Options(e.devices[0], donate))


def _put(e: Engine, x: np.ndarray) -> object:
    return e.put(x, e.devices[0])


def put_and_get(e: Engine) -> str:
    """What was put comes back, bit for bit, in its dtype."""
    for x in _arrays(e):
        got = np.asarray(e.get(_put(e, x)))
        if not same(got, np.ascontiguousarray(x).reshape(x.shape)):
            return (
                f"put and get turn {Spec.of(x)} into {got.dtype}{list(got.shape)} {got.ravel()[:4]}"
            )
    return ""


def put_never_aliases(e: Engine) -> str:
    """The caller may change his array as soon as `put` has returned."""
    for x in _arrays(e):
        if x.size:
            before, buffer = x.copy(), _put(e, x)
            _overwrite(x)
            if not same(np.asarray(e.get(buffer)), before):
                return f"put aliases the caller's {Spec.of(x)}: it changed when he changed it; copy"
    return ""


def feed_never_aliases(e: Engine) -> str:
    """Nor does what a program was fed, and its result, change with the caller's array."""
    for x in _arrays(e):
        if x.size:
            before, run = x.copy(), _program(e, lambda v: (v,), Spec.of(x))
            fed = e.feed(x, e.devices[0])
            _overwrite(x)
            result = run(fed)
            x[...] = before
            again = run(e.feed(x, e.devices[0]))
            _overwrite(x)
            if not all(same(np.asarray(e.get(out[0])), before) for out in (result, again)):
                return (
                    f"feed aliases the caller's {Spec.of(x)}: a result changed when he changed it"
                )
    return ""


def borrowing_is_safe(e: Engine) -> str:
    """What is lent for a call is read only, and no result shows what its owner writes later."""
    from ..ops import reshape

    owner = get_engine("numpy").devices[0]
    for x in _arrays(e):
        before, spec = x.copy(), Spec.of(x)
        run = _program(e, lambda v: (v, reshape(v, shape=(v.size,))), spec)
        lent = e.borrow(Tensor(x, spec, owner), e.devices[0])
        if not same(np.asarray(e.get(lent)), before):
            return f"borrow turns {spec} into {e.get(lent)}"
        results = run(lent)
        e.wait(results)
        if not same(x, before):
            return f"a program wrote to the {spec} that was lent to it"
        if x.size:
            _overwrite(x)
        for y, want in zip(results, (before, before.reshape(-1))):
            if not same(np.asarray(e.get(y)), want):
                return f"a result shares memory with the {spec} that was lent: copy it"
    return ""


def _overwrite(x: np.ndarray) -> None:
    x[...] = ~x if x.dtype == bool else np.ones((), x.dtype) - x


def results_stay(e: Engine) -> str:
    """What `get` gave does not change when the engine goes on computing, nor do inputs."""
    x, y = np.arange(8, dtype="float32"), np.full(8, 7, "float32")
    run = _program(e, lambda a, b: (a + b, a), Spec.of(x), Spec.of(y))
    first = run(_put(e, x), _put(e, y))
    kept = [e.get(b) for b in first]
    other = _put(e, y)
    for _ in range(3):
        run(other, other)
    for now, want in ((kept, "what get gave"), ([e.get(b) for b in first], "an output's buffer")):
        if not (same(np.asarray(now[0]), x + y) and same(np.asarray(now[1]), x)):
            return f"{want} changed when the program ran again"
    return ""


def donation_is_safe(e: Engine) -> str:
    """Donating an input changes neither the result nor another input."""
    x, y = np.arange(8, dtype="float32"), np.full(8, 7, "float32")
    run = _program(e, lambda a, b: (a * b, b), Spec.of(x), Spec.of(y), donate=(0,))
    kept = _put(e, y)
    got = [np.asarray(e.get(b)) for b in run(_put(e, x), kept)]
    if not (same(got[0], x * y) and same(got[1], y) and same(np.asarray(e.get(kept)), y)):
        return "with donate=(0,) a result or the other input is wrong"
    return ""


def no_inputs(e: Engine) -> str:
    """A graph may have constants only."""
    from ..ops import literal

    x = np.arange(3, dtype="float32")
    got = np.asarray(e.get(_program(e, lambda: (literal(x),))()[0]))
    return "" if same(got, x) else f"a graph of one constant {x} gave {got}"


def refuses_dtypes(e: Engine) -> str:
    """A dtype it says it lacks is refused before anything is compiled."""
    for d in known():
        if not e.supports_dtype(d):
            try:
                _program(e, lambda x: (x,), Spec((2,), d))
            except EngineError:
                continue
            return f"says it has no {d.name}, yet compiles a graph with it"
    return ""


def refuses_ops(e: Engine) -> str:
    """What it says it lacks it must refuse, all at once and by name."""
    wrong = [op for op in e.LOWER if not isinstance(op, Op)]
    if wrong:
        return f"keys of its table that are no ops: {wrong}"
    lacking = lacks(e)
    spec, t = Spec((2,), "float32"), Trace(None)
    x = t.add_input(spec)
    outs = [Node(op, (x,), {}, (spec,), None, t).outputs[0] for op in lacking]
    refused: set[str] = set()
    try:
        e.prepare(Graph([x], outs or [x]))
    except UnsupportedOp as err:
        refused = set(err.missing)
    except MonographError as err:
        return str(err)
    named = {op.name for op in lacking}
    return "" if refused == named else f"refuses {sorted(refused)}, lacks {sorted(named)}"


def lacks(e: Engine) -> list[Op]:
    """The primitives that an engine does not list."""
    return [
        op for op in all_ops() if op.body is None and not e.supports(op) and op.name != "parameter"
    ]


RULES: tuple[Callable[[Engine], str], ...] = (
    put_and_get, put_never_aliases, feed_never_aliases, borrowing_is_safe, results_stay,
    donation_is_safe, no_inputs, refuses_dtypes, refuses_ops,
)  # fmt: skip
