"""A picture of a small graph: classes as colours, importance as width, wrong predictions ringed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError, PluginError
from monograph.storage import replacing
from monograph.tracing import at_user_line

from .batches import GraphBatch, unpadded

MOST = 500
"""Nodes beyond which a picture shows nothing."""

# Okabe and Ito's colours, which those who see fewer tell apart, too
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#f0e442", "#8c564b", "#000000")
PLAIN, FAINT, DARK, WRONG = "#8fa3b8", "#c9d1da", "#22303f", "#d1242f"


def draw(
    graph: GraphBatch, path: str | os.PathLike | None = None, *, classes: Any = None,
    truth: Any = None, class_names: Sequence[str] | None = None, edge_scores: Any = None,
    node_scores: Any = None, labels: Sequence[Any] | None = None, positions: Any = None,
    title: str | None = None,
) -> Any:  # fmt: skip
    """Draw a graph as a matplotlib Figure. Padding and self-loops are left out.

    Needs matplotlib (``pip install monograph-gnn[plots]``).

    Args:
        path: also save it there; the ending (``.png``, ``.svg``, ``.pdf``) says how.
        classes: ``[nodes]``, integers, what each node was predicted to be: its colour.
        truth: ``[nodes]``, what it is; a red ring where that is something else.
        class_names: what the legend calls classes.
        edge_scores: ``[edges]`` in the order of the graph's index, such as `explain` gives: magnitudes are
            widths. Of an edge that is there in both directions the larger counts.
        node_scores: ``[nodes]``, whose magnitudes are sizes.
        labels: what to write on nodes.
        positions: ``[nodes, 2]``; None: those of `layout`.

    Raises:
        ArgumentError: more than 500 nodes, or something that is not one per node or edge; all are named.
        PluginError: matplotlib is missing.

    >>> from monograph_gnn import graph
    >>> square = graph(np.zeros((4, 1)), [0, 1, 2, 3], [1, 2, 3, 0])
    >>> figure = draw(square, classes=[0, 0, 1, 1], truth=[0, 1, 1, 1], title="A square")
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['class 0', 'class 1', 'wrong (1 of 4)']
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise at_user_line(
            PluginError("pictures need matplotlib: pip install monograph-gnn[plots]")
        ) from None
    graph, given = _real(
        graph,
        {"classes": classes, "truth": truth, "node_scores": node_scores, "labels": labels,
         "positions": positions},
        {"edge_scores": edge_scores},
    )  # fmt: skip
    n, senders, receivers = graph.num_nodes, graph.index.senders, graph.index.receivers
    places = given.get("positions")
    places = layout(senders, receivers, n) if places is None else places
    sizes = np.full(n, np.clip(6000 / max(n, 1), 30, 420))
    if "node_scores" in given:
        sizes = sizes * (0.5 + 1.5 * _shares(given["node_scores"]))

    wide, high = np.maximum(np.ptp(places, axis=0), 1e-9) if n else (1, 1)
    figure = Figure(figsize=(7.5, np.clip(6 * high / wide, 2.5, 7.5)), layout="constrained")
    axis = figure.add_subplot()
    axis.set_aspect("equal")
    axis.axis("off")
    axis.margins(0.08)
    legend = _nodes(axis, places, sizes, given, class_names)
    legend += _edges(axis, places, sizes, senders, receivers, given.get("edge_scores"))
    if title is not None:
        axis.set_title(title, color=DARK, pad=12)
    if legend:
        axis.legend(
            handles=legend, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False,
            labelcolor=DARK,
        )  # fmt: skip
    if path is not None:
        with replacing(Path(path)) as file:
            figure.savefig(file, dpi=150, format=Path(path).suffix[1:] or "png")
    return figure


def _real(
    graph: GraphBatch, per_node: dict[str, Any], per_edge: dict[str, Any]
) -> tuple[GraphBatch, dict[str, np.ndarray]]:
    """The graph without its padding, and what is given for it."""
    whole = mg.tree.map(np.asarray, graph)
    graph = unpadded(whole)
    counts = {
        "node": (per_node, graph.num_nodes, whole.num_nodes),
        "edge": (per_edge, graph.index.num_edges, whole.index.num_edges),
    }
    problems = []
    if graph.num_nodes > MOST:
        problems.append(f"{graph.num_nodes} nodes are more than the {MOST} that a picture shows")
    given: dict[str, np.ndarray] = {}
    for kind, (arrays, n, padded) in counts.items():
        for name, x in arrays.items():
            if x is not None and len(x) not in (n, padded):
                problems.append(f"{name} needs {n} entries, one per {kind}, not {len(x)}")
            elif x is not None:
                given[name] = np.asarray(x)[:n]
    if problems:
        raise at_user_line(ArgumentError("; ".join(problems)))
    return graph, given


