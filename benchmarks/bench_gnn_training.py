"""A full-batch training step of graph networks: Monograph's against PyG's and against jax by hand.

GCN, GAT and GraphSAGE of two layers, forward, backward and Adam, at the size of Cora (2,708 nodes, 10,556
edges, 1,433 features of which one in a hundred is not zero) and on a graph of 100,000 nodes and 1,000,000
edges. The same weights, the same graph, GCN's normalisation known beforehand to all. The losses of the first
steps are compared, then steps alternate; medians of the ratios of each round, so that a busy machine weighs
on all. ``sparse`` is Monograph with the features of Cora as a `SparseMatrix`, which neither rival has; ``csr``
is PyG's GCN with its edges as a sparse tensor of torch's.

    python benchmarks/bench_gnn_training.py [--models gcn gat sage] [--sizes cora large] [--rounds 30]
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import monograph as mg
import monograph_gnn as gnn
import monograph_layers as nn
import monograph_train as train
import numpy as np
import optax
import torch
from monograph_layers.activations import elu

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch's own deprecations
    import torch_geometric.nn as pyg

RATE, STEPS = 0.01, 5


class Task(NamedTuple):
    """A graph with both kinds of its arrays, what to learn, and how wide networks are."""

    features: np.ndarray
    index: gnn.EdgeIndex  # as it is
    looped: gnn.EdgeIndex
    weights: np.ndarray  # of its edges, GCN's
    rows: np.ndarray
    labels: np.ndarray
    hidden: int
    heads: int
    classes: int


def made(
    nodes: int, edges: int, width: int, share: float, hidden: int, heads: int, classes: int
) -> Task:
    rng = np.random.default_rng(0)
    pairs = np.unique(
        rng.integers(0, nodes * nodes, 2 * edges)
    )  # a sparse tensor adds what is double
    senders, receivers = np.divmod(rng.permutation(pairs)[:edges], nodes)
    x = rng.normal(size=(nodes, width)).astype("float32")
    if share < 1:
        x = (rng.random((nodes, width)) < share).astype("float32")
        x /= np.maximum(x.sum(axis=1, keepdims=True), 1)
    index, _ = gnn.edge_index(senders, receivers, nodes)
    looped, weights = gnn.gcn_norm(index)
    rows = rng.permutation(nodes)[: nodes // 20].astype("int32")
    labels = rng.integers(0, classes, len(rows)).astype("int32")
    return Task(x, index, looped, weights.numpy(), rows, labels, hidden, heads, classes)


SIZES = {
    "cora": lambda: made(2708, 10556, 1433, 0.0127, 16, 8, 7),
    "large": lambda: made(100_000, 1_000_000, 128, 1.0, 64, 8, 16),
}


# ---- by Monograph


def our_gcn(t: Task, scope: Any, inputs: Any) -> Any:
    x, _, index, weights, rows = inputs
    conv = functools.partial(gnn.gcn_conv, edge_weight=weights, normalize=False)
    x = mg.relu(conv(scope / "first", index, x, t.hidden))
    return mg.take(conv(scope / "second", index, x, t.classes), rows, axis=0)


def our_gat(t: Task, scope: Any, inputs: Any) -> Any:
    x, _, index, _, rows = inputs
    x = gnn.gat_conv(scope / "first", index, x, 8, heads=t.heads)
    return mg.take(gnn.gat_conv(scope / "second", index, elu(x), t.classes), rows, axis=0)


def our_sage(t: Task, scope: Any, inputs: Any) -> Any:
    x, index, _, _, rows = inputs

    def conv(scope: Any, x: Any, channels: int) -> Any:
        sent = nn.dense(scope / "neighbors", x, channels, use_bias=False)  # narrower, so first
        return gnn.propagate(index, sent, how="mean") + nn.dense(scope / "own", x, channels)

    x = mg.relu(conv(scope / "first", x, t.hidden))
    return mg.take(conv(scope / "second", x, t.classes), rows, axis=0)


def ours(t: Task, kind: str, engine: str, sparse: bool = False) -> tuple[Callable, Any]:
    model = functools.partial({"gcn": our_gcn, "gat": our_gat, "sage": our_sage}[kind], t)
    loss = functools.partial(train.sparse_categorical_crossentropy, from_logits=True)
    trainer = train.Trainer(model, loss, train.adam(RATE), engine=engine)
    put = functools.partial(mg.tree.map, functools.partial(mg.tensor, device=engine))
    x = gnn.sparse(t.features) if sparse else t.features
    inputs, labels = put((x, t.index, t.looped, t.weights, t.rows)), put(t.labels)
    trainer.store.bind(model, engine)(inputs)
    return lambda: trainer.step(inputs, labels)["loss"].item(), trainer.store.numpy()


# ---- by PyG


def theirs(t: Task, kind: str, first: Any, csr: bool = False) -> Callable:
    x, rows = torch.tensor(t.features), torch.tensor(t.rows).long()
    labels = torch.tensor(t.labels).long()
    index = t.index if kind == "sage" else t.looped
    weights = torch.tensor(t.weights) if kind == "gcn" else None
    edges: Any = torch.tensor(np.stack([index.senders, index.receivers])).long()
    if csr:
        order = torch.tensor(
            np.lexsort((index.senders, index.receivers))
        )  # torch wants rows in order
        values = (weights if weights is not None else torch.ones(edges.shape[1]))[order]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that such tensors are in beta
            edges = torch.sparse_csr_tensor(
                torch.tensor(index.offsets), edges[0][order].int(), values, (len(x), len(x))
            )
        weights = None
    width = x.shape[1]
    if kind == "gcn":
        options = {"normalize": False}
        convs = [
            pyg.GCNConv(width, t.hidden, **options),
            pyg.GCNConv(t.hidden, t.classes, **options),
        ]
        names = {"lin.weight": "kernel", "bias": "bias"}
    elif kind == "gat":
        options = {"add_self_loops": False}
        convs = [
            pyg.GATConv(width, 8, heads=t.heads, **options),
            pyg.GATConv(8 * t.heads, t.classes, **options),
        ]
        names = {
            "lin.weight": "kernel", "bias": "bias", "att_src": "attention_sender",
            "att_dst": "attention_receiver",
        }  # fmt: skip
    else:
        convs = [pyg.SAGEConv(width, t.hidden), pyg.SAGEConv(t.hidden, t.classes)]
        names = {
            "lin_l.weight": "neighbors/kernel", "lin_l.bias": "own/bias",
            "lin_r.weight": "own/kernel",
        }  # fmt: skip
    for conv, scope in zip(convs, ("first", "second")):
        for name, parameter in conv.named_parameters():
            value = torch.tensor(first[f"{scope}/{names[name]}"])
            value = value.T if name.endswith("weight") else value
            parameter.data = value.reshape(parameter.shape).contiguous()
    optimizer = torch.optim.Adam([p for c in convs for p in c.parameters()], RATE)
    act = torch.nn.functional.elu if kind == "gat" else torch.relu
    more = () if weights is None else (weights,)

    def step() -> float:
        optimizer.zero_grad()
        out = convs[1](act(convs[0](x, edges, *more)), edges, *more)[rows]
        loss = torch.nn.functional.cross_entropy(out, labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


# ---- by hand, in jax


def hand_gcn(t: Task, p: Any, a: Any) -> Any:
    def conv(name: str, x: Any) -> Any:
        messages = (x @ p[f"{name}/kernel"])[a["looped"][0]] * a["weights"][:, None]
        return summed(messages, a["looped"][1], len(x)) + p[f"{name}/bias"]

    return conv("second", jax.nn.relu(conv("first", a["x"])))


def hand_gat(t: Task, p: Any, a: Any) -> Any:
    senders, receivers = a["looped"]

    def conv(name: str, x: Any, heads: int) -> Any:
        n = len(x)
        h = (x @ p[f"{name}/kernel"]).reshape(n, heads, -1)
        to, of = (jnp.sum(h * p[f"{name}/attention_{end}"], -1) for end in ("receiver", "sender"))
        logits = jax.nn.leaky_relu(of[senders] + to[receivers], 0.2)
        most = jax.ops.segment_max(logits, receivers, n, indices_are_sorted=True)
        e = jnp.exp(logits - jax.lax.stop_gradient(most)[receivers])
        share = e / summed(e, receivers, n)[receivers]
        return (
            summed(h[senders] * share[..., None], receivers, n).reshape(n, -1) + p[f"{name}/bias"]
        )

    return conv("second", jax.nn.elu(conv("first", a["x"], t.heads)), 1)


def hand_sage(t: Task, p: Any, a: Any) -> Any:
    def conv(name: str, x: Any) -> Any:
        senders, receivers = a["edges"]
        h = x @ p[f"{name}/neighbors/kernel"]
        mean = summed(h[senders], receivers, len(x)) / a["degrees"][:, None]
        return mean + x @ p[f"{name}/own/kernel"] + p[f"{name}/own/bias"]

    return conv("second", jax.nn.relu(conv("first", a["x"])))


def summed(x: Any, receivers: Any, n: int) -> Any:
    return jax.ops.segment_sum(x, receivers, n, indices_are_sorted=True)


def by_hand(t: Task, kind: str, first: Any) -> Callable:
    model = {"gcn": hand_gcn, "gat": hand_gat, "sage": hand_sage}[kind]
    degrees = np.maximum(np.diff(t.index.offsets), 1).astype("float32")
    arrays = {
        "x": t.features, "weights": t.weights, "rows": t.rows, "labels": t.labels,
        "looped": (t.looped.senders, t.looped.receivers),
        "edges": (t.index.senders, t.index.receivers),
        "degrees": degrees,
    }  # fmt: skip
    arrays = jax.tree.map(jax.device_put, arrays)
    optimizer = optax.adam(RATE)

    def loss_of(p: Any, a: Any) -> Any:
        logits = model(t, p, a)[a["rows"]]
        return optax.softmax_cross_entropy_with_integer_labels(logits, a["labels"]).mean()

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(p: Any, state: Any, a: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_of)(p, a)
        changes, state = optimizer.update(grads, state)
        return optax.apply_updates(p, changes), state, loss

    held = {k: jnp.array(v) for k, v in first.items()}
    state: list[Any] = [held, optimizer.init(held)]

    def step() -> float:
        state[0], state[1], loss = update(state[0], state[1], arrays)
        return float(loss)

    return step


# ---- the comparison


def compare(size: str, kind: str, rounds: int) -> None:
    t = SIZES[size]()
    fns: dict[str, Callable] = {}
    fns["xla"], first = ours(t, kind, "xla")
    fns["torch"], _ = ours(t, kind, "torch")
    if size == "cora":
        fns["xla sparse"], _ = ours(t, kind, "xla", sparse=True)
        fns["torch sparse"], _ = ours(t, kind, "torch", sparse=True)
    fns["PyG"] = theirs(t, kind, first)
    if kind == "gcn":
        fns["PyG csr"] = theirs(t, kind, first, csr=True)
    fns["jax"] = by_hand(t, kind, first)
    losses = np.array([[fn() for fn in fns.values()] for _ in range(STEPS)])
    np.testing.assert_allclose(losses, losses[:, -1:].repeat(len(fns), 1), rtol=2e-4)
    taken: list[dict[str, float]] = []
    for i in range(rounds):
        took = {}
        for name in list(fns)[:: 1 if i % 2 else -1]:
            start = time.perf_counter()
            fns[name]()
            took[name] = time.perf_counter() - start
        taken.append(took)
    print(f"{kind} on {size}, loss {losses[0, 0]:.4f} -> {losses[-1, 0]:.4f} in {STEPS} steps")
    for name in fns:
        ms = statistics.median(r[name] for r in taken) * 1e3
        ratios = (statistics.median(r[name] / r[rival] for r in taken) for rival in ("PyG", "jax"))
        print(f"  {name:<13}{ms:9.2f} ms" + "".join(f"{r:9.2f}" for r in ratios), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["gcn", "gat", "sage"])
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args()
    print(f"{'':<15}{'a step':>12}{'to PyG':>9}{'to jax':>9}")
    for at in args.sizes:
        for what in args.models:
            compare(at, what, args.rounds)
