"""Papers are sorted by topic from their words and citations, as in the papers on GCN and GAT.

Cora or Citeseer with the split of Planetoid (Yang et al. 2016): 20 papers of each topic to learn from, 500
to choose by, 1000 to test. Settings are those of Kipf and Welling (2017) and Veličković et al. (2018); of
both, the epoch is kept that was best on the validation papers, by loss and by accuracy, as in the latter.

    python examples/cora.py [--dataset cora] [--models gcn gat] [--engines xla torch] [--seeds 20]

The folder that holds cora.npz and citeseer.npz is ``$MONOGRAPH_DATA/planetoid``.
"""

import argparse
import math
import os
import sys
import time
from functools import partial
from pathlib import Path

import monograph as mg
import monograph_gnn as gnn
import monograph_layers as nn
import monograph_train as train
import numpy as np
from monograph_gnn.datasets import planetoid
from monograph_layers.activations import elu
from monograph_layers.regularizers import l2
from rich.console import Console
from rich.progress import track
from rich.table import Table

FOLDER = Path(os.environ.get("MONOGRAPH_DATA", Path(__file__).parents[2] / "shared" / "data"))


def drop(scope, x, rate, training):
    """Dropout; of a sparse matrix its entries, as zeros stay zeros."""
    each = partial(nn.dropout, scope, rate=rate, training=training)
    return x.map(each) if isinstance(x, gnn.SparseMatrix) else each(x)


def gcn(scope, inputs, classes, training=False):
    """Logits [rows, classes] of some papers, by two graph convolutions over all."""
    (index, weights), words, rows = inputs
    conv = partial(gnn.gcn_conv, edge_weight=weights, normalize=False)  # which was done once
    x = drop(scope, words, 0.5, training)
    # the papers' decay is half the sum of squares, and of the first layer only
    x = mg.relu(conv(scope / "hidden", index, x, 16, kernel_regularizer=l2(5e-4 / 2)))
    return conv(scope / "logits", index, drop(scope, x, 0.5, training), classes)[rows]


def gat(scope, inputs, classes, training=False):
    """The same by attention, with eight heads and then with one."""
    (index, _), words, rows = inputs
    conv = partial(gnn.gat_conv, dropout=0.6, training=training)
    x = drop(scope, words, 0.6, training)
    x = drop(scope, elu(conv(scope / "hidden", index, x, 8, heads=8)), 0.6, training)
    return conv(scope / "logits", index, x, classes)[rows]


MODELS = {  # epochs at most, how many to wait for something better, optimizer
    gcn: (200, 200, train.adam(0.01)),
    gat: (5000, 100, train.adam(0.005, weight_decay=5e-4)),
}


class Best(train.Callback):
    """Keeps the parameters of the last epoch that was best in accuracy and in loss; waits for either."""

    def __init__(self, patience):
        self.patience, self.wait, self.loss, self.accuracy = patience, 0, math.inf, 0.0

    def on_epoch_end(self, run):
        loss, accuracy = run.monitored("val_loss"), run.monitored("val_accuracy")
        better = loss <= self.loss, accuracy >= self.accuracy
        self.loss, self.accuracy = min(loss, self.loss), max(accuracy, self.accuracy)
        self.wait = 0 if any(better) else self.wait + 1
        if all(better):
            store = run.trainer.store
            self.parameters = {path: store[path].numpy() for path in store.trainable}
        if self.wait == self.patience:
            run.stop()

    def on_train_end(self, run):
        for path, value in self.parameters.items():
            run.trainer.store[path] = value


def batches(task, engine):
    """For each part one batch, which is all of the graph: ``(inputs, labels)`` on the engine."""
    g, labels, *masks = task
    put = partial(mg.tree.map, partial(mg.tensor, device=engine))
    shared = put((gnn.gcn_norm(g.index), gnn.sparse(g.nodes)))
    return [[((*shared, put(rows)), put(labels[rows]))] for rows in map(np.flatnonzero, masks)]


def trainer_of(model, classes, engine, seed=0):
    """What trains it; one is enough for all seeds."""
    loss = partial(train.sparse_categorical_crossentropy, from_logits=True)
    bound = partial(model, classes=classes)
    return train.Trainer(bound, loss, MODELS[model][2], [train.accuracy], engine=engine, seed=seed)


def run(trainer, model, parts, epochs=None):
    """Train once; accuracy on the papers to test with, which nothing was chosen by."""
    most, patience, _ = MODELS[model]
    training, validation, test = parts
    trainer.fit(
        training, epochs or most, validation=validation, callbacks=[Best(patience)], progress=False
    )
    return trainer.evaluate(test)["accuracy"]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="cora", choices=["cora", "citeseer"])
    parser.add_argument("--models", nargs="+", default=["gcn"], choices=["gcn", "gat"])
    parser.add_argument("--engines", nargs="+", default=["xla", "torch"])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, help="where cora.npz is, or planetoid/"
    )
    args = parser.parse_args()
    try:
        task, console = planetoid(args.dataset, args.folder), Console()
    except mg.errors.MonographError as e:
        sys.exit(f"{e}")
    table = Table("model", "engine", "test accuracy", "deviation", "seconds a seed")
    for model in (m for m in MODELS if m.__name__ in args.models):
        for engine in args.engines:
            parts, found = batches(task, engine), []
            trainer = trainer_of(model, task.classes, engine)
            started = time.perf_counter()
            for seed in track(range(args.seeds), f"{model.__name__} {engine}", console=console):
                if seed:
                    trainer.reset(seed)
                found.append(run(trainer, model, parts))
            seconds = (time.perf_counter() - started) / args.seeds
            row = f"{np.mean(found):.2%}", f"{np.std(found) * 100:.2f} pt", f"{seconds:.1f}"
            table.add_row(model.__name__, engine, *row)
    console.print(table)


if __name__ == "__main__":
    main()
