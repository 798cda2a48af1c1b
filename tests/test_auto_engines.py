"""``engine="auto"`` among the real engines: the numbers are those of the engine that stays."""

import monograph as mg
import monograph_layers as nn
import numpy as np
import pytest
from monograph_train import Trainer, adam, mean_squared_error

pytest.importorskip("jax", reason="the XLA engine's library")
pytest.importorskip("torch", reason="the Torch engine's library")


def model(scope, x, training=False):
    h = nn.dropout(
        scope / "drop", nn.dense(scope / "in", x, 8, activation="relu"), 0.3, training=training
    )
    return nn.dense(scope / "out", h, 1)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, 4)).astype("float32")
    return x, (x[:, :1] * 2).astype("float32")


def trained(engine, data):
    trainer = Trainer(model, mean_squared_error, adam(1e-2), engine=engine, seed=1)
    losses = [float(trainer.step(*data)["loss"]) for _ in range(4)]
    return losses, trainer.store


def test_a_trainer_gets_the_same_numbers_as_on_the_chosen_engine(data, tmp_path, monkeypatch):
    monkeypatch.setenv("MONOGRAPH_CACHE", str(tmp_path))
    losses, store = trained("auto", data)
    chosen = store["in/kernel"].engine
    assert chosen in [e.name for e in mg.engines()]
    same, other = trained(chosen, data)
    assert losses == same
    for path, value in other.numpy().items():
        np.testing.assert_array_equal(store[path].numpy(), value, err_msg=path)
    again, _ = trained("auto", data)  # now from the file
    assert again == losses
