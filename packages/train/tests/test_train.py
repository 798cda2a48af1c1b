"""Optimizers against torch, checkpoints, the Trainer."""

import io

import monograph as mg
import numpy as np
import pytest
from monograph.errors import ArgumentError, FileFormatError
from monograph_train import (
    Trainer,
    accuracy,
    adam,
    load_store,
    save_store,
    sgd,
    sparse_categorical_crossentropy,
)
from rich.console import Console

torch = pytest.importorskip("torch", reason="torch.optim is the reference")


def linear(scope, x, training=False):
    return x @ scope.parameter("w", (3, 2), 0.5) + scope.parameter("b", (2,), 0.0)


@pytest.mark.parametrize(
    "ours, theirs",
    [
        (lambda: adam(0.05), lambda p: torch.optim.Adam(p, 0.05)),
        (lambda: sgd(0.1), lambda p: torch.optim.SGD(p, 0.1)),
        (lambda: sgd(0.1, 0.9), lambda p: torch.optim.SGD(p, 0.1, 0.9)),
        (lambda: sgd(0.1, 0.9, True), lambda p: torch.optim.SGD(p, 0.1, 0.9, nesterov=True)),
    ],
)
@pytest.mark.parametrize("engine", ["numpy", "xla", "torch"])
def test_twenty_steps_agree_with_torch(engine, ours, theirs):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 3)).astype("float32"), rng.integers(0, 2, 8)
    t = Trainer(linear, sparse_categorical_crossentropy, ours(), engine=engine)
    w = torch.full((3, 2), 0.5, requires_grad=True)
    b = torch.zeros(2, requires_grad=True)
    reference = theirs([b, w])
    for _ in range(20):
        t.step(x, y)
        reference.zero_grad()
        torch.nn.functional.cross_entropy(torch.tensor(x) @ w + b, torch.tensor(y)).backward()
        reference.step()
    np.testing.assert_allclose(t.store["w"].numpy(), w.detach().numpy(), rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(t.store["b"].numpy(), b.detach().numpy(), rtol=2e-6, atol=2e-6)


def test_fit_learns_reports_and_repeats_exactly():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3)).astype("float32")
    y = (x[:, 0] > 0).astype("int64")
    runs = []
    for _ in range(2):
        out = io.StringIO()
        t = Trainer(linear, sparse_categorical_crossentropy, adam(0.05), [accuracy], engine="numpy")
        history = t.fit(x, y, epochs=3, batch_size=32, validation=(x, y), console=Console(file=out))
        runs.append((t.store["w"].numpy(), history[-1].metrics["val_accuracy"]))
    assert runs[0][1] > 0.95 and (runs[0][0] == runs[1][0]).all()
    assert out.getvalue().count("epoch") == 3
    right = (t.predict(x).numpy().argmax(-1) == y).mean()
    assert t.evaluate(x, y)["accuracy"] == pytest.approx(right)
    with pytest.raises(ArgumentError, match="got 0 and 0"):
        t.fit(x[:0], y[:0])


def test_a_checkpoint_reads_back_and_damage_is_noticed(tmp_path):
    store = mg.Store(seed=4)
    store.add("layer/w", np.arange(6, dtype="float32").reshape(2, 3))
    store.add("count", np.int64(3), trainable=False)
    save_store(store, tmp_path / "c.safetensors")
    again = load_store(tmp_path / "c.safetensors")
    assert again.seed == 4 and again.trainable == ["layer/w"] and again["count"].item() == 3
    np.testing.assert_array_equal(again["layer/w"].numpy(), store["layer/w"].numpy())
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]
    data = (tmp_path / "c.safetensors").read_bytes()
    (tmp_path / "c.safetensors").write_bytes(data[:-5])
    with pytest.raises(FileFormatError, match="damaged"):
        load_store(tmp_path / "c.safetensors")
