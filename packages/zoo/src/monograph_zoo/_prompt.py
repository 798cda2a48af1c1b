"""What a decoder is asked to continue: token ids in rows that end together, or texts."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError


class Prompt(NamedTuple):
    """Rows of tokens, padded at the front.

    Attributes:
        ids: int32 ``[batch, length]``.
        mask: bools, false where there is padding.
        given: how many columns were given.
        tokenizer: of texts; None for tokens.
        is_one: whether the texts are a single one.
    """

    ids: np.ndarray
    mask: np.ndarray
    given: int
    tokenizer: Any = None
    is_one: bool = False

    @property
    def longest(self) -> int:
        """The most tokens in a row."""
        return int(self.mask.sum(axis=1).max(initial=0))

    def problems(self, vocabulary: int | None) -> list[str]:
        """What is wrong with it."""
        ids, mask = self.ids, self.mask
        if ids.size == 0:
            return [f"a prompt needs at least one token, got shape {ids.shape}"]
        out = [
            f"row {i} of the prompt ends in padding; pad at the front"
            for i in np.flatnonzero(~mask[:, -1])
        ]
        bad = np.unique(ids[mask & ((ids < 0) | (ids >= (vocabulary or 2**31)))])
        if bad.size:
            last = f"0..{vocabulary - 1}" if vocabulary else "range: they are below 0"
            shown = ", ".join(map(str, bad[:5])) + (", ..." if bad.size > 5 else "")
            out.append(f"tokens {shown} of the prompt are not in {last}")
        return out

    def padded(self, multiple: int) -> Prompt:
        """The same with more padding, up to a multiple."""
        more = ((0, 0), (-self.ids.shape[1] % multiple, 0))
        return self._replace(ids=np.pad(self.ids, more), mask=np.pad(self.mask, more))

    def piece(self, made: Sequence[np.ndarray], stop: Sequence[int]) -> Any:
        """What the last of the tokens ``[batch]`` made so far add: themselves, or text."""
        if self.tokenizer is None:
            return made[-1]
        rows = np.stack(made, axis=1)
        before, after = self._texts(rows[:, :-1], stop), self._texts(rows, stop)
        # a letter may take several tokens: it is told when it is whole
        whole = [
            [t.rstrip("\N{REPLACEMENT CHARACTER}") for t in texts] for texts in (before, after)
        ]
        pieces = [b[len(a) :] for a, b in zip(*whole)]
        return pieces[0] if self.is_one else pieces

    def result(self, made: np.ndarray, stop: Sequence[int]) -> Any:
        """The prompt with the tokens made ``[batch, new]``; of texts, only what was made."""
        if self.tokenizer is None:
            return np.concatenate([self.ids[:, self.ids.shape[1] - self.given :], made], axis=1)
        texts = self._texts(made, stop)
        return texts[0] if self.is_one else texts

    def _texts(self, made: np.ndarray, stop: Sequence[int]) -> list[str]:
        """Those of rows ``[batch, new]``, each up to its first ``stop``, after which it is padded."""
        ends = [np.flatnonzero(np.isin(row, stop)) for row in made]
        return [
            self.tokenizer.decode(row[: e[0] + 1 if e.size else None].tolist())
            for row, e in zip(made, ends)
        ]


def prompt_of(prompt: Any, attention_mask: Any, tokenizer: Any) -> Prompt:
    """The prompt of texts, of lists of tokens, or of an array ``[batch, length]``.

    Args:
        tokenizer: has ``encode`` and ``decode``; or an object with such a ``tokenizer``.

    Raises:
        ArgumentError: none of these, or texts without a tokenizer.

    >>> prompt_of([[1, 2, 3], [4]], None, None).mask.tolist()
    [[True, True, True], [False, False, True]]
    """
    is_one = isinstance(prompt, str)
    texts = [prompt] if is_one else prompt
    is_text = isinstance(texts, (list, tuple)) and any(isinstance(t, str) for t in texts)
    if is_text:
        tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
        if tokenizer is None or not all(isinstance(t, str) for t in texts):
            why = "needs a tokenizer" if tokenizer is None else "cannot be mixed with tokens"
            raise mg.tracing.at_user_line(ArgumentError(f"a prompt of text {why}"))
        prompt = [tokenizer.encode(t) for t in texts]
    ids, mask = _rows(prompt)
    if attention_mask is not None:
        mask = np.asarray(attention_mask).astype(bool)
        if mask.shape != ids.shape:
            raise mg.tracing.at_user_line(
                ArgumentError(
                    f"attention_mask {mask.shape} must have the prompt's shape {ids.shape}"
                )
            )
    return Prompt(ids, mask, ids.shape[1], tokenizer if is_text else None, is_one)


def _rows(prompt: Any) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(prompt, (list, tuple)):
        try:
            rows = [np.asarray(row).reshape(-1) for row in prompt]
        except ValueError:
            rows = []
        length = max((len(row) for row in rows), default=0)
        ids = (
            np.stack([np.pad(r, (length - len(r), 0)) for r in rows]) if rows else np.zeros((0, 0))
        )
        mask = np.array([np.arange(length) >= length - len(r) for r in rows]).reshape(ids.shape)
    else:
        ids = np.asarray(prompt.numpy() if isinstance(prompt, mg.Tensor) else prompt)
        mask = np.ones(ids.shape, bool)
    if ids.ndim != 2 or (ids.size and ids.dtype.kind not in "iu"):
        raise mg.tracing.at_user_line(
            ArgumentError(
                f"a prompt is text, or integers [batch, length], not {ids.dtype} {ids.shape}"
            )
        )
    return ids.astype("int32"), mask


def tokens_of(stop: int | Sequence[int] | None) -> tuple[int, ...]:
    """One token or several as a tuple.

    Raises:
        ArgumentError: anything else than integers.

    >>> tokens_of(2), tokens_of([2, 5]), tokens_of(None)
    ((2,), (2, 5), ())
    """
    if stop is None:
        return ()
    try:
        return tuple(operator.index(t) for t in (stop if np.iterable(stop) else (stop,)))
    except TypeError:
        raise mg.tracing.at_user_line(
            ArgumentError(f"stop={stop!r} must be a token or several, as integers")
        ) from None
