"""Generic tests over `monograph_layers.testing.EXAMPLES`: what every layer must do on every engine."""

import monograph as mg
import monograph_layers as nn
import numpy as np
import pytest
from monograph_layers.authoring import LAYERS
from monograph_layers.testing import (
    EXAMPLES,
    TOLERANCE,
    check_policy,
    check_precision,
    check_slopes,
    variables_for,
)

ENGINES = [e.name for e in mg.engines() if e.ok and e.name in ("numpy", "xla", "torch")]

on_every_engine = pytest.mark.parametrize("engine", ENGINES)


def every(examples=EXAMPLES):
    """Each example in inference, and in training where its layer makes a difference."""
    runs = [
        pytest.param(e, training, id=f"{e.name}-{'training' if training else 'inference'}")
        for e in examples
        for training in ((False, True) if e.asks_training else (False,))
    ]
    return pytest.mark.parametrize("example, training", runs)


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
    check_precision(example, engine, dtype, training)


@every([e for e in EXAMPLES if e.smooth])
@on_every_engine
def test_gradients_of_parameters_and_inputs_are_the_slopes(example, engine, training):
    check_slopes(example, engine, training)


@every([e for e in EXAMPLES if e.batched])
@on_every_engine
def test_an_empty_batch_is_fine_and_leaves_state_finite(example, engine, training):
    store = variables_for(example)
    want = [y.shape for y in store.bind(example.model(training), "numpy")(*example.draw())]
    before = store.numpy()
    got = store.bind(example.model(training), engine)(*example.draw(empty=True))
    assert [y.shape[1:] for y in got] == [s[1:] for s in want] and all(y.shape[0] == 0 for y in got)
    for path, value in before.items():
        if path != "random/state":
            np.testing.assert_array_equal(store[path].numpy(), value, err_msg=path)


@every()
@on_every_engine
def test_a_policy_decides_where_variables_are_kept_and_results_leave(example, engine, training):
    check_policy(example, engine, training)
