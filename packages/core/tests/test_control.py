"""Control flow against closed forms and plain Python loops."""

import monograph as mg
import numpy as np
import pytest
from monograph.errors import (
    ArgumentError,
    DTypeError,
    MonographError,
    NotDifferentiable,
    TraceError,
)


def recurrence(x, w):
    return mg.sum(mg.scan(lambda a, s: (a * s * w, a + s), mg.tensor(1.0), x)[1])


def by_hand(x, w):
    a, total = 1.0, 0.0
    for s in x:
        total, a = total + a + s, a * s * w
    return total


def central(f, x, h=1e-6):
    return (f(x + h) - f(x - h)) / (2 * h)


def test_scan_and_its_gradient_agree_with_a_python_loop():
    x, w = np.array([1.0, 2.0, 3.0]), np.array(0.5)
    f = lambda x, w: mg.sum(
        mg.scan(lambda a, s: (a * s * w, a + s), mg.astype(1.0, "float64"), x)[1]
    )
    assert mg.jit(f)(x, w).item() == pytest.approx(by_hand(x, 0.5))
    gx, gw = mg.grad(f, (0, 1))(x, w)
    assert gw.item() == pytest.approx(central(lambda v: by_hand(x, v), 0.5), rel=1e-6)
    for i in range(3):
        bump = lambda v, i=i: by_hand(np.where(np.arange(3) == i, v, x), 0.5)
        assert gx.numpy()[i] == pytest.approx(central(bump, x[i]), rel=1e-6)
    second = mg.grad(lambda w: mg.grad(f, 1)(x, w))(w).item()
    assert second == pytest.approx(
        central(lambda v: mg.grad(f, 1)(x, np.array(v)).item(), 0.5), rel=1e-5
    )


def test_reversed_scan_runs_from_the_end():
    _, ys = mg.scan(
        lambda c, x: (c + x, c), mg.tensor(0.0), mg.tensor([1.0, 2.0, 4.0]), reverse=True
    )
    assert ys.tolist() == [6.0, 4.0, 0.0]


def test_scan_history_is_dropped_when_no_gradient_is_asked():
    f = lambda x: mg.scan(lambda c, v: (c * v, c), mg.tensor(1.0), x)[0]
    (scan,) = [n for n in mg.trace(f, mg.Spec((3,))).nodes if n.op.name == "scan"]
    assert not scan.attrs["history"] and len(scan.outputs) == 1


def test_cond_takes_one_branch_and_only_it_counts_in_the_gradient():
    f = lambda x: mg.cond(x > 0, lambda v: v * v, lambda v: -v, x)
    assert mg.grad(f)(mg.tensor(3.0)).item() == 6.0
    assert mg.grad(f)(mg.tensor(-3.0)).item() == -1.0
    closed = mg.grad(lambda w: mg.cond(w > 0, lambda: w * 2.0, lambda: w * 5.0))
    assert closed(mg.tensor(1.0)).item() == 2.0


@pytest.mark.parametrize("index, want", [(-1, 9.0), (0, 6.0), (1, 9.0), (5, 9.0)])
def test_switch_out_of_range_takes_the_last_branch(index, want):
    branches = [lambda v: v + v, lambda v: v * v]
    assert mg.switch(mg.tensor(index), branches, mg.tensor(3.0)).item() == want


def test_while_loop_runs_and_says_it_has_no_gradient():
    f = lambda x: mg.while_loop(lambda v: v < 100.0, lambda v: v * x, x)
    assert mg.jit(f)(mg.tensor(3.0)).item() == 243.0
    with pytest.raises(NotDifferentiable, match=r"test_control.py:\d+: while has no gradient"):
        mg.grad(f)(mg.tensor(3.0))


def test_checkpoint_gives_the_same_gradients_to_second_order():
    f = mg.checkpoint(lambda v: mg.sin(v) * v)
    x = 0.7
    got = mg.grad(f)(np.array(x)).item()
    assert got == pytest.approx(np.cos(x) * x + np.sin(x))
    second = mg.grad(mg.grad(f))(np.array(x)).item()
    assert second == pytest.approx(2 * np.cos(x) - x * np.sin(x))


def test_custom_vjp_is_used_instead_of_the_derivative():
    @mg.custom_vjp
    def f(x):
        return x * x

    f.defvjp(lambda x: (x * x, x), lambda x, g: (g * x * 10.0,))
    assert f(mg.tensor(3.0)).item() == 9.0
    assert mg.grad(lambda x: f(x))(mg.tensor(3.0)).item() == 30.0


