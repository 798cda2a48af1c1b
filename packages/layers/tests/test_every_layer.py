"""Generic tests over `monograph_layers.testing.EXAMPLES`: what every layer must do on every engine."""

import monograph as mg
import monograph_layers as nn
import numpy as np
import pytest
from monograph_layers.authoring import LAYERS
from monograph_layers.testing import EXAMPLES

ENGINES = [e.name for e in mg.engines() if e.ok and e.name in ("numpy", "xla", "torch")]
TOLERANCE = {"float32": 2e-5, "bfloat16": 4e-2, "float16": 5e-3}

on_every_engine = pytest.mark.parametrize("engine", ENGINES)


def every(examples=EXAMPLES):
    """Each example in inference, and in training where its layer makes a difference."""
    runs = [
        pytest.param(e, training, id=f"{e.name}-{'training' if training else 'inference'}")
        for e in examples
        for training in ((False, True) if e.asks_training else (False,))
    ]
    return pytest.mark.parametrize("example, training", runs)


def store_for(example, dtype="float32"):
    """Variables away from their first values, which are zeros and ones too often; floats in dtype."""
    made = mg.Store(seed=3)
    made.bind(example.model(False, dtype), "numpy").trace(*example.draw(dtype))
    made.bind(example.model(True, dtype), "numpy").trace(*example.draw(dtype))
    rng = np.random.default_rng(1)
    out = mg.Store(seed=3)
    for path, value in made.numpy().items():
        if made.spec(path).dtype.is_float:
            value = (value + rng.uniform(0.1, 0.5, value.shape)).astype(value.dtype)
        out.add(path, mg.tensor(value), trainable=path in made.trainable)
    return out


def in_float64(store):
    out = mg.Store(seed=3)
    for path, value in store.numpy().items():
        wide = value.astype("float64") if store.spec(path).dtype.is_float else value
        out.add(path, wide, trainable=path in store.trainable)
    return out


def test_every_layer_has_an_example_and_an_example_in_its_documentation():
    shown = {e.layer.__name__ for e in EXAMPLES}
    layers = {n: f for n, f in LAYERS.items() if f.__module__.startswith("monograph_layers.")}
    assert set(layers) - shown == set(), "add them to monograph_layers.testing.EXAMPLES"
    assert [n for n, f in layers.items() if ">>>" not in (f.__doc__ or "")] == []
    assert [n for n in layers if getattr(nn, n, None) is not layers[n]] == [], "export them"
    names = [e.name for e in EXAMPLES]
    assert len(set(names)) == len(names), "give examples of one layer a note"


@every()
@on_every_engine
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_outputs_and_new_state_are_those_of_float64(example, engine, training, dtype):
    store = store_for(example, dtype)
    exact = in_float64(store)
    inputs = example.draw(dtype)
    wide = [x.astype("float64") if mg.Spec.of(x).dtype.is_float else x for x in inputs]
    got = store.bind(example.model(training, dtype), engine)(*inputs)
    want = exact.bind(example.model(training, "float64"), "numpy")(*wide)
    tolerance = TOLERANCE[dtype]
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape and (b.dtype is not mg.float64 or a.dtype.name == dtype)
        x, y = a.numpy().astype("float64"), b.numpy().astype("float64")
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * max(1, np.abs(y).max()))
    for path in store:
        np.testing.assert_allclose(
            store[path].numpy().astype("float64"), exact[path].numpy().astype("float64"),
            rtol=tolerance, atol=tolerance, err_msg=path,
        )  # fmt: skip


def loss_of(example, training):
    def loss(scope, *inputs):
        out = [y for y in example.model(training, "float64")(scope, *inputs) if y.dtype.is_float]
        return sum(mg.sum(mg.sin(y + 0.5)) for y in out)

    return loss


@every([e for e in EXAMPLES if e.smooth])
@on_every_engine
def test_gradients_of_parameters_and_inputs_are_the_slopes(example, engine, training):
    store, rng = in_float64(store_for(example)), np.random.default_rng(2)
    inputs = [x.astype("float64") if x.dtype == "float32" else x for x in example.draw()]
    floating = [i for i, x in enumerate(inputs) if x.dtype == "float64"]
    start = store.numpy()
    paths = store.trainable
    loss = loss_of(example, training)

    fresh = lambda: rebuilt(start, store)
    direction = {p: rng.normal(size=start[p].shape) for p in paths}
    towards = [rng.normal(size=inputs[i].shape) for i in floating]

    def at(step):
        s = fresh()
        for p in paths:
            s[p] = start[p] + step * direction[p]
        given = list(inputs)
        for i, d in zip(floating, towards):
            given[i] = inputs[i] + step * d
        return s.bind(loss, "numpy")(*given).item()

    def slope(scope, *xs):
        for i in floating:
            scope.parameter(f"probe/{i}", inputs[i].shape, 0.0, "float64")

        def moved():
            given = list(xs)
            for i in floating:
                given[i] = given[i] + scope.read(f"probe/{i}")
            return loss(scope, *given)

        _, grads = scope.value_and_grad(moved)()
        total = sum(mg.sum(grads[p] * direction[p]) for p in paths if p in grads)
        return total + sum(mg.sum(grads[f"probe/{i}"] * d) for i, d in zip(floating, towards))

    got = fresh().bind(slope, engine)(*inputs).item()
    h = 1e-5
    want = (at(h) - at(-h)) / (2 * h)
    assert got == pytest.approx(want, rel=1e-6, abs=1e-7 * max(1.0, abs(want)))


def rebuilt(values, like):
    out = mg.Store(seed=like.seed)
    for path, value in values.items():
        out.add(path, value, trainable=path in like.trainable)
    return out


@every([e for e in EXAMPLES if e.batched])
@on_every_engine
def test_an_empty_batch_is_fine_and_leaves_state_finite(example, engine, training):
    store = store_for(example)
    want = [y.shape for y in store.bind(example.model(training), "numpy")(*example.draw())]
    before = store.numpy()
    got = store.bind(example.model(training), engine)(*example.draw(empty=True))
    assert [y.shape[1:] for y in got] == [s[1:] for s in want] and all(y.shape[0] == 0 for y in got)
    for path, value in before.items():
        if path != "random/state":
            np.testing.assert_array_equal(store[path].numpy(), value, err_msg=path)


class Mixed:
    """What `monograph_dtypes.mixed_bfloat16` is; layers' own tests need no other package for it."""

    param, compute, output = mg.float32, mg.dtypes.dtype("bfloat16"), mg.float32


@every()
@on_every_engine
def test_a_policy_decides_where_variables_are_kept_and_results_leave(example, engine, training):
    store = mg.Store(seed=3)
    model = example.model(training)
    out = store.bind(lambda scope, *xs: model(scope.with_policy(Mixed), *xs), engine)(
        *example.draw()
    )
    assert {y.dtype for y in out if y.dtype.is_float} <= {mg.float32}
    assert {store.spec(p).dtype.name for p in store if store.spec(p).dtype.is_float} <= {"float32"}
