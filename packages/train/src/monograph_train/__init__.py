"""Training: losses, metrics, optimizers, data, checkpoints and a `Trainer` that compiles the whole step."""

from . import callbacks, losses, metrics, optimizers, schedules, wrappers
from .callbacks import Callback, EarlyStopping, LambdaCallback
from .checkpoint import Checkpoint, average, load_checkpoint, save_checkpoint
from .checkpoints import Checkpoints
from .datasets import Dataset
from .logs import JSONLogger, TensorBoard
from .losses import mean_squared_error, sparse_categorical_crossentropy
from .metrics import Metric, accuracy, as_metric
from .optimizers import adam, adamw, sgd
from .plots import LivePlot, plot
from .run import Diverged, Epoch, History, Run
from .summary import summary
from .trainer import Trainer

__all__ = [
    "Callback", "Checkpoint", "Checkpoints", "Dataset", "Diverged",
    "EarlyStopping", "Epoch", "History", "JSONLogger", "LambdaCallback", "LivePlot", "Metric",
    "Run", "TensorBoard", "Trainer", "accuracy", "adam", "adamw", "as_metric", "average",
    "callbacks", "load_checkpoint", "losses", "mean_squared_error", "metrics",
    "optimizers", "plot", "save_checkpoint", "schedules", "sgd",
    "sparse_categorical_crossentropy", "summary", "wrappers",
]  # fmt: skip
