"""The example engine, found through its entry point and run by the kit."""

import monograph as mg
import numpy as np
from monograph.engine import get_engine
from monograph.testing import assert_conforms


def test_it_is_found_and_runs_a_gradient():
    f = mg.grad(lambda x: mg.sum(mg.tanh(x) + x))
    got = f.on("example")(np.array([0.5, -1.0])).numpy()
    np.testing.assert_allclose(got, 2 - np.tanh([0.5, -1.0]) ** 2)
    assert get_engine("example").counts["tanh"] == 1


def test_the_kit_passes():
    assert_conforms("example", quick=True)


def test_an_op_from_outside_core_runs_with_a_gradient():
    @mg.op(infer=lambda x: x, vjp=lambda g, y, x: (2 * x * g,))
    def squared_outside(x):
        """x * x."""
        return x * x

    x = np.array([0.5, -1.0], "float32")
    counts = get_engine("example").counts
    np.testing.assert_array_equal(mg.jit(squared_outside).on("example")(x).numpy(), x * x)
    np.testing.assert_array_equal(
        mg.grad(lambda x: mg.sum(squared_outside(x))).on("example")(x).numpy(), 2 * x
    )
    assert counts["squared_outside"] == 1
