"""Training: losses, metrics, optimizers, checkpoints and a `Trainer` that compiles the whole step."""

from . import losses, metrics, optimizers, schedules, wrappers
from .checkpoints import load_store, save_store
from .datasets import Dataset, DatasetIterator
from .losses import mean_squared_error, sparse_categorical_crossentropy
from .metrics import Metric, accuracy, as_metric
from .optimizers import adam, adamw, sgd
from .trainer import Epoch, Trainer, batches

__all__ = [
    "Dataset", "DatasetIterator", "Epoch", "Metric", "Trainer", "accuracy", "adam", "adamw", "as_metric", "batches", "load_store",
    "losses", "mean_squared_error", "metrics", "optimizers", "save_store", "schedules", "sgd",
    "sparse_categorical_crossentropy", "wrappers",
]  # fmt: skip
