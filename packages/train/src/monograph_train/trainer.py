"""`Trainer`: fit, evaluate, predict; and the step they run, for people with a loop of their own."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import monograph as mg
import numpy as np
from monograph import guarding
from monograph.tracing import in_scope

from . import wrappers
from .callbacks import Callback
from .checkpoints import Checkpoints
from .datasets import Dataset
from .losses import check_labels
from .losses._pair import labels_seen
from .metrics import Metric, as_metric
from .optimizers import Optimizer, adam
from .progress import Progress
from .run import History, Run, as_dataset, parts
from .saving import SaveCheckpoints
from .totals import Totals

if TYPE_CHECKING:
    from rich.console import Console

_NO_GUARD = contextlib.nullcontext()


class Trainer:
    """Trains ``model(scope, x)`` in one compiled step: forward, backward, update, metrics.

    Args:
        model: a function of a scope and inputs; told ``training=`` if it takes that.
        loss: ``(y_true, y_pred) -> a number per sample``, such as those of `monograph_train.losses`.
        optimizer: from `monograph_train.optimizers`; Adam when None.
        metrics: per-sample functions like the loss, or `Metric` records.
        store: the variables; a new one with ``seed`` when None.
        seed: of first values, dropout, and the order of arrays given to `fit`.
        engine: where to run; None follows `mg.engine`.
        policy: dtypes, such as `monograph_dtypes.mixed_bfloat16`; see `Scope.with_policy`.
        loss_scale: such as `monograph_dtypes.DynamicLossScale()`, which float16 needs.
        average: keep running means of the parameters with this decay, such as 0.99, and evaluate and
            predict with them (`wrappers.average`, around the optimizer; with `wrappers.accumulate`
            put it inside that by hand); None does not.
        nan_guard: True or ``"skip"``: `mg.nan_guard` around each training and evaluation step. A step
            that is skipped leaves the variables alone and does not count in the epoch's metrics.

    >>> import numpy as np
    >>> from monograph_train import Trainer, mean_squared_error, sgd
    >>> def line(scope, x):
    ...     return x * scope.parameter("slope", (), 0.0)
    >>> x = np.linspace(0, 1, 64, dtype="float32")
    >>> trainer = Trainer(line, mean_squared_error, sgd(1.0), engine="numpy")
    >>> history = trainer.fit((x, 3 * x), epochs=20, progress=False)
    >>> round(trainer.store["slope"].item(), 2)
    3.0
    """

    def __init__(
        self, model: Callable, loss: Callable, optimizer: Optimizer | None = None,
        metrics: Sequence[Callable | Metric] = (), *, store: mg.Store | None = None, seed: int = 0,
        engine: Any = None, policy: Any = None, loss_scale: Any = None,
        average: float | None = None, nan_guard: bool | str = False,
    ):  # fmt: skip
        self.model, self.loss, self.optimizer = model, loss, optimizer or adam()
        if average is not None:
            self.optimizer = wrappers.average(self.optimizer, average)
        self.average = average
        self.metrics = [as_metric(m) for m in metrics]
        names = ["loss", *[m.name for m in self.metrics]]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise mg.errors.ArgumentError(
                f"several metrics are called {', '.join(twice)}; give each a name of its own"
            )
        self.store = mg.Store(seed) if store is None else store
        self.seed, self.engine, self.policy, self.loss_scale = seed, engine, policy, loss_scale
        with mg.nan_guard(nan_guard):  # refuses another mode
            inside = guarding.current()
        self.nan_guard = nan_guard and (inside.mode if inside else "off")
        self._steps = 0
        self._takes_training = _takes(model, "training")
        self._classes: Any = None  # of the loss's labels; (0, None) where it takes none
        self._step = self.store.bind(self._train, engine)
        self._evaluate = self.store.bind(self._measure, engine)
        self._predict = self.store.bind(functools.partial(self._forward, training=False), engine)

    # inside the compiled step

    def _forward(self, scope: mg.Scope, x: Any, training: bool) -> Any:
        options = {"training": training} if self._takes_training else {}
        return self.model(scope.with_policy(self.policy) if self.policy else scope, x, **options)

    def _loss_of(self, scope: mg.Scope, y: Any, y_pred: Any, weight: Any) -> Any:
        with labels_seen() as seen, in_scope("loss"):
            each = self.loss(y, y_pred)
        self._classes = seen[0] if seen else (0, None)
        if weight is not None:
            each = each * mg.reshape(weight, (*weight.shape, *[1] * (each.ndim - weight.ndim)))
        # as Keras: over the number of samples, not over the sum of weights
        return sum(scope.losses, mg.mean(each) if each.ndim else each)

    def _train(self, scope: mg.Scope, x: Any, y: Any, weight: Any) -> tuple[dict, dict]:
        scaling = self.loss_scale

        def forward() -> Any:
            y_pred = self._forward(scope, x, training=True)
            loss = self._loss_of(scope, y, y_pred, weight)
            return (scaling.scale(scope, loss) if scaling else loss), (loss, y_pred)

        (_, (loss, y_pred)), grads = scope.value_and_grad(forward, has_aux=True)()
        if not grads:
            raise mg.errors.ArgumentError("the model reads no trainable variable: nothing to train")
        update = functools.partial(self.optimizer, scope / "optimizer")
        with in_scope("optimizer"):
            if scaling:
                scaling.apply(scope, grads, update)
            else:
                update(grads)
        return self._report(loss, y, y_pred, weight)

    def _measure(self, scope: mg.Scope, x: Any, y: Any, weight: Any) -> tuple[dict, dict]:
        y_pred = self._forward(scope, x, training=False)
        return self._report(self._loss_of(scope, y, y_pred, weight), y, y_pred, weight)

    def _report(self, loss: Any, y: Any, y_pred: Any, weight: Any) -> tuple[dict, dict]:
        """What `step` returns: this batch's values; and the sums of which epochs' are made."""
        with in_scope("metrics"):
            states = {m.name: m.measure(y, y_pred, weight) for m in self.metrics}
            values = {m.name: m.result(states[m.name]) for m in self.metrics}
        return {"loss": loss, **values}, states

    # outside

    def step(self, x: Any, y: Any, sample_weight: Any = None) -> dict[str, mg.Tensor]:
        """One update on one batch; its loss and metrics of before the update, not waited for.

        Raises:
            ArgumentError: labels on the host that are no class of the model.
            NonFinite: with ``nan_guard=True``; the variables are as they were.
        """
        self._check(x, y, sample_weight)
        self._steps += 1
        with self._guarded("training step", self._steps):
            return self._step(x, y, sample_weight)[0]

    def _guarded(self, what: str, number: int) -> Any:
        """The guard asked for here, or the one around, told what runs."""
        mode, around = self._guard_mode(), guarding.current()
        if not mode:
            return _NO_GUARD
        folder = around.folder if around else None
        return mg.nan_guard(mode, folder, f"{what} {number}")

    def _guard_mode(self) -> Any:
        """How steps are guarded here: as was asked for, else as around."""
        around = guarding.current() if guarding.on else None
        return self.nan_guard or (around and around.mode)

    def _advance(self, totals: Totals, x: Any, y: Any, weight: Any, number: int) -> None:
        """`step`, its sums added to ``totals``."""
        self._check(x, y, weight)
        with self._guarded("training step", number):
            values, states = self._step(x, y, weight)
        totals.add(values["loss"], rows(y), states)

    def _check(self, x: Any, y: Any, weight: Any) -> None:
        """Labels out of range would train on nonsense: found on the host, before anything changes."""
        if type(y) is not np.ndarray or y.dtype.kind not in "iu":
            return
        if self._classes is None:  # tracing tells
            self._evaluate.trace(x, y, weight)
        classes, ignored = self._classes
        if classes:
            check_labels(y, classes, ignored)

    def fit(
        self, data: Any, epochs: int = 1, *, batch_size: int = 32, validation: Any = None,
        callbacks: Sequence[Callback] = (), checkpoints: Checkpoints | str | os.PathLike | None = None,
        checkpoint_every: int | None = None, progress: bool | Console = True,
    ) -> History:  # fmt: skip
        """Train for ``epochs`` passes over the data.

        Args:
            data: a `Dataset` of batches ``(x, y)`` or ``(x, y, sample_weight)``; or arrays ``(x, y)``,
                which are shuffled anew in each epoch; or any iterable of batches.
            batch_size: for arrays.
            validation: the same, evaluated after each epoch and reported as ``val_...``.
            callbacks: see `monograph_train.callbacks`.
            checkpoints: a folder, or `Checkpoints` with what to keep. Saved after each epoch, and
                every ``checkpoint_every`` steps; when there are some already, training goes on
                from the newest, to the same end as if it had never stopped.
            progress: a bar on a terminal, elsewhere a line an epoch; on this console if one is given.

        Returns:
            The epochs' metrics, those of before a resumption included.

        Raises:
            ArgumentError: no samples, labels that are no class of the model.
            Diverged: the loss or a variable became NaN; the checkpoints are from before.
            NonFinite: with ``nan_guard=True``, in the step that made it; the variables are as they were.
        """
        if epochs < 0:
            raise mg.errors.ArgumentError(f"epochs={epochs} must not be negative")
        train = as_dataset(data, batch_size, self.seed)
        held_out = None if validation is None else as_dataset(validation, batch_size)
        more: list[Callback] = []
        if progress is not False:
            more.append(Progress(None if isinstance(progress, bool) else progress))
        saving = None
        if checkpoints is not None:
            keeper = (
                checkpoints if isinstance(checkpoints, Checkpoints) else Checkpoints(checkpoints)
            )
            saving = SaveCheckpoints(keeper, checkpoint_every)
            more.append(saving)
        run = Run(self, train, epochs, held_out, [*callbacks, *more])
        if saving is not None:
            saving.resume(run)
        return run.go()

    def evaluate(self, data: Any, *, batch_size: int = 256) -> dict[str, Any]:
        """The loss and metrics over all samples, in inference mode.

        Raises:
            ArgumentError: no samples.
        """
        totals, seen = self._totals(), False
        with self._for_inference():
            for i, item in enumerate(as_dataset(data, batch_size), 1):
                x, y, weight = parts(item)
                self._check(x, y, weight)
                with self._guarded("evaluation, batch", i):
                    values, states = self._evaluate(x, y, weight)
                totals.add(values["loss"], rows(y), states)
                seen = True
        if not seen:
            raise mg.errors.ArgumentError("evaluate was given no samples")
        return totals.results()

    def _for_inference(self) -> Any:
        """With the averages in place, where they are kept and there are some already."""
        if self.average is None or "optimizer/averages" not in self.store:
            return contextlib.nullcontext()
        return wrappers.swapped(self.store)

    def _totals(self) -> Totals:
        skips = self.loss_scale is not None or self._guard_mode() == "skip"
        return Totals(self.metrics, skips)

    def predict(self, x: Any, *, batch_size: int = 256) -> Any:
        """The model's outputs for every row of ``x``, as NumPy arrays, in inference mode."""
        data = x if isinstance(x, Dataset) else Dataset.from_arrays(x).batch(batch_size)
        with self._for_inference():
            outs = [mg.tree.map(lambda v: v.numpy(), self._predict(batch)) for batch in data]
        if not outs:
            raise mg.errors.ArgumentError("predict was given no samples")
        return mg.tree.map(lambda *vs: np.concatenate(vs), outs[0], *outs[1:])

    def reset(self, seed: int) -> None:
        """Start over from another seed, as a new `Trainer` would, with the steps that are compiled.

        Raises:
            VariableError: see `mg.Store.reset`.
        """
        self.store.reset(seed)
        self.seed, self._steps = seed, 0

    def summary(self, x: Any) -> None:
        """Print the table of `monograph_train.summary` for inputs like ``x``."""
        from rich.console import Console

        from .summary import summary

        Console().print(summary(self._predict, x))


def rows(y: Any) -> int:
    """How many samples a batch has."""
    return mg.tree.leaves(y)[0].shape[0]


def _takes(fn: Callable, name: str) -> bool:
    try:
        found = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(p.name == name or p.kind is p.VAR_KEYWORD for p in found)
