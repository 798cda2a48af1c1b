"""Ranks of true triples among all that could be, other true ones left out: what link prediction is judged by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError, ShapeError
from monograph.tracing import at_user_line

from .index import known


def ranks(scores: Any, targets: Any, others: Any = None) -> Any:
    """The place of each row's target among all candidates, from 1, the highest score first.

    Candidates with the target's own score count half: the mean of the best and the worst place that the
    order among equals could give ("realistic", Berrendorf et al. 2020), so that a model that scores all
    alike gets what guessing does.

    Args:
        scores: ``[batch, candidates]``.
        targets: integers ``[batch]``: the column of what is true.
        others: bool ``[batch, candidates]``: what else is true, and left out ("filtered", Bordes et al.
            2013); whether the target itself is marked does not matter.

    Returns:
        ``[batch]`` floats; NaN in a row with a NaN that counts.

    Raises:
        ShapeError: arrays that do not fit.
        ArgumentError: targets out of range, where they are known.

    >>> import numpy as np
    >>> ranks(np.float32([[3, 1, 2, 2]]), [2]).tolist(), ranks(np.float32([[3, 1, 2, 2]]), [3],
    ...       np.array([[True, False, True, False]])).tolist()
    ([2.5], [1.0])
    """
    scores, targets = mg.asarray(scores), known(targets)
    others = None if others is None else mg.asarray(others)
    shapes = [scores.shape, tuple(targets.shape), scores.shape if others is None else others.shape]
    if scores.ndim != 2 or shapes[1] != scores.shape[:1] or shapes[2] != scores.shape:
        raise at_user_line(
            ShapeError(
                f"needs scores [batch, candidates], targets [batch] and others [batch, candidates]; got "
                f"{shapes[0]}, {shapes[1]} and {None if others is None else shapes[2]}"
            )
        )
    n = scores.shape[1]
    if isinstance(targets, np.ndarray) and (bad := targets[(targets < 0) | (targets >= n)]).size:
        raise at_user_line(ArgumentError(f"targets are in 0 .. {n - 1}; one is {bad[0]}"))
    columns = mg.astype(mg.asarray(targets), "int32")[:, None]
    own = mg.take_along_axis(scores, columns, axis=1)
    target = mg.arange(n, dtype="int32")[None] == columns
    counts = mg.logical_not(target)
    if others is not None:
        counts = counts & mg.logical_not(others)
    above = mg.sum(mg.astype(counts & (scores > own), own.dtype), axis=1)
    level = mg.sum(mg.astype(counts & (scores == own), own.dtype), axis=1)
    bad = mg.any((counts | target) & mg.isnan(scores), axis=1)
    return mg.where(bad, mg.nan, 1 + above + level / 2)


def rank_metrics(ranks: Any, ks: Sequence[int] = (1, 3, 10)) -> dict[str, float]:
    """The numbers that papers report, of ranks ``[n]``.

    Returns:
        ``mrr``, the mean of ``1 / rank``; ``mean_rank``; ``hits@k`` for each ``k``: the share of ranks of
        at most ``k``.

    Raises:
        ArgumentError: no ranks, or a NaN among them, as of scores that were NaN.

    >>> rank_metrics([1.0, 4.0], ks=(1, 10))
    {'mrr': 0.625, 'mean_rank': 2.5, 'hits@1': 0.5, 'hits@10': 1.0}
    """
    x = np.asarray(ranks, "float64")
    if not x.size or np.isnan(x).any():
        what = f"{int(np.isnan(x).sum())} of {x.size} ranks are NaN" if x.size else "no ranks"
        raise at_user_line(ArgumentError(f"{what}: nothing can be said of such scores"))
    hits = {f"hits@{k}": float(np.mean(x <= k)) for k in ks}
    return {"mrr": float(np.mean(1 / x)), "mean_rank": float(np.mean(x)), **hits}


class TripleFilter:
    """Which triples are true, to leave them out of ranks.

    Args:
        triples: integers ``[triples, 3]`` of head, relation and tail: all that are known, those of training,
            validation and test together.
        entities: how many there are.

    Raises:
        ShapeError: not three columns.
        ArgumentError: ids out of range.

    >>> found = TripleFilter([[0, 0, 1], [0, 0, 2], [1, 1, 2]], entities=3)
    >>> found.tails([0, 1], [0, 0]).tolist()
    [[False, True, True], [False, False, False]]
    >>> found.heads([0, 1], [2, 2]).tolist()
    [[True, False, False], [False, True, False]]
    """

    def __init__(self, triples: Any, entities: int):
        triples = checked_triples(triples, entities)
        self.entities = entities
        self._relations = int(triples[:, 1].max(initial=-1)) + 1
        keys = (self._keys(triples[:, i], triples[:, 1]) for i in (0, 2))
        self._by_head, self._by_tail = (
            (k[order], triples[order, other])
            for k, other in zip(keys, (2, 0))
            for order in [np.argsort(k, kind="stable")]
        )

    def _keys(self, entity: Any, relation: Any) -> np.ndarray:
        return np.asarray(entity, "int64") * self._relations + np.asarray(relation, "int64")

    def tails(self, head: Any, relation: Any) -> np.ndarray:
        """bool ``[batch, entities]``: the tails that make a true triple with ``head [batch]`` and
        ``relation [batch]``."""
        return self._mask(self._by_head, head, relation)

    def heads(self, relation: Any, tail: Any) -> np.ndarray:
        """bool ``[batch, entities]``: the heads that make a true triple."""
        return self._mask(self._by_tail, tail, relation)

    def _mask(self, table: tuple[np.ndarray, np.ndarray], entity: Any, relation: Any) -> np.ndarray:
        keys, others = table
        wanted = self._keys(entity, relation)
        first, last = (np.searchsorted(keys, wanted, side) for side in ("left", "right"))
        unseen = np.asarray(relation) >= self._relations  # their keys would be another entity's
        last = np.where(unseen, first, last)
        rows = np.repeat(np.arange(len(wanted)), last - first)
        starts = np.repeat(first - np.cumsum([0, *(last - first)])[:-1], last - first)
        mask = np.zeros((len(wanted), self.entities), bool)
        mask[rows, others[starts + np.arange(len(rows))]] = True
        return mask


def checked_triples(triples: Any, entities: int) -> np.ndarray:
    """Integers ``[triples, 3]``, whose first and last column are entities."""
    x = np.asarray(triples)
    if x.size == 0:
        x = x.reshape(0, 3).astype("int64")
    if x.ndim != 2 or x.shape[1] != 3 or x.dtype.kind not in "iu":
        raise at_user_line(
            ShapeError(f"triples must be integers [triples, 3], got {x.dtype}{list(x.shape)}")
        )
    for name, column, n in (("head", 0, entities), ("relation", 1, None), ("tail", 2, entities)):
        bad = np.flatnonzero((x[:, column] < 0) | (x[:, column] >= (n or np.inf)))
        if bad.size:
            of = f", of {n} entities" if n else ""
            raise at_user_line(
                ArgumentError(f"the {name} of triple {bad[0]} is {x[bad[0], column]}{of}")
            )
    return x


def link_ranks(
    triples: Any, tails: Callable[[Any, Any], Any], heads: Callable[[Any, Any], Any],
    true: TripleFilter, *, batch_size: int = 256,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Filtered `ranks` of triples' tails and heads among all entities.

    Args:
        triples: integers ``[triples, 3]``.
        tails: ``(head [batch], relation [batch]) -> scores [batch, entities]``, see `score_tails`.
        heads: ``(relation [batch], tail [batch]) -> scores [batch, entities]``.
        true: what is left out.
        batch_size: the last batch is filled up to it, so that shapes stay the same.

    Returns:
        ``tail`` and ``head``: ranks ``[triples]``.

    >>> import numpy as np
    >>> table = np.float32([[0, 1, 2], [2, 0, 1], [1, 2, 0]])  # of one relation, by head and tail
    >>> true = TripleFilter([[0, 0, 2], [1, 0, 0]], entities=3)
    >>> found = link_ranks([[0, 0, 2], [1, 0, 2]], lambda h, r: table[h], lambda r, t: table.T[t], true)
    >>> found["tail"].tolist(), found["head"].tolist()
    ([1.0, 1.0], [1.0, 1.0])
    """
    triples = checked_triples(triples, true.entities)
    out: dict[str, list[np.ndarray]] = {"tail": [], "head": []}
    for start in range(0, len(triples), batch_size):
        part = triples[start : start + batch_size]
        h, r, t = np.pad(part, ((0, batch_size - len(part)), (0, 0)), mode="edge").T
        for side, scores, target, mask in (
            ("tail", tails(h, r), t, true.tails(h, r)),
            ("head", heads(r, t), h, true.heads(r, t)),
        ):
            out[side].append(_ranks(scores, target, mask).numpy()[: len(part)])
    return {k: np.concatenate(v) if v else np.zeros(0, "float32") for k, v in out.items()}


_ranks = mg.jit(ranks)
