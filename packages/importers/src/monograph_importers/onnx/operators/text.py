"""Counts of n-grams; of words that are numbers."""

from __future__ import annotations

from typing import Any

import monograph as mg
import numpy as np

from ..rules import rule


@rule("TfIdfVectorizer", mode=("TF", "IDF", "TFIDF"))
def tf_idf_vectorizer(
    x: Any, *, max_gram_length: int, max_skip_count: int, min_gram_length: int, mode: str,
    ngram_counts: Any, ngram_indexes: Any, pool_int64s: Any, weights: Any = None,
) -> Any:  # fmt: skip
    """How often each n-gram of a pool occurs in a row, also with up to ``max_skip_count`` words between; or whether."""
    x = mg.asarray(x)
    rows = x if x.ndim == 2 else mg.reshape(x, (1, -1))
    out = mg.zeros((rows.shape[0], max(ngram_indexes) + 1))
    done = 0
    for i, (start, end) in enumerate(zip(ngram_counts, [*ngram_counts[1:], len(pool_int64s)])):
        n = i + 1
        pool = np.asarray(pool_int64s[start:end]).reshape(-1, n)
        columns = np.asarray(ngram_indexes[done : done + len(pool)], np.int64)
        done += len(pool)
        if not len(pool) or not min_gram_length <= n <= max_gram_length:
            continue
        for gap in range(1, (max_skip_count if n > 1 else 0) + 2):
            places = np.arange(rows.shape[1] - (n - 1) * gap)[:, None] + np.arange(n) * gap
            if not len(places):
                break
            seen = rows[:, places]  # [rows, places, n]
            same = mg.all(mg.expand_dims(seen, axis=2) == pool.astype(x.dtype.numpy), axis=-1)
            count = mg.sum(mg.astype(same, mg.float32), axis=1)
            out = out.at[:, columns].add(count)
    if mode != "TF":
        scale = (
            np.ones(len(ngram_indexes), np.float32)
            if weights is None
            else np.asarray(weights, np.float32)
        )
        by = np.zeros(out.shape[1], np.float32)
        by[np.asarray(ngram_indexes)] = scale
        out = (mg.astype(out > 0, mg.float32) if mode == "IDF" else out) * by
    return out if x.ndim == 2 else mg.reshape(out, (-1,))
