"""Bad input: each a clear error that starts at the user's line, and nothing is lost by it."""

import functools

import monograph as mg
import numpy as np
import pytest
from monograph.errors import (
    ArgumentError,
    DTypeError,
    EngineError,
    MonographError,
    ShapeError,
    TraceError,
)
from monograph.numpy_engine import NumpyEngine
from monograph.tracing import current

X, Y, INTS = np.ones((2, 3), "float32"), np.ones((4,), "float32"), np.arange(3)

# (function, arguments, error, words of the message); the error is at the function's own line
MISTAKES = {
    "add of shapes": (lambda x, y: x + y, (X, Y), ShapeError, r"\(2, 3\).*\(4,\)"),
    "matmul of shapes": (lambda x, y: x @ y, (X, X), ShapeError, "3"),
    "reshape": (lambda x: mg.reshape(x, (4, 2)), (X,), ShapeError, r"\(4, 2\)"),
    "axis": (lambda x: mg.sum(x, axis=5), (X,), MonographError, "5"),
    "axis twice": (lambda x: mg.sum(x, axis=(0, 0)), (X,), MonographError, "0"),
    "concat": (lambda x, y: mg.concat([x, y]), (X, Y), ShapeError, "shapes|axes"),
    "permute": (lambda x: mg.permute_dims(x, (0, 0)), (X,), MonographError, "0, 0"),
    "broadcast": (lambda x: mg.broadcast_to(x, (2, 4)), (X,), ShapeError, "2, 4"),
    "primitive of two dtypes": (
        lambda x: mg.ops.add(x, mg.ops.convert(x, dtype="int32")), (X,), DTypeError, "int32",
    ),
    "sine of bool": (lambda x: mg.ops.sine(x > 0), (X,), DTypeError, "bool"),
    "bits of floats": (lambda x: x & x, (X,), DTypeError, "float32"),
    "float index": (lambda x: x[x], (X,), MonographError, "index|indices|float32"),
    "no such dtype": (lambda x: mg.astype(x, "float7"), (X,), DTypeError, "float7"),
    "attribute left out": (lambda x: mg.ops.reduce_sum(x), (X,), ArgumentError, "needs axes="),
    "attribute unknown": (
        lambda x: mg.ops.tanh(x, fast=True), (X,), ArgumentError, "no attribute fast",
    ),
    "operand left out": (lambda x: mg.ops.add(x), (X,), ArgumentError, "takes operands"),
    "condition": (lambda x: 0 if x[0, 0] else x, (X,), TraceError, "mg.where"),
    "int()": (lambda x: int(x[0, 0]), (X,), TraceError, "int"),
    "numpy": (lambda x: np.asarray(x), (X,), TraceError, "NumPy"),
    "length as size": (lambda n: mg.zeros((n[0],)), (INTS,), TraceError, "static"),
    "returns a string": (lambda x: "text", (X,), ArgumentError, "it returned str"),
    "returns a set": (lambda x: {1.0}, (X,), ArgumentError, "it returned set"),
    "returns an object": (lambda x: [x, object()], (X,), ArgumentError, "it returned object"),
    "gradient of a vector": (
        lambda x: mg.grad(lambda v: v * 2)(x), (X,), ArgumentError, "real scalar",
    ),
    "gradient of integers": (
        lambda x: mg.grad(lambda v: mg.sum(v))(x), (INTS,), DTypeError, "int64",
    ),
    "branches that differ": (
        lambda x: mg.cond(mg.sum(x) > 0, lambda v: v, lambda v: v[0], x), (X,), MonographError,
        "branch",
    ),
    "a carry that changes": (
        lambda x: mg.scan(lambda c, v: (c[None], v), x[0], x), (X,), MonographError, "carry",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_traced_function_is_told_at_its_line(name):
    fn, args, error, words = MISTAKES[name]
    with pytest.raises(error, match=words) as e:
        mg.jit(fn)(*args)
    told = str(e.value).split(": ")[0]
    assert told.rpartition(":")[0] == __file__, str(e.value)
    assert current() is None
    assert mg.jit(lambda x: x + 1)(mg.tensor(1.0)).item() == 2, "the next one works"


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: mg.tensor(X) + mg.tensor(Y), ShapeError, r"\(2, 3\).*\(4,\)"),
        (lambda: mg.reshape(mg.tensor(X), (4, 2)), ShapeError, r"\(4, 2\)"),
        (lambda: mg.ops.sine(mg.tensor(X) > 0), DTypeError, "bool"),
        (lambda: mg.astype(mg.tensor(X), "float7"), DTypeError, "float7"),
        (lambda: mg.ops.reduce_sum(mg.tensor(X)), ArgumentError, "needs axes="),
        (lambda: mg.tensor([[1.0], [1.0, 2.0]]), ArgumentError, "even in every axis"),
        (lambda: mg.tensor({"a": 1}), DTypeError, "dict"),
        (lambda: mg.zeros((-1,)), ShapeError, "axis 0 is -1"),
        (lambda: mg.tensor(X).item(), ArgumentError, "one element"),
    ],
)
def test_a_mistake_in_an_eager_call_is_explained(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_eager_mistakes_start_at_the_users_line_too():
    for call in (lambda: mg.tensor(X) + mg.tensor(Y), lambda: mg.ops.tanh(mg.tensor(X) > 0)):
        with pytest.raises(MonographError) as e:
            call()
        assert str(e.value).startswith(f"{__file__}:"), str(e.value)


# ---- values that outlive their trace


def leaked():
    kept = []
    mg.jit(lambda x: kept.append(x * 2) or x)(mg.tensor(1.0))
    return kept[0]


@pytest.mark.parametrize(
    "use",
    [
        lambda v: mg.jit(lambda x: x + v)(mg.tensor(1.0)),
        lambda v: mg.jit(lambda x: v)(mg.tensor(1.0)),
        lambda v: mg.jit(lambda x: x)(v),
        lambda v: v + 1,
        lambda v: mg.tensor(v),
        lambda v: float(v),
        lambda v: mg.jit(lambda x: mg.scan(lambda c, t: (c + v, t), x, x[None]))(mg.tensor(1.0)),
        lambda v: mg.grad(lambda x: x * v)(mg.tensor(1.0)),
    ],
    ids=["in a trace", "returned", "as argument", "eagerly", "as tensor", "as float", "in a loop",
         "in a gradient"],
)  # fmt: skip
def test_a_value_from_a_finished_trace_is_refused(use):
    with pytest.raises(TraceError, match="trace"):
        use(leaked())
    assert current() is None


# ---- exceptions of the user's own


class Own(Exception):
    pass


def fails(*args):
    raise Own("mine")


PLACES = {
    "jit": lambda: mg.jit(fails)(1.0),
    "nested jit": lambda: mg.jit(lambda x: mg.jit(fails)(x))(1.0),
    "trace": lambda: mg.trace(fails, mg.Spec(())),
    "grad": lambda: mg.grad(fails)(mg.tensor(1.0)),
    "vjp": lambda: mg.vjp(fails, mg.tensor(1.0)),
    "jvp": lambda: mg.jvp(fails, (mg.tensor(1.0),), (mg.tensor(1.0),)),
    "jacobian": lambda: mg.jacobian(fails)(mg.tensor([1.0])),
    "scan": lambda: mg.scan(fails, mg.tensor(1.0), mg.tensor([1.0])),
    "scan in jit": lambda: mg.jit(lambda x: mg.scan(fails, x[0], x))(mg.tensor([1.0])),
    "while_loop": lambda: mg.while_loop(lambda c: c < 1, fails, mg.tensor(0.0)),
    "cond": lambda: mg.cond(mg.tensor(True), fails, fails, mg.tensor(1.0)),
    "checkpoint": lambda: mg.jit(mg.checkpoint(fails))(mg.tensor(1.0)),
    "engine": lambda: _inside_engine(),
}


def _inside_engine():
    with mg.engine("numpy"):
        mg.jit(fails)(1.0)


@pytest.mark.parametrize("place", PLACES)
def test_the_users_exception_comes_out_as_it_is_and_leaves_no_trace_open(place):
    before = mg.engine
    with pytest.raises(Own, match="^mine$"):
        PLACES[place]()
    assert current() is None and mg.engine is before
    assert (mg.tensor(1.0) + 1).item() == 2, "eager operations still run at once"


def test_a_function_that_failed_once_is_traced_again():
    calls = []

    @mg.jit
    def f(x):
        calls.append(1)
        if len(calls) == 1:
            raise Own("mine")
        return x + 1

    with pytest.raises(Own):
        f(mg.tensor(1.0))
    assert f.cache_info().currsize == 0
    assert f(mg.tensor(1.0)).item() == 2 == len(calls)


def test_an_exception_caught_inside_a_traced_function_does_no_harm():
    def f(x):
        try:
            mg.scan(fails, x[0], x)
        except Own:
            return x + 1

    assert mg.jit(f)(mg.tensor([1.0])).tolist() == [2.0]


# ---- arrays that change after they were handed over


def test_changing_an_array_after_it_was_handed_over_changes_nothing():
    x = np.ones(5000, "float32")  # big enough to be worth not copying
    made = mg.tensor(x), mg.asarray(x), mg.jit(lambda v: v)(x), mg.jit(lambda: mg.asarray(x) + 0)()
    closed = mg.jit(lambda v: v + x)
    first = closed(x)
    graph = mg.trace(lambda v: v + x, mg.Spec.of(x))
    run = graph.compile("numpy")
    literal = mg.ops.constant(value=mg.graph.Literal(x))
    x[:] = 7
    for t in (*made, literal):
        assert t.numpy().min() == t.numpy().max() == 1
    assert first.numpy().max() == 2
    assert closed(np.ones(5000, "float32")).numpy().max() == 2, "a constant is what it was"
    assert run(np.ones(5000, "float32")).numpy().max() == 2


def test_what_a_tensor_hands_out_cannot_be_written_or_is_a_copy():
    t = mg.tensor([1.0, 2.0])
    for out in (t.numpy(), np.asarray(t)):
        with pytest.raises(ValueError, match="read-only"):
            out[0] = 9
    np.array(t)[0] = 9
    assert t.tolist() == [1, 2]


# ---- engines


class Crashing(NumpyEngine):
    name = "crashing"

    def compile(self, graph, options):
        raise KeyError("no such kernel")


def test_an_engine_that_crashes_is_named_with_the_graph():
    def model(x):
        return x + 1

    with pytest.raises(EngineError, match=r"'crashing' failed to compile graph 'model'.*kernel"):
        mg.jit(model).on(Crashing())(1.0)
    assert mg.jit(model)(1.0).item() == 2


@pytest.mark.parametrize(
    "what", [3, 2.5, b"numpy", ["numpy"], object()], ids=lambda x: type(x).__name__
)
def test_what_names_no_engine_is_refused(what):
    with pytest.raises(EngineError, match="an engine is named by a string"), mg.engine(what):
        pass


def test_an_unknown_engine_lists_those_there_are_and_changes_nothing():
    before = mg.tensor(1.0).device
    with pytest.raises(EngineError, match="nope.*there are: "), mg.engine("nope"):
        pass
    with pytest.raises(EngineError, match="has no device 'gpu'"), mg.engine("numpy:gpu"):
        pass
    assert mg.tensor(1.0).device is before


def test_the_environment_variable_is_blamed_by_name(monkeypatch):
    monkeypatch.setenv("MONOGRAPH_ENGINE", "nope")
    with pytest.raises(EngineError, match="nope"):
        mg.jit(lambda x: x)(1.0)


# ---- arguments


@pytest.mark.parametrize("bad", [[3], {"a": 1}, np.ones(2), {1}], ids=repr)
def test_a_static_argument_must_be_hashable(bad):
    f = mg.jit(lambda x, n: x, static_argnums=1)
    with pytest.raises(ArgumentError, match=r"test_bad_input.py:\d+: static arguments"):
        f(1.0, bad)
    g = mg.jit(lambda x, n=None: x, static_argnames="n")
    with pytest.raises(ArgumentError, match="must be hashable"):
        g(1.0, n=bad)


@pytest.mark.parametrize(
    "bad", ["text", object(), {1, 2}, b"bytes", lambda: 0], ids=lambda b: str(type(b))
)
def test_an_argument_that_is_no_array_is_named(bad):
    with pytest.raises(DTypeError, match=r"test_bad_input.py:\d+: argument arg\[1\]"):
        mg.jit(lambda x, y: x)(1.0, bad)


def test_an_argument_used_as_a_number_is_named():
    with pytest.raises(
        TraceError, match=r"test_bad_input.py:\d+: .* this bool\[\] \(argument arg\[1\]\)"
    ):
        mg.jit(lambda x, on: x if on else -x)(1.0, True)


def test_what_is_compiled_is_not_called_while_tracing():
    g = mg.trace(mg.sin, mg.Spec((3,)))
    for run in (g.compile("numpy"), mg.transforms.pipeline(g, ["numpy"])):
        with pytest.raises(
            TraceError, match=r"test_bad_input.py:\d+: .* is compiled and takes arrays"
        ):
            mg.jit(lambda x, run=run: run(x), static_argnames="run")(np.ones(3, "float32"))
        # what is no part of the trace is an array there too
        mg.trace(lambda x, run=run: x + run(np.ones(3, "float32")), mg.Spec((3,)))


def test_a_missing_argument_is_pythons_own_error():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'y'"):
        mg.jit(lambda x, y: x)(1.0)
    assert current() is None


def test_a_partial_and_a_callable_object_can_be_jitted():
    class Twice:
        def __call__(self, x):
            return x * 2

    assert mg.jit(functools.partial(lambda a, b: a - b, b=1.0))(3.0).item() == 2
    assert mg.jit(Twice())(3.0).item() == 6