def test_jvp_jacobian_and_hessian_agree_with_closed_forms():
    x = np.array([1.0, 2.0, 3.0])
    _, dot = mg.jvp(lambda v: mg.exp(v) * v, (x,), (np.array([1.0, 0.0, 2.0]),))
    np.testing.assert_allclose(dot.numpy(), np.exp(x) * (1 + x) * [1, 0, 2])
    np.testing.assert_allclose(
        mg.jacobian(lambda v: mg.cumulative_sum(v * v))(x).numpy(), np.tril(np.ones((3, 3))) * 2 * x
    )
    np.testing.assert_allclose(mg.hessian(lambda v: mg.sum(v**3))(x).numpy(), np.diag(6 * x))


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda x: mg.cond(x, lambda: x, lambda: x), DTypeError, "0-d bool"),
        (lambda x: mg.cond(mg.any(x > 0), lambda: x, lambda: (x, x)), ArgumentError, "returns"),
        (lambda x: mg.cond(mg.any(x > 0), lambda: x, lambda: mg.sum(x)), ArgumentError, "branch 1"),
        (
            lambda x: mg.scan(lambda c, v: (mg.stack([c, c]), v), mg.sum(x), x),
            ArgumentError,
            "leaf 0 of the carry",
        ),
        (lambda x: mg.scan(lambda c, v: c, mg.sum(x), x), ArgumentError, "(carry, y)"),
        (lambda x: mg.scan(lambda c, v: (c, v), x), ArgumentError, "one length"),
        (lambda x: 1 if x.sum() > 0 else 2, TraceError, "mg.where or mg.cond"),
        (lambda x: float(x.sum()), TraceError, "float()"),
        (lambda x: np.asarray(x), TraceError, "NumPy"),
    ],
)
def test_mistakes_are_found_while_tracing_at_the_users_line(call, error, words):
    with pytest.raises(error) as e:
        mg.trace(call, mg.Spec((3,)))
    assert "test_control.py:" in str(e.value) and words in str(e.value)
    assert isinstance(e.value, MonographError)


def test_a_value_kept_from_a_finished_trace_is_refused():
    kept = []
    mg.trace(lambda x: kept.append(x + 1) or x, mg.Spec((3,)))
    with pytest.raises(TraceError, match="trace that has ended"):
        mg.trace(lambda x: x + kept[0], mg.Spec((3,)))
    with pytest.raises(TraceError, match="trace has ended"):
        kept[0] + 1


TURNS = {
    # turn, and how many products its backward turn still adds up
    "a cell": (lambda w, h, x: mg.tanh(x + h @ w), 0),
    "another factor than is kept": (lambda w, h, x: mg.tanh(h) + x @ w, 1),
    "turned": (lambda w, h, x: mg.tanh(mg.matrix_transpose(w @ mg.matrix_transpose(h)) + x), 1),
    "twice": (lambda w, h, x: mg.tanh(h @ w) @ w + x, 1),
    "squared": (lambda w, h, x: mg.tanh(h @ (w @ w)) + x, 1),
    "elementwise": (lambda w, h, x: mg.tanh(h * w[0]) + x, 1),
}


@pytest.mark.parametrize("length", [0, 1, 5])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", TURNS)
def test_gradients_of_what_every_turn_multiplies(name, reverse, length):
    turn, adds = TURNS[name]
    rng = np.random.default_rng(0)
    w, h = rng.normal(size=(4, 4)) / 2, rng.normal(size=(3, 4))
    xs = rng.normal(size=(length, 3, 4))

    def looped(w, h, xs):
        step = lambda h, x: (turn(w, h, x),) * 2
        last, ys = mg.scan(step, h, xs, reverse=reverse)
        return mg.sum(mg.sin(last)) + mg.sum(mg.cos(ys))

    def unrolled(w, h, xs):
        out = mg.zeros((), dtype="float64")
        for i in range(length)[:: -1 if reverse else 1]:
            h = turn(w, h, xs[i])
            out = out + mg.sum(mg.cos(h))
        return mg.sum(mg.sin(h)) + out

    def second(fn):
        return mg.grad(lambda w: mg.sum(mg.sin(mg.grad(fn)(w, h, xs))))

    for got, want in zip(*[mg.grad(f, argnums=(0, 1, 2))(w, h, xs) for f in (looped, unrolled)]):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        second(looped)(w).numpy(), second(unrolled)(w).numpy(), rtol=1e-11, atol=1e-11
    )
    graph = mg.jit(mg.grad(looped)).trace(*map(mg.Spec.of, (w, h, xs)))
    *_, loop = [n for n in graph.nodes if n.op.name == "scan"]
    kernels = [v for v in loop.inputs if v.spec is mg.Spec.of(w)]
    assert len(kernels) == 1 + adds  # the kernel itself, and the sum so far
