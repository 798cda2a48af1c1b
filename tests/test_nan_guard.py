"""Planted faults: each in each place on each engine, and the guard names the right line every time.

A fault is one function whose faulty line ends in ``# BAD name``; a place runs it somewhere in a graph.
Faults happen where ``t`` is 1 and not where it is 0, so that a loop can have its turn.
"""

import re
from pathlib import Path

import monograph as mg
import numpy as np
import pytest
from monograph.errors import NonFinite

LINES = {
    m[1]: i
    for i, text in enumerate(Path(__file__).read_text().splitlines(), 1)
    if (m := re.search(r"# BAD (\w+)$", text))
}
ENGINES = ("numpy", "xla", "torch")
X = np.array([0.5, 1.0, 2.0], "float32")
FORWARD, BACKWARD = {}, {}


def fault(table):
    def enter(fn):
        table[fn.__name__] = fn
        return fn

    return enter


@mg.op(
    infer=lambda x: x, vjp=lambda g, y, x: (g / x,), samples=lambda d, rng: (),
)  # fmt: skip
def guarded_test_log(x):
    """A logarithm from outside core, with a NumPy body only."""
    return np.log(x)


@mg.composite(samples=lambda d, rng: ())
def guarded_test_entropy(x):
    """A composite from outside core."""
    return -x * mg.ops.log(x)


@mg.composite(samples=lambda d, rng: ())
def guarded_test_root(x):
    """A composite without a gradient of its own."""
    return mg.ops.sqrt(x)


# ---- faults that the forward pass shows: (x float32[3], t 0 or 1) -> anything


@fault(FORWARD)
def log_negative(x, t):
    return mg.log(x - 10 * t)  # BAD log_negative


@fault(FORWARD)
def zero_over_zero(x, t):
    z = x * (1 - t)
    return z / z  # BAD zero_over_zero


@fault(FORWARD)
def one_over_zero(x, t):
    return x / (1 - t)  # BAD one_over_zero


@fault(FORWARD)
def inf_minus_inf(x, t):
    m = mg.where(t > 0.5, -mg.inf, x)
    return m - m  # BAD inf_minus_inf


@fault(FORWARD)
def exp_overflow(x, t):
    y = x * (1000 * t)
    return mg.exp(y)  # BAD exp_overflow


@fault(FORWARD)
def float16_overflow(x, t):
    y = mg.astype(x, "float16")
    return y * mg.astype(1 + 60000 * t, "float16")  # BAD float16_overflow


@fault(FORWARD)
def sqrt_negative(x, t):
    return mg.sqrt(x - 3 * t)  # BAD sqrt_negative


@fault(FORWARD)
def rsqrt_zero(x, t):
    return mg.rsqrt(x * (1 - t))  # BAD rsqrt_zero


@fault(FORWARD)
def power_negative(x, t):
    return mg.pow(x - 10 * t, 0.3)  # BAD power_negative


@fault(FORWARD)
def acos_outside(x, t):
    return mg.acos(x * 0.25 + 3 * t)  # BAD acos_outside


@fault(FORWARD)
def square_overflow(x, t):
    y = x * (1 + 1e25 * t)
    return y * y  # BAD square_overflow


@fault(FORWARD)
def matmul_overflow(x, t):
    y = mg.reshape(x * (1 + 1e25 * t), (3, 1))
    return mg.matrix_transpose(y) @ y  # BAD matmul_overflow


@fault(FORWARD)
def sum_overflow(x, t):
    y = x * (1 + 1.5e38 * t)
    return mg.sum(y)  # BAD sum_overflow


@fault(FORWARD)
def narrowing(x, t):
    wide = mg.astype(x, "float64") * (1 + 1e300 * mg.astype(t, "float64"))
    return mg.astype(wide, "float32")  # BAD narrowing


@fault(FORWARD)
def masked_out_softmax(x, t):
    masked = mg.where(x + 10 * (1 - t) > 5, x, -mg.inf)
    return mg.softmax(masked)  # BAD masked_out_softmax


