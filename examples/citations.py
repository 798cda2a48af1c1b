"""Where a paper was published, learned from who wrote it and what it cites: a graph of four kinds of nodes.

The graph is made up in the style of OGBN-MAG (Hu et al. 2020, arXiv:2005.00687): papers cite papers, have fields
and authors, who have institutions; only papers have features, and those say little of the venue, which is to be
told. Most of an author's papers, of a field's and of what a paper cites are of one venue:

    python examples/citations.py [--model features sage rgcn hgt] [--papers 2000] [--epochs 80] [--engine xla]

A perceptron of a paper's features alone finds 37 % of the venues, networks over the graph 83 to 88 %.
"""

import argparse
import time
from functools import partial

import monograph as mg
import monograph_gnn as gnn
import monograph_layers as nn
import monograph_train as train
import numpy as np
from rich.console import Console
from rich.table import Table

VENUES, FEATURES, WIDTH = 8, 32, 32


def citations(papers, seed=0):
    """A `HeteroBatch`, and the venue of each paper: its number's remainder, as of all nodes."""
    rng = np.random.default_rng(seed)
    counts = {"paper": papers, "author": papers // 2, "institution": 40, "field": 80}
    venues = np.arange(papers, dtype="int32") % VENUES

    def ends(sender, receiver, per_sender, loyal):
        """Edges to nodes of the sender's venue, with the chance ``loyal``, or to any."""
        senders, n = np.repeat(np.arange(counts[sender]), per_sender), counts[receiver]
        alike = senders % VENUES + VENUES * rng.integers(0, n // VENUES, len(senders))
        chance = rng.integers(0, n, len(senders))
        return senders, np.where(rng.random(len(senders)) < loyal, alike, chance)

    edges = {
        ("paper", "cites", "paper"): ends("paper", "paper", 3, 0.6),
        ("paper", "by", "author"): ends("paper", "author", 2, 0.6),
        ("paper", "about", "field"): ends("paper", "field", 2, 0.6),
        ("author", "of", "institution"): ends("author", "institution", 1, 0.7),
    }
    edges |= {(r, f"{name} (back)", s): (b, a) for (s, name, r), (a, b) in [*edges.items()]}
    centres = rng.normal(size=(VENUES, FEATURES)) * 0.2
    x = centres[venues] + rng.normal(size=(papers, FEATURES))
    nodes = {kind: np.ones((n, 1), "float32") for kind, n in counts.items()}  # nothing is known
    nodes["paper"] = x.astype("float32")
    return gnn.hetero_graph(nodes, edges), venues


def sage(scope, graph, x):
    """The mean of each relation's senders, multiplied, added to what the node itself holds."""

    def messages(scope, index, ends):
        source = ends[0] if isinstance(ends, tuple) else ends
        return nn.dense(scope, gnn.propagate(index, source, how="mean"), WIDTH, use_bias=False)

    arrived = gnn.hetero(scope / "messages", graph, x, messages, how="mean")
    return {k: nn.dense(scope / k, x[k], WIDTH) + y for k, y in arrived.items()}


LAYERS = {
    "features": None,
    "sage": sage,
    "rgcn": lambda scope, graph, x: gnn.hetero_rgcn_conv(scope, graph, x, WIDTH),
    "hgt": lambda scope, graph, x: gnn.hgt_conv(scope, graph, x, WIDTH, heads=4),
}


def classifier(graph, layer):
    """A model ``(scope, papers) -> logits``: two layers over the whole graph, or none."""

    def model(scope, papers, training=False):
        def settled(name, x):
            drop = partial(nn.dropout, rate=0.2, training=training)
            return {k: drop(scope / name / k, mg.relu(v)) for k, v in x.items()}

        x = {k: nn.dense(scope / k, mg.asarray(v), WIDTH) for k, v in graph.nodes.items()}
        x = settled("settled_first", x)
        for i in range(2 if layer else 0):
            x = settled(f"settled_{i}", layer(scope / f"layer_{i}", graph, x))
        return nn.dense(scope / "logits", mg.take(x["paper"], papers, axis=0), VENUES)

    return model


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="+", default=list(LAYERS), choices=LAYERS)
    parser.add_argument("--papers", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--engine", default="xla")
    args = parser.parse_args(argv)
    graph, venues = citations(args.papers)
    order = np.random.default_rng(1).permutation(args.papers).astype("int32")
    learn, test = order[: args.papers // 2], order[args.papers // 2 :]
    console, scores, table = Console(), {}, Table("model", "parameters", "seconds", "test accuracy")
    console.print(graph)
    for name in args.model:
        console.rule(name)
        model, adam = classifier(graph, LAYERS[name]), train.adamw(0.02, weight_decay=0.02)
        loss = partial(train.sparse_categorical_crossentropy, from_logits=True)
        trainer = train.Trainer(model, loss, adam, [train.accuracy], engine=args.engine)
        start, whole = time.perf_counter(), args.papers  # one batch: a step goes over all edges
        trainer.fit((learn, venues[learn]), args.epochs, batch_size=whole, progress=console)
        scores[name] = trainer.evaluate((test, venues[test]), batch_size=whole)["accuracy"]
        size = sum(trainer.store[p].numpy().size for p in trainer.store.trainable)
        seconds = time.perf_counter() - start
        table.add_row(name, f"{size:,}", f"{seconds:.1f}", f"{scores[name]:.1%}")
    console.print(table)
    return scores


if __name__ == "__main__":
    main()
