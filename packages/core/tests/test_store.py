"""Stores, scopes and bound models."""

import monograph as mg
import numpy as np
import pytest
from monograph.errors import VariableError


def model(scope, x):
    w = scope.parameter("w", x.shape, 1.0)
    n = scope.variable("n", (), 0.0)
    n.assign(n.value + 1.0)
    return mg.sum(x * w * w)


def step(scope, x):
    loss, grads = scope.value_and_grad(model)(scope, x)
    for path, g in grads.items():
        scope.assign(path, scope.read(path) - g * 0.1)
    return loss


def test_state_moves_on_and_gradients_are_by_path():
    store = mg.Store(seed=1)
    f, x = store.bind(step), mg.tensor([1.0, 2.0])
    assert f(x).item() == 3.0
    np.testing.assert_allclose(store["w"].numpy(), [0.8, 0.6], rtol=1e-6)
    assert f(x).item() == pytest.approx(0.64 + 2 * 0.36)
    assert store["n"].item() == 2.0
    assert list(store) == ["n", "w"] and store.trainable == ["w"]


def test_first_values_depend_on_seed_and_path_only():
    def two(scope, x):
        init = lambda key, shape, dtype: mg.random.normal(key, shape, dtype)
        return x * scope.parameter("a", x.shape, init) + scope.parameter("b", x.shape, init)

    stores = [mg.Store(s) for s in (0, 0, 1)]
    for s in stores:
        s.bind(two)(mg.zeros((5,)))
    a, b, c = (s["a"].numpy() for s in stores)
    assert (a == b).all() and (a != c).all() and (a != stores[0]["b"].numpy()).all()


def test_a_reset_store_is_a_new_one_of_the_seed_on_every_engine():
    def noisy(scope, x):
        w = scope.parameter("w", x.shape, lambda key, shape, dtype: mg.random.normal(key, shape))
        loss, _ = scope.value_and_grad(lambda: mg.sum(x * w + mg.random.normal(scope.key())))()
        n = scope.variable("n", (), 7, "int32")
        n.assign(n.value + 1)
        return loss

    x = np.ones(3, "float32")
    for engine in (e.name for e in mg.engines() if e.ok):
        store = mg.Store(seed=0)
        f = store.bind(noisy, engine)
        f(x), f(x)
        compiled = len(f._cache)
        store.reset(seed=5)
        new = mg.Store(seed=5)
        g = new.bind(noisy, engine)
        assert [f(x).item(), f(x).item()] == [g(x).item(), g(x).item()]
        assert len(f._cache) == compiled == 1
        for path, value in new.numpy().items():
            np.testing.assert_array_equal(store[path].numpy(), value)


def test_variables_that_were_given_their_values_cannot_be_reset():
    store = mg.Store()
    store["mean"] = np.zeros(2, "float32")

    def scaled(scope, x):
        return x * scope.starting({"scale": 2.0}).parameter("scale", ()) + scope.parameter("b", ())

    store.bind(scaled)(mg.tensor(1.0))
    with pytest.raises(VariableError, match="mean, scale: no initializer made them"):
        store.reset(seed=1)
    assert store.seed == 0 and store["scale"].item() == 2.0


def test_a_name_used_twice_is_an_error_unless_shared():
    twice = lambda scope, x: x * scope.parameter("w", ()) + scope.parameter("w", ())
    store = mg.Store()
    with pytest.raises(VariableError, match=r"test_store.py:\d+: variable 'w' is created twice"):
        store.bind(twice)(mg.tensor(1.0))
    assert len(store) == 0, "a failed trace leaves no variables behind"

    def shared(scope, x):
        s = scope.shared("both")
        return x * s.parameter("w", (), 2.0) + s.parameter("w", (), 2.0)

    assert store.bind(shared)(mg.tensor(3.0)).item() == 8.0


def test_mismatches_name_the_variable_and_both_specs():
    store = mg.Store()
    store.add("w", np.ones((2, 3), "float32"))
    with pytest.raises(
        VariableError, match=r"'w' is stored as float32\[2,3\], the model asks for float32\[4\]"
    ):
        store.bind(lambda scope, x: x * scope.parameter("w", (4,)))(mg.ones((4,)))
    with pytest.raises(VariableError, match="does not fit"):
        store["w"] = np.ones(3)
    with pytest.raises(VariableError, match="there is no variable 'v'"):
        store["v"]