@fault(FORWARD)
def custom_op(x, t):
    return guarded_test_log(x - 10 * t)  # BAD custom_op


@fault(FORWARD)
def composite(x, t):
    return guarded_test_entropy(x - 10 * t)  # BAD composite


@fault(FORWARD)
def hidden_then_used(x, t):
    bad = mg.log(x * (1 - t))  # BAD hidden_then_used
    kept = mg.where(x > 0.7, bad, 0.0)
    return mg.stack([kept, x])


# ---- faults of the gradient: the forward pass is finite


@fault(BACKWARD)
def sqrt_at_zero(x, t):
    return mg.sqrt(x * (1 - t))  # BAD sqrt_at_zero


@fault(BACKWARD)
def norm_at_zero(x, t):
    y = x * (1 - t)
    return mg.sqrt(mg.sum(y * y))  # BAD norm_at_zero


@fault(BACKWARD)
def where_trap(x, t):
    y = x * (1 - t)
    return mg.where(y > 0, mg.log(y), 0.0)  # BAD where_trap


@fault(BACKWARD)
def root_by_power(x, t):
    return (x * (1 - t)) ** 0.5  # BAD root_by_power


@fault(BACKWARD)
def power_of_zero(x, t):
    return mg.pow(x * (1 - t), x)  # BAD power_of_zero


@fault(BACKWARD)
def asin_at_one(x, t):
    return mg.asin(x * 0.25 * (1 - t) + t)  # BAD asin_at_one


@fault(BACKWARD)
def cube_root_at_zero(x, t):
    return mg.cbrt(x * (1 - t))  # BAD cube_root_at_zero


@fault(BACKWARD)
def composite_of_ours(x, t):
    y = guarded_test_root(x)  # the composite's body is recorded here
    z = guarded_test_root(x * (1 - t))  # BAD composite_of_ours
    return y + z


# ---- places: (fault) -> a function of X whose result shows it


def total(y):
    return mg.sum(mg.astype(y, "float32"))


def direct(bad):
    return lambda x: bad(x, mg.sum(x) * 0 + 1)


def summed(bad):
    return lambda x: total(bad(x * 1.0, 1.0 + 0 * x[0])) * 2 + 1


def in_scan(bad):
    def body(carry, xt):
        y = total(bad(*xt))
        return carry + y, y * 2

    return lambda x: mg.scan(body, x[0], (mg.stack([x, x, x, x]), mg.tensor([0.0, 0, 1, 0])))


def in_reverse_scan(bad):
    def body(carry, xt):
        return carry + total(bad(*xt)), ()

    ts = mg.tensor([0.0, 0, 1, 0])
    return lambda x: mg.scan(body, x[0], (mg.stack([x, x, x, x]), ts), reverse=True)[0]


def in_while(bad):
    def body(carry):
        i, c = carry
        t = mg.astype(i == 2, "float32")
        return i + 1, c + total(bad(x_of(c), t))

    def x_of(c):
        return mg.tensor(X) + 0 * c

    return lambda x: mg.while_loop(lambda c: c[0] < 5, body, (mg.tensor(0), x[0]))[1]


def in_cond(bad):
    def taken(x):
        return total(bad(x, x[1]))

    return lambda x: mg.cond(x[0] < 1, taken, lambda x: mg.sum(x), x)


def in_switch(bad):
    def taken(x):
        return total(bad(x, x[1]))

    return lambda x: mg.switch(mg.tensor(1), [lambda x: x[0], taken, lambda x: x[1]], x)


def in_nested_scan(bad):
    def outer(carry, i):
        def inner(c, j):
            t = mg.astype(mg.logical_and(i == 1, j == 2), "float32")
            return c + total(bad(mg.tensor(X) + 0 * c, t)), ()

        return mg.scan(inner, carry, mg.arange(4))[0], ()

    return lambda x: mg.scan(outer, x[0], mg.arange(3))[0]


def in_cond_in_scan(bad):
    def body(carry, t):
        x = mg.tensor(X) + 0 * carry
        y = mg.cond(t > 0.5, lambda: total(bad(x, t)), lambda: carry * 0)
        return carry + y, ()

    return lambda x: mg.scan(body, x[0], mg.tensor([0.0, 0, 1, 0]))[0]


