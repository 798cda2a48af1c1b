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