def test_assigning_inside_a_loop_body_is_refused():
    def bad(scope, x):
        n = scope.variable("n", (), 0.0)

        def body(c, v):
            n.assign(c)
            return c, v

        return mg.scan(body, mg.sum(x), x)[0]

    with pytest.raises(VariableError, match="inside the body of a loop"):
        mg.Store().bind(bad)(mg.ones((3,)))


def test_what_was_read_never_changes():
    store = mg.Store()
    f = store.bind(step)
    f(mg.tensor([1.0, 2.0]))
    before = store["w"]
    kept = before.numpy().copy()
    f(mg.tensor([1.0, 2.0]))
    assert (before.numpy() == kept).all() and (store["w"].numpy() != kept).all()


def test_random_keys_move_on_and_repeat_with_the_seed():
    noise = lambda scope, x: x + mg.random.uniform(scope.key(), x.shape)
    runs = []
    for _ in range(2):
        f = mg.Store(3).bind(noise)
        runs.append([f(mg.zeros((4,))).tolist() for _ in range(2)])
    assert runs[0] == runs[1] and runs[0][0] != runs[0][1]


@pytest.mark.parametrize("pred, want", [(True, (3.0, 12.0, 5.0)), (False, (2.0, 4.0, 5.0))])
def test_a_conditional_assignment_happens_or_not(pred, want):
    def f(scope, x, yes):
        a, b = scope.variable("a", (), 2.0), scope.variable("b", (), 4.0)
        b.assign(b.value + 0.0)

        def body():
            c = scope.variable("c", (), 5.0)  # read first in here
            a.assign(a.value + 1.0)
            b.assign(b.value * a.value + x * c.value * 0)

        scope.cond(yes, body)
        return a.value, b.value, scope.read("c")

    store = mg.Store()
    got = store.bind(f)(mg.tensor(1.0), mg.tensor(pred))
    assert tuple(v.item() for v in got) == want
    assert tuple(store[p].item() for p in "abc") == want
    assert store.bind(lambda scope, x: (scope.cond(x > 0, lambda: None), x)[1])(mg.tensor(1.0)) == 1
    with pytest.raises(mg.errors.DTypeError, match=r"test_store.py:\d+: cond needs a 0-d bool"):
        store.bind(lambda scope, x: scope.cond(x, lambda: None))(mg.tensor(1.0))


class Halves:  # what a policy is to core: three dtypes
    param, compute, output = mg.float32, mg.float64, None


def test_parameters_follow_the_policy_and_the_transforms_of_their_scope():
    seen = []

    def f(scope, x):
        doubled = scope.with_policy(Halves).mapped(
            lambda s, name, v: v * s.parameter(name + "_scale", (), 2.0, regularizer=mg.abs)
        )
        w = (doubled / "layer").parameter("w", (3,), 1.5, regularizer=mg.sum)
        seen.append((w.dtype, len(scope.losses)))
        return mg.sum(w * x), sum(scope.losses)

    store = mg.Store()
    y, penalty = store.bind(f)(mg.ones(3, dtype="float64"))
    assert y.item() == 9.0 and penalty.item() == 6.5
    assert seen[0] == (mg.float64, 2)
    assert {p: store.spec(p).dtype for p in store} == {
        "layer/w": mg.float32, "layer/w_scale": mg.float32,
    }  # fmt: skip


def test_a_penalty_must_be_a_scalar_of_the_whole_function():
    store, x = mg.Store(), mg.ones(3)
    with pytest.raises(mg.errors.ArgumentError, match=r"test_store.py:\d+: add_loss needs a real"):
        store.bind(lambda scope, x: scope.add_loss(x))(x)
    inside = lambda scope, x: mg.scan(lambda c, v: (c, scope.add_loss(v)), 0.0, x)
    with pytest.raises(mg.errors.ArgumentError, match="inside the body of a loop"):
        store.bind(inside)(x)


def test_variables_of_a_model_are_planned_without_making_any():
    huge = 10**6

    def model(scope, x, deep=1):
        for i in range(deep):
            x = x @ (scope / str(i)).parameter("w", (huge, huge), init=mg.random.normal)
        count = scope.variable("count", (), 0, dtype="int32")
        count.assign(count.value + 1)
        return x

    found = mg.variables(model, mg.Spec((1, huge)), deep=2)
    square = mg.Spec((huge, huge))
    assert found == {"0/w": square, "1/w": square, "count": mg.Spec((), "int32")}
    with pytest.raises(mg.errors.ShapeError):
        mg.variables(model, mg.Spec((1, 3)))
    with pytest.raises(mg.errors.VariableError, match="'w', .*larger than any memory"):
        mg.variables(lambda scope: scope.parameter("w", (2**31, 2**31, 2**31)))
