"""The Trainer."""

import io

import numpy as np
import pytest
from monograph.errors import ArgumentError
from monograph_train import (
    Trainer,
    accuracy,
    adam,
    sparse_categorical_crossentropy,
)
from rich.console import Console


def linear(scope, x, training=False):
    return x @ scope.parameter("w", (3, 2), 0.5) + scope.parameter("b", (2,), 0.0)


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
