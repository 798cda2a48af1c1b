"""Generic tests over `monograph_gnn.testing.EXAMPLES`: what every layer must do on every engine."""

import monograph as mg
import monograph_gnn as gnn
import numpy as np
import pytest
from monograph_gnn.testing import EXAMPLES, GRAPHS
from monograph_layers.authoring import LAYERS
from monograph_layers.testing import (
    TOLERANCE,
    check_policy,
    check_precision,
    check_slopes,
    copied,
    loss_of,
    variables_for,
    widened,
)


def every(examples=EXAMPLES, train=True):
    """Each example in inference, and in training where its layer makes a difference."""
    runs = [
        pytest.param(e, training, id=f"{e.name}-{'training' if training else 'inference'}")
        for e in examples
        for training in ((False, True) if train and e.asks_training else (False,))
    ]
    return pytest.mark.parametrize("example, training", runs)


HERE = [e.name for e in mg.engines() if e.ok]
# one engine stands for all where what is tried is decided before an engine gets the graph
once = pytest.mark.parametrize("engine", ["numpy"])
# XLA compiles for a second what the others just run
but_xla = pytest.mark.parametrize("engine", [e for e in ("numpy", "torch") if e in HERE])
each = pytest.mark.parametrize("example", EXAMPLES, ids=[e.name for e in EXAMPLES])


def close(got, want, tolerance=1e-6):
    for a, b in zip(got, want, strict=True):
        a, b = a.numpy(), b.numpy()
        scale = max(1.0, np.abs(b).max(initial=0))
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale)


def test_every_layer_has_an_example_and_an_example_in_its_documentation():
    shown = {e.layer.__name__ for e in EXAMPLES}
    layers = {n: f for n, f in LAYERS.items() if f.__module__.startswith("monograph_gnn.")}
    assert set(layers) - shown == set(), "add them to monograph_gnn.testing.EXAMPLES"
    assert [n for n, f in layers.items() if ">>>" not in (f.__doc__ or "")] == []
    assert [n for n in layers if getattr(gnn, n, None) is not layers[n]] == [], "export them"
    names = [e.name for e in EXAMPLES]
    assert len(set(names)) == len(names), "give examples of one layer a note"


@every()
def test_outputs_and_new_state_are_those_of_float64(example, engine, training):
    check_precision(example, engine, "float32", training)


@every()
@but_xla
@pytest.mark.parametrize("dtype", [d for d in TOLERANCE if d != "float32"])
def test_so_are_they_in_16_bits(example, engine, training, dtype):
    check_precision(example, engine, dtype, training)


@every([e for e in EXAMPLES if e.smooth])
def test_gradients_of_parameters_and_inputs_are_the_slopes(example, engine, training):
    check_slopes(example, engine, training)


@each
@but_xla
@pytest.mark.parametrize("graph", ["without edges", "without nodes"])
def test_graphs_without_edges_or_nodes(example, engine, graph):
    """In inference and training, values and gradients are numbers; in results as NumPy's."""
    store = variables_for(example)
    there = example.on(GRAPHS[graph])
    inputs = there.draw()
    got, want = (store.bind(there.model(), e)(*inputs) for e in (engine, "numpy"))
    close(got, want, 1e-5)

    def slopes(scope, *inputs):
        return scope.value_and_grad(lambda: loss_of(there, True)(scope, *inputs))()

    if any(y.dtype.is_float for y in got):
        for value in mg.tree.leaves(store.bind(slopes, engine)(*inputs)):
            assert np.isfinite(value.numpy()).all()


@each
@once
def test_an_index_may_be_known(example, engine):
    store, inputs = variables_for(example), example.draw()
    flat, structure = mg.tree.flatten(inputs)
    floats = [x for x in flat if x.dtype == "float32"]

    def model(scope, *floats):  # integers and bools are constants of the graph
        rest = iter(floats)
        leaves = [next(rest) if x.dtype == "float32" else x for x in flat]
        return example.model()(scope, *mg.tree.unflatten(structure, leaves))

    close(store.bind(model, engine)(*floats), store.bind(example.model(), engine)(*inputs))


@but_xla
@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.prefix], ids=lambda e: e.name)
def test_padding_is_not_noticed(example, engine):
    """Results of what is real, and all gradients of them, are those without padding."""
    store, padded = variables_for(example), example.on(GRAPHS["padded"])
    want = store.bind(example.model(), engine)(*example.draw())
    lengths = [y.shape[0] for y in want]

    def slopes(scope, *inputs, of):
        def loss():
            out = [y[:n] for y, n in zip(of.model()(scope, *inputs), lengths)]
            return sum(
                (mg.sum(mg.sin(y)) for y in out if y.dtype.is_float), start=mg.zeros(())
            ), out

        (_, out), grads = scope.value_and_grad(loss, has_aux=True)()
        return out, grads

    run = lambda of: store.bind(lambda s, *xs: slopes(s, *xs, of=of), engine)(*of.draw())
    (got, got_grads), (want, want_grads) = run(padded), run(example)
    close(got, want)
    assert got_grads.keys() == want_grads.keys()
    close(got_grads.values(), want_grads.values(), 1e-5)


@every(train=False)
@but_xla
def test_kernels_in_c_give_the_same(example, engine, training, monkeypatch):
    store, inputs = copied(variables_for(example)), widened(example.draw())

    def run():
        model = example.model(training, "float64")
        return copied(store, store.numpy()).bind(model, engine)(*inputs)

    in_c = run()
    monkeypatch.setenv("MONOGRAPH_NATIVE", "0")
    close(in_c, run(), 1e-12)


@every()
@once
def test_a_policy_decides_where_variables_are_kept_and_results_leave(example, engine, training):
    check_policy(example, engine, training)
