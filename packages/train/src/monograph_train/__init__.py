"""Training: losses, metrics, optimizers, checkpoints and a `Trainer` that compiles the whole step."""

from . import losses, metrics, optimizers, schedules, wrappers
from .checkpoints import Checkpoint, Checkpoints, average, load_checkpoint, save_checkpoint
from .datasets import Dataset, DatasetIterator
from .losses import mean_squared_error, sparse_categorical_crossentropy
from .metrics import Metric, accuracy, as_metric
from .optimizers import adam, adamw, sgd
from .tensorfile import StorageError, load_safetensors
from .trainer import Epoch, Trainer, batches

__all__ = [
    "Checkpoint", "Checkpoints", "Dataset", "DatasetIterator", "Epoch", "Metric", "StorageError",
    "Trainer", "accuracy", "adam", "adamw", "as_metric", "average", "batches", "load_checkpoint",
    "load_safetensors", "losses", "mean_squared_error", "metrics", "optimizers", "save_checkpoint",
    "schedules", "sgd", "sparse_categorical_crossentropy", "wrappers",
]  # fmt: skip
