"""Training: losses, optimizers, checkpoints and a `Trainer` that compiles the whole step."""

from . import losses, metrics, optimizers
from .checkpoints import load_store, save_store
from .losses import mean_squared_error, sparse_categorical_crossentropy
from .metrics import Metric, accuracy, as_metric
from .optimizers import adam, sgd
from .trainer import Epoch, Trainer, batches

__all__ = [
    "Epoch", "Metric", "Trainer", "accuracy", "adam", "as_metric", "batches", "load_store",
    "mean_squared_error", "save_store", "sgd", "sparse_categorical_crossentropy",
]  # fmt: skip
