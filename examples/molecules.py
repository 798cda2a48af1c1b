"""A graph network learns which molecules hold a nitro group, says why it thinks so, and draws it.

The molecules are made here, in the style of MUTAG: rings of carbon, some of them fused, with groups at their
rims. Half hold a nitro group, a nitrogen with two oxygens; the others as many atoms of each kind, bound
otherwise: neither what there is nor how much of it tells them apart. (GIN: Xu et al. 2019, arXiv:1810.00826.)

    python examples/molecules.py [--engine xla] [--epochs 10] [--picture molecule.png]
"""

import argparse
from functools import partial
from itertools import pairwise
from pathlib import Path

import monograph as mg
import monograph_gnn as gnn
import monograph_layers as nn
import monograph_train as train
import numpy as np
from rich.console import Console

ATOMS = np.asarray(["C", "N", "O"])
GRAPHS = 32
BUCKET = {"num_nodes": 24 * GRAPHS, "num_edges": 56 * GRAPHS}  # one shape: compiled once

# groups of one nitrogen and two oxygens: each atom, and what it is bound to: an atom of the rim, or the
# one of the group by that number
NITRO = (("N", "rim"), ("O", 0), ("O", 0))
OTHERS = (
    (("N", "rim"), ("O", "rim"), ("O", "rim")),  # amine and two hydroxyls
    (("N", "rim"), ("O", 0), ("O", "rim")),  # hydroxylamine and hydroxyl
    (("O", "rim"), ("N", 0), ("O", 1)),  # nitrite
)


def molecule(rng, label):
    """A molecule with (label 1) or without a nitro group (0); its bonds go both ways."""
    atoms = ["C"] * 6
    bonds = [(i, (i + 1) % 6) for i in range(6)]
    rim = [*range(6)]
    for _ in range(rng.integers(0, 3)):  # another ring at two neighbours of the rim
        at = int(rng.integers(len(rim) - 1))
        chain = [len(atoms) + i for i in range(4)]
        bonds += pairwise([rim[at], *chain, rim[at + 1]])
        atoms += ["C"] * 4
        rim[at : at + 2] = chain
    free = [int(i) for i in rng.permutation(rim)]
    group = NITRO if label else OTHERS[rng.integers(len(OTHERS))]
    extra = [(kind, "rim") for kind in rng.choice([*"CCNO"], rng.integers(0, 3))]
    first = len(atoms)
    for kind, where in (*group, *extra):
        bonds.append((free.pop() if where == "rim" else first + where, len(atoms)))
        atoms.append(kind)
    a, b = np.asarray(bonds).T
    nodes = (np.asarray(atoms)[:, None] == ATOMS).astype("float32")
    return gnn.graph(nodes, np.r_[a, b], np.r_[b, a], graphs=np.int32(label))


def batches(count, seed):
    """Pairs of a batch of molecules and their labels."""
    rng = np.random.default_rng(seed)
    made = [
        gnn.batch([molecule(rng, i % 2) for i in range(GRAPHS)], **BUCKET) for _ in range(count)
    ]
    return [(g, g.graphs) for g in made]


def network(scope, x, width):
    """What GIN makes of a sum of neighbours."""
    x = mg.relu(nn.dense(scope / "inner", x, width))
    return nn.dense(scope / "outer", x, width, use_bias=False)


def model(scope, g, training=False, width=32):
    """Logits [graphs, 2]: three layers of GIN, of each the mean and maximum over every graph."""
    x, read = g.nodes, []
    for i in range(3):
        layer = scope / f"layer{i}"
        x = gnn.gin_conv(layer / "gin", g.index, x, partial(network, width=width))
        norm = {"momentum": 0.9, "mask": g.node_mask}  # padding does not count
        x = mg.relu(nn.batch_norm(layer / "norm", x, training=training, **norm))
        read += [gnn.global_mean_pool(g, x), gnn.global_max_pool(g, x)]
    return nn.dense(scope / "logits", mg.concat(read, axis=-1), 2)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", help="where to run, such as xla or torch")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument(
        "--batches", type=int, default=40, help=f"of {GRAPHS} molecules, to learn from"
    )
    parser.add_argument(
        "--picture", type=Path, help="draw a molecule and its explanation to this file"
    )
    args = parser.parse_args(argv)
    trainer = train.Trainer(
        model, partial(train.sparse_categorical_crossentropy, from_logits=True), train.adam(0.005),
        [train.accuracy], engine=args.engine,
    )  # fmt: skip
    console, test = Console(), batches(10, seed=1)
    trainer.fit(batches(args.batches, seed=0), args.epochs, validation=test, progress=console)
    accuracy = trainer.evaluate(test)["accuracy"]
    console.print(f"{accuracy:.1%} of {10 * GRAPHS} molecules it has not seen are told right")
    g = molecule(np.random.default_rng(2), 1)
    found = gnn.explain(
        model, trainer.store, g, lambda logits: logits[0, 1] - logits[0, 0], engine=args.engine
    )
    atoms = ATOMS[g.nodes.argmax(axis=1)]
    best = np.argsort(-np.abs(found.edges))[:4]
    pairs = [f"{atoms[g.index.senders[e]]}-{atoms[g.index.receivers[e]]}" for e in best]
    console.print(f"log odds {found.value:+.1f} of a nitro group rest most on {', '.join(pairs)}")
    if args.picture:
        gnn.draw(
            g, args.picture, classes=g.nodes.argmax(axis=1), class_names=["carbon", "nitrogen", "oxygen"],
            edge_scores=found.edges, labels=atoms, title="Why this is thought to hold a nitro group",
        )  # fmt: skip
    return accuracy, found, g


if __name__ == "__main__":
    main()