def _nodes(
    axis: Any, places: np.ndarray, sizes: np.ndarray, given: dict[str, Any],
    class_names: Sequence[str] | None,
) -> list[Any]:  # fmt: skip
    """Draw nodes; what the legend says of them."""
    from matplotlib.lines import Line2D

    def entry(face: str, edge: str, label: str) -> Any:
        return Line2D(
            [], [], linestyle="", marker="o", markersize=10, markerfacecolor=face,
            markeredgecolor=edge, markeredgewidth=2, label=label,
        )  # fmt: skip

    x, y = places.T
    legend, colours = [], [PLAIN] * len(places)
    if (kinds := given.get("classes")) is not None:
        colours = [COLOURS[int(k) % len(COLOURS)] for k in kinds]
        for kind in np.unique(kinds).astype(int):
            name = f"class {kind}" if class_names is None else str(class_names[kind])
            legend.append(entry(COLOURS[kind % len(COLOURS)], "white", name))
    axis.scatter(x, y, s=sizes, c=colours, edgecolors="white", linewidths=1.2, zorder=3)
    if kinds is not None and "truth" in given:
        wrong = kinds != given["truth"]
        axis.scatter(
            x[wrong], y[wrong], s=sizes[wrong] * 1.5, facecolors="none", edgecolors=WRONG,
            linewidths=2.4, zorder=4,
        )  # fmt: skip
        legend.append(entry("none", WRONG, f"wrong ({wrong.sum()} of {len(wrong)})"))
    for at, text, colour, size in zip(places, given.get("labels", ()), colours, sizes):
        light = _rgb(colour) @ (0.299, 0.587, 0.114) > 0.6  # as eyes see it
        axis.text(
            *at, text, ha="center", va="center", zorder=5, fontsize=np.sqrt(size) * 0.55,
            color=DARK if light else "white",
        )  # fmt: skip
    return legend


def _edges(
    axis: Any, places: np.ndarray, sizes: np.ndarray, senders: np.ndarray, receivers: np.ndarray,
    scores: Any,
) -> list[Any]:  # fmt: skip
    """Draw edges, with a head where they go one way only; what the legend says of them."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import FancyArrowPatch

    most: dict[tuple[int, int], float] = {}
    shares = np.full(len(senders), 0.3) if scores is None else _shares(scores)
    for a, b, share in zip(senders.tolist(), receivers.tolist(), shares.tolist()):
        most[a, b] = max(share, most.get((a, b), 0.0))
    for (a, b), share in most.items():
        one_way = (b, a) not in most
        if a == b or (a > b and not one_way):
            continue
        share = max(share, most.get((b, a), 0.0))
        colour = (_rgb(FAINT) * (1 - share) + _rgb(DARK) * share).tolist()
        line = FancyArrowPatch(
            places[a], places[b], arrowstyle="-|>" if one_way else "-", mutation_scale=12, shrinkA=0,
            shrinkB=np.sqrt(sizes[b]) / 2 if one_way else 0, color=colour, zorder=1 + share,
            linewidth=1.3 if scores is None else 0.8 + 5.2 * share,
        )  # fmt: skip
        axis.add_patch(line)
    if scores is None:
        return []
    return [Line2D([], [], color=DARK, linewidth=6, label="important edge")]


def layout(senders: Any, receivers: Any, num_nodes: int, steps: int = 100) -> np.ndarray:
    """``[nodes, 2]``, places at which nodes are as far apart as there are edges between them.

    Stress majorisation (Gansner et al. 2004) from classical scaling: the same graph, the same picture.

    >>> layout([0, 1], [1, 2], 3).shape
    (3, 2)
    """
    n = num_nodes
    if n < 2:
        return np.zeros((n, 2))
    apart = np.full((n, n), np.inf)
    apart[senders, receivers] = apart[receivers, senders] = 1
    np.fill_diagonal(apart, 0)
    for k in range(n):
        apart = np.minimum(apart, apart[:, k, None] + apart[k])
    joined = np.isfinite(apart)
    apart = np.where(joined, apart, apart[joined].max() + 1.5)  # parts beside each other
    centred = apart**2 - (apart**2).mean(axis=0)
    values, vectors = np.linalg.eigh(-0.5 * (centred - centred.mean(axis=1, keepdims=True)))
    places = vectors[:, -2:] * np.sqrt(np.maximum(values[-2:], 0))
    places = places + np.random.default_rng(0).normal(0, 0.05, places.shape)  # twins are parted
    np.fill_diagonal(apart, 1)
    weights = apart**-2.0 * np.where(joined, 1, 0.02)
    np.fill_diagonal(weights, 0)
    inverse = np.linalg.pinv(np.diag(weights.sum(axis=1)) - weights)
    for _ in range(steps):
        now = np.linalg.norm(places[:, None] - places, axis=-1)
        pulls = weights * apart / np.maximum(now, 1e-9)
        np.fill_diagonal(pulls, 0)
        places = inverse @ ((np.diag(pulls.sum(axis=1)) - pulls) @ places)
    places = places - places.mean(axis=0)
    return places @ np.linalg.svd(places)[2].T  # the longer way across


def _shares(scores: Any) -> np.ndarray:
    """Magnitudes as shares of the largest."""
    sizes = np.abs(np.asarray(scores, "float64"))
    return sizes / max(sizes.max(initial=0), 1e-300)


def _rgb(colour: str) -> np.ndarray:
    return np.asarray([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
