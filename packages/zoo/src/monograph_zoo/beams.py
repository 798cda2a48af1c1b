"""Beam search: the most probable continuations are kept side by side, as Hugging Face's transformers does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import monograph as mg

from ._decoding import Cache

LOW = -1e9
"""Less than any sum of log probabilities, and not so low that two of them could not be told apart."""


class Hypotheses(NamedTuple):
    """Continuations, ``[batch, beams]``, best first.

    Attributes:
        tokens: ``[batch, beams, longest]``.
        scores: sums of log probabilities; of finished ones, by length.
        lengths: how many of the tokens there are.
        finished: whether they came to an end.
    """

    tokens: Any
    scores: Any
    lengths: Any
    finished: Any

    def take(self, places: Any) -> Hypotheses:
        """Those at ``[batch, n]`` along the beams."""
        rows = mg.take_along_axis(self.tokens, places[..., None], axis=1)
        return Hypotheses(rows, *[mg.take_along_axis(x, places, axis=1) for x in self[1:]])


class Search(NamedTuple):
    """The state of a beam search.

    Attributes:
        running: those that go on, with the cache of their tokens, ``[batch * beams, ...]``.
        ended: those that came to an end.
        improvable: ``[batch, 1]``, whether a running one may still overtake the ended ones.
        count: how many tokens were made.
        going: whether there is something left to do.
    """

    running: Hypotheses
    cache: Cache
    position: Any
    ended: Hypotheses
    improvable: Any
    count: Any
    going: Any


def started(cache: Cache, position: Any, beams: int, longest: int, pad: int) -> Search:
    """A search before its first token, of the prompts' cache."""
    batch = position.shape[0]

    def none(first: float) -> Hypotheses:
        scores = mg.concat([mg.full((batch, 1), first), mg.full((batch, beams - 1), LOW)], axis=1)
        tokens = mg.full((batch, beams, longest), pad, dtype="int32")
        zeros = mg.zeros((batch, beams), dtype="int32")
        return Hypotheses(tokens, scores, zeros, mg.zeros((batch, beams), dtype=mg.bool))

    rows = mg.repeat(mg.arange(batch, dtype="int32"), beams)
    yes = mg.ones((batch, 1), dtype=mg.bool)
    zero = mg.zeros((), dtype="int32")
    return Search(
        none(0.0), reordered(cache, rows), mg.take(position, rows, axis=0), none(LOW), yes, zero,
        mg.ones((), dtype=mg.bool),
    )  # fmt: skip


def reordered(cache: Cache, rows: Any) -> Cache:
    """The cache of other rows of the batch, some of them several times."""

    def take(x: Any) -> Any:
        return x if x.ndim == 0 else mg.take(x, rows, axis=0)

    return mg.tree.map(take, cache)


def advanced(
    search: Search, scores: Any, stop: Sequence[int], length_penalty: float, early_stopping: bool
) -> tuple[Search, Any]:
    """One token more for every running hypothesis.

    Args:
        scores: of the next token, ``[batch * beams, vocabulary]``.

    Returns:
        The search, and its running hypotheses' last tokens ``[batch * beams, 1]``.
    """
    batch, beams, longest = search.running.tokens.shape
    vocabulary, keep = scores.shape[-1], max(2, 1 + len(stop)) * beams
    sums = mg.reshape(mg.log_softmax(scores), (batch, beams, vocabulary))
    sums = mg.reshape(sums + search.running.scores[..., None], (batch, beams * vocabulary))
    sums, places = mg.top_k(sums, keep)
    parents, tokens = places // vocabulary, mg.astype(places % vocabulary, "int32")
    count = search.count + 1

    at = mg.arange(longest, dtype="int32") == search.count
    rows = mg.take_along_axis(search.running.tokens, parents[..., None], axis=1)
    rows = mg.where(at, tokens[..., None], rows)
    ends = mg.isin(tokens, mg.asarray(stop, dtype="int32")) if stop else tokens < 0
    ends = mg.logical_or(ends, count == longest)
    lengths = mg.zeros_like(tokens) + count
    candidates = Hypotheses(rows, sums, lengths, ends)

    lowered = sums + mg.where(ends, LOW, 0.0)
    going, chosen = mg.top_k(lowered, beams)
    running = candidates.take(chosen)._replace(scores=going)
    parents = mg.take_along_axis(parents, chosen, axis=1)

    by_length = mg.pow(mg.astype(count, "float32"), length_penalty)
    is_open = mg.logical_and(ends, mg.arange(keep, dtype="int32") < beams)
    value = sums / by_length + mg.where(is_open, 0.0, LOW)
    value = value + mg.where(search.improvable, 0.0, LOW)
    if early_stopping:
        full = mg.all(search.ended.finished, axis=-1, keepdims=True)
        value = value + mg.where(full, LOW, 0.0)
    both = [mg.concat(pair, axis=1) for pair in zip(
        search.ended, candidates._replace(scores=value, finished=is_open), strict=True
    )]  # fmt: skip
    merged = Hypotheses(*both)
    best, order = mg.top_k(merged.scores, beams)
    ended = merged.take(order)._replace(scores=best)

    worst = mg.where(ended.finished, mg.min(ended.scores, axis=1, keepdims=True), LOW)
    better = mg.any(running.scores[:, :1] / by_length > worst, axis=-1, keepdims=True)
    improvable = mg.logical_and(search.improvable, better)
    on = mg.logical_and(mg.any(improvable), mg.logical_not(mg.all(ends)))
    if early_stopping:
        on = mg.logical_and(on, mg.logical_not(mg.all(ended.finished)))

    first = mg.arange(batch, dtype="int32")[:, None] * beams
    rows = mg.reshape(first + mg.astype(parents, "int32"), (batch * beams,))
    last = mg.reshape(mg.take_along_axis(tokens, chosen, axis=1), (batch * beams, 1))
    after = Search(
        running, reordered(search.cache, rows), mg.take(search.position, rows, axis=0), ended,
        improvable, count, on,
    )  # fmt: skip
    return after, last