def in_checkpoint(bad):
    return lambda x: mg.checkpoint(lambda v: total(bad(v, v[1])))(x)


def in_custom_vjp(bad):
    def value(v):
        return total(bad(v, v[1]))

    own = mg.custom_vjp(value)
    own.defvjp(lambda v: (value(v), v), lambda res, g: (g * res,))
    return own


def in_layer(bad):
    from monograph.tracing import in_scope

    def run(x):
        with in_scope("encoder/block1"):
            return total(bad(x, x[1]))

    return run


def with_mask_beside(bad):
    """A mask of -inf beside the fault, through where and softmax."""

    def run(x):
        weights = mg.softmax(mg.where(x > 0.7, x, -mg.inf))
        return mg.sum(weights * total(bad(x, x[1]))), mg.argmax(mg.where(x > 0.7, x, -mg.inf))

    return run


PLACES = {
    f.__name__: f
    for f in (
        direct, summed, in_scan, in_reverse_scan, in_while, in_cond, in_switch, in_nested_scan,
        in_cond_in_scan, in_checkpoint, in_custom_vjp, in_layer, with_mask_beside,
    )
}  # fmt: skip
TURN = dict.fromkeys(
    ("in_scan", "in_reverse_scan", "in_while", "in_nested_scan", "in_cond_in_scan"), 2
)
# a while loop and this custom_vjp have no gradient of the fault
DIFFERENTIABLE = [p for p in PLACES if p not in ("in_while", "in_custom_vjp")]

CASES = [(p, f, False) for p in PLACES for f in FORWARD]
CASES += [(p, f, True) for p in DIFFERENTIABLE for f in BACKWARD]


def report_of(run, *args):
    """The report, and that nothing is reported without a guard."""
    with mg.nan_guard(), pytest.raises(NonFinite) as caught:
        run(*args)
    return caught.value.report


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("place, name, gradient", CASES, ids=[f"{p}-{f}" for p, f, _ in CASES])
def test_the_right_line_is_named(place, name, gradient, engine):
    fn = PLACES[place]((FORWARD | BACKWARD)[name])
    if gradient:
        forward = fn

        def fn(x):
            return mg.grad(lambda v: sum(total(y) for y in mg.tree.leaves(forward(v))))(x)

    report = report_of(mg.jit(fn, engine=engine), mg.tensor(X))
    assert report.kind == "operation"
    assert (report.source.file, report.source.line) == (__file__, LINES[name]), str(report)
    assert report.line.endswith(f"# BAD {name}")
    assert report.backward == gradient
    assert report.engine.startswith(engine)
    assert report.iteration == TURN.get(place)
    assert report.scope == ("encoder/block1" if place == "in_layer" else "")
    assert any(s.first is not None for s in report.results)
    assert report.picture.read_text().startswith("digraph")


def test_there_are_as_many_faults_as_the_issue_asks_for():
    assert len(CASES) >= 200


@pytest.mark.parametrize("engine", ENGINES)
def test_eager_operations_are_looked_at_one_by_one(engine):
    x = mg.tensor(X, device=engine)
    for name in ("log_negative", "zero_over_zero", "exp_overflow", "float16_overflow"):
        report = report_of(FORWARD[name], x, mg.tensor(1.0, device=engine))
        assert (report.source.file, report.source.line) == (__file__, LINES[name])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_gradient_rule_of_ones_own_has_lines_of_its_own(engine):
    @mg.custom_vjp
    def halved(x):
        return x / 2

    def backward(x, g):
        return (g / (x - x),)  # BAD rule

    halved.defvjp(lambda x: (x / 2, x), backward)

    def loss(x):
        return mg.sum(halved(x))  # BAD call_of_the_rule

    report = report_of(mg.jit(mg.grad(loss), engine=engine), mg.tensor(X))
    assert (report.source.line, report.source.of.line) == (LINES["rule"], LINES["call_of_the_rule"])
    assert report.backward and f"forward  {__file__}:{LINES['call_of_the_rule']}" in str(report)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_mask_that_was_computed_before_is_not_blamed_for_a_nan(engine):
    def fn(x, counts):
        bias = mg.log(counts)
        scores = mg.sqrt(x)  # BAD beside_a_mask
        return mg.softmax(scores + bias)

    report = report_of(mg.jit(fn, engine=engine), mg.tensor([1.0, -1.0]), mg.tensor([1.0, 0.0]))
    assert (report.op, report.source.line) == ("sqrt", LINES["beside_a_mask"])


