"""Training: losses, optimizers, checkpoints and a `Trainer` that compiles the whole step."""

from .checkpoints import load_store, save_store
from .losses import accuracy, mean_squared_error, sparse_categorical_crossentropy
from .optimizers import adam, sgd
from .trainer import Epoch, Trainer, batches

__all__ = [
    "Epoch", "Trainer", "accuracy", "adam", "batches", "load_store", "mean_squared_error",
    "save_store", "sgd", "sparse_categorical_crossentropy",
]  # fmt: skip
