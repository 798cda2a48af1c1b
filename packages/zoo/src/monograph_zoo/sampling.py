"""How the next token is chosen from the scores of all: the largest, or drawn at random."""

from __future__ import annotations

from typing import Any, NamedTuple

import monograph as mg
from monograph.errors import ArgumentError


class Sampling(NamedTuple):
    """What `generate` does with the scores of the next token; without any option it takes the largest.

    Attributes:
        temperature: scores are divided by it, 1 by default.
        top_k: only so many of the largest can be drawn (Fan et al. 2018).
        top_p: only the fewest whose probabilities add up to this (Holtzman et al. 2020).
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None

    def problems(self) -> list[str]:
        """What is wrong with the options."""
        out = []
        if self.temperature is not None and not 0 < self.temperature < float("inf"):
            out.append(
                f"temperature={self.temperature} must be above 0; leave it out for the largest"
            )
        if self.top_k is not None and not (isinstance(self.top_k, int) and self.top_k >= 1):
            out.append(f"top_k={self.top_k} must be at least 1, and whole")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            out.append(f"top_p={self.top_p} must be above 0 and at most 1")
        return out

    def choose(self, scores: Any, key: Any) -> tuple[Any, Any]:
        """``[batch]`` tokens from ``[batch, vocabulary]`` scores, and the key for the next time."""
        if self == Sampling():
            return mg.argmax(scores, axis=-1), key
        key, used = mg.unstack(mg.random.split(key))
        return mg.random.categorical(used, self.filtered(scores)), key

    def filtered(self, scores: Any) -> Any:
        """The scores whose softmax is drawn from: -inf for tokens that cannot be.

        Raises:
            ArgumentError: an option is out of its range.

        >>> Sampling(top_k=2).filtered(mg.asarray([[1.0, 3.0, 2.0]])).tolist()
        [[-inf, 3.0, 2.0]]
        """
        if ill := self.problems():
            raise mg.tracing.at_user_line(ArgumentError("; ".join(ill)))
        if self.temperature is not None:
            scores = scores / self.temperature
        if self.top_k is not None:
            largest, _ = mg.top_k(scores, min(self.top_k, scores.shape[-1]))
            scores = mg.where(scores < largest[:, -1:], -mg.inf, scores)
        if self.top_p is not None and self.top_p < 1:
            rising = mg.sort(scores, axis=-1)
            kept = mg.cumulative_sum(mg.softmax(rising), axis=-1) > 1 - self.top_p
            least = mg.min(mg.where(kept, rising, rising[:, -1:]), axis=-1, keepdims=True)
            scores = mg.where(scores < least, -mg.inf, scores)
        return scores