def test_a_composite_names_what_is_inside():
    report = report_of(mg.jit(direct(composite), engine="numpy"), mg.tensor(X))
    assert (report.op, report.inner) == ("guarded_test_entropy", ("log",))
    assert "guarded_test_entropy > log" in str(report)


def test_statistics_of_what_was_read_and_made():
    def fn(x, y):
        return mg.log(x) * y

    x = mg.tensor([[1.0, 2.0], [-3.0, 0.0]])
    report = report_of(mg.jit(fn, engine="numpy"), x, mg.tensor(1.0))
    (read,), (made,) = report.operands, report.results
    assert (read.low, read.high, read.mean, read.first) == (-3.0, 2.0, 0.0, None)
    assert (made.nan, made.positive, made.negative, made.first) == (1, 0, 1, (1, 0))
    assert "1 NaN and 1 -Inf of finite numbers" in str(report)


def test_places_are_told_from_the_outside_in():
    report = report_of(mg.jit(in_nested_scan(log_negative), engine="numpy"), mg.tensor(X))
    assert [(p.op, p.index, p.count) for p in report.places] == [("scan", 1, 3), ("scan", 2, 4)]
    report = report_of(mg.jit(in_cond_in_scan(log_negative), engine="numpy"), mg.tensor(X))
    assert [(p.op, p.index) for p in report.places] == [("scan", 2), ("case", 1)]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_bad_argument_is_named(bad, engine):
    def fn(tree, scale):
        return mg.sum(mg.log(tree["w"]) * scale)

    given = {"v": np.ones(2, "float32"), "w": np.array([1, bad], "float32")}
    report = report_of(mg.jit(fn, engine=engine), given, 2.0)
    assert (report.kind, report.name) == ("argument", "arg[0]['w']")
    assert re.match(rf"{__file__}:\d+: argument arg", str(report))
    assert report.results[0].first == (1,)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_variable_that_was_bad_before_is_named(engine):
    def model(scope, x):
        return x * (scope / "layer").parameter("w", (3,), 1.0) + scope.parameter("b", (), 0.0)

    store = mg.Store()
    call = store.bind(model, engine)
    call(mg.tensor(X))
    store["layer/w"] = np.array([1, np.nan, 2], "float32")
    report = report_of(call, mg.tensor(X))
    assert (report.kind, report.name) == ("variable", "layer/w")


def test_a_result_no_replay_shows_is_an_error_all_the_same(monkeypatch):
    """An engine that reckons otherwise as a whole than node by node."""
    from monograph.examine import guard

    monkeypatch.setattr(guard, "walk", lambda graph, buffers, device: clean(graph, device))
    monkeypatch.setattr(guard, "together", lambda graph, buffers, device: clean(graph, device))

    def clean(graph, device):
        from monograph.examine.walk import Trail

        return Trail(graph, device)

    report = report_of(mg.jit(mg.log, engine="numpy"), mg.tensor([-1.0]))
    assert report.kind == "unknown" and report.bad == ("the result",)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_whole_graph_is_replayed_where_its_nodes_show_nothing(engine, monkeypatch):
    from monograph.examine import guard
    from monograph.examine.walk import Trail

    monkeypatch.setattr(guard, "walk", lambda graph, buffers, device: Trail(graph, device))
    for name in ("log_negative", "inf_minus_inf", "float16_overflow"):
        report = report_of(mg.jit(summed(FORWARD[name]), engine=engine), mg.tensor(X))
        assert (report.source.line, report.kind) == (LINES[name], "operation")
