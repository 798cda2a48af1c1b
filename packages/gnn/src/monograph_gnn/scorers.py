"""How true a triple of a knowledge graph seems, of its parts' vectors; higher is truer.

Each scorer takes ``head``, ``relation`` and ``tail``, ``[..., features]``, which broadcast, and gives ``[...]``;
`score_tails` and `score_heads` try every entity at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import monograph as mg
from monograph.errors import ArgumentError, ShapeError
from monograph.tracing import at_user_line


def distmult_score(head: Any, relation: Any, tail: Any) -> Any:
    """``sum of h r t`` (Yang et al. 2015): the same for both directions.

    >>> import numpy as np
    >>> distmult_score(np.float32([1, 2]), np.float32([3, 1]), np.float32([1, -1])).item()
    1.0
    """
    return _dot(_product(head, relation), tail)


def complex_score(head: Any, relation: Any, tail: Any) -> Any:
    """``Re of the sum of h r conj(t)`` (Trouillon et al. 2016, "ComplEx").

    Args:
        head, relation, tail: ``[..., 2 * features]``: real parts, then imaginary ones.

    >>> import numpy as np
    >>> complex_score(np.float32([1, 2]), np.float32([0, 1]), np.float32([-2, 1])).item()  # (1 + 2i) i
    5.0
    """
    return _dot(_rotated(head, relation), tail)


def transe_score(head: Any, relation: Any, tail: Any, *, p: int = 1) -> Any:
    """``-|h + r - t|`` (Bordes et al. 2013). The paper keeps entities at length 1.

    Args:
        p: the norm's, 1 or 2.

    >>> import numpy as np
    >>> transe_score(np.float32([1, 2]), np.float32([3, 1]), np.float32([4, 5])).item()
    -2.0
    """
    return _near(_plus(head, relation), tail, p=p)


def rotate_score(head: Any, relation: Any, tail: Any, *, p: int = 2) -> Any:
    """``-|h exp(i r) - t|`` (Sun et al. 2019, "RotatE"): a relation turns the head's numbers.

    Args:
        head, tail: ``[..., 2 * features]``: real parts, then imaginary ones.
        relation: ``[..., features]``: angles.
        p: of the norm over complex numbers, 1 (as the authors' code has it) or 2 (as PyG).

    >>> import numpy as np
    >>> quarter = np.float32([np.pi / 2])
    >>> round(rotate_score(np.float32([1, 0]), quarter, np.float32([0, 4])).item(), 4)
    -3.0
    """
    return _near_complex(_rotated(head, _turn(relation)), tail, p=p)


# ---- the parts of scores


def _halves(x: Any) -> tuple[Any, Any]:
    x = mg.asarray(x)
    if not x.ndim or x.shape[-1] % 2:
        raise at_user_line(
            ShapeError(f"needs [..., 2 * features], real and imaginary parts; got {x.spec}")
        )
    half = x.shape[-1] // 2
    return x[..., :half], x[..., half:]


def _product(x: Any, relation: Any) -> Any:
    return mg.asarray(x) * mg.asarray(relation)


def _plus(x: Any, relation: Any) -> Any:
    return mg.asarray(x) + mg.asarray(relation)


def _minus(x: Any, relation: Any) -> Any:
    return mg.asarray(x) - mg.asarray(relation)


def _rotated(x: Any, relation: Any) -> Any:
    """The product of complex numbers."""
    (a, b), (c, d) = _halves(x), _halves(relation)
    return mg.concat([a * c - b * d, a * d + b * c], axis=-1)


def _rotated_back(x: Any, relation: Any) -> Any:
    """The product with the conjugate."""
    (a, b), (c, d) = _halves(x), _halves(relation)
    return mg.concat([a * c + b * d, b * c - a * d], axis=-1)


def _turn(angles: Any) -> Any:
    angles = mg.asarray(angles)
    return mg.concat([mg.cos(angles), mg.sin(angles)], axis=-1)


def _turned_back(x: Any, angles: Any) -> Any:
    return _rotated_back(x, _turn(angles))


def _turned(x: Any, angles: Any) -> Any:
    return _rotated(x, _turn(angles))


def _dot(a: Any, b: Any) -> Any:
    return mg.sum(mg.asarray(a) * mg.asarray(b), axis=-1)


def _dots(queries: Any, entities: Any) -> Any:
    return queries @ mg.matrix_transpose(mg.asarray(entities))


def _root(squares: Any) -> Any:
    """The square root, whose slope at 0 is 0, as a norm's."""
    some = squares > 0
    return mg.where(some, mg.sqrt(mg.where(some, squares, 1)), 0)


def _near(a: Any, b: Any, *, p: int = 1) -> Any:
    apart = mg.asarray(a) - mg.asarray(b)
    if _norm(p) == 1:
        return -mg.sum(mg.abs(apart), axis=-1)
    return -_root(mg.sum(mg.square(apart), axis=-1))


def _near_complex(a: Any, b: Any, *, p: int = 2) -> Any:
    if _norm(p) == 2:
        return _near(a, b, p=2)
    re, im = _halves(mg.asarray(a) - mg.asarray(b))
    return -mg.sum(_root(mg.square(re) + mg.square(im)), axis=-1)


def _norm(p: int) -> int:
    if p not in (1, 2):
        raise at_user_line(ArgumentError(f"p={p!r} must be 1 or 2"))
    return p


# ---- against all entities


@dataclass(frozen=True)
class _Parts:
    """A score as a comparison of what is asked for with what is there."""

    to_tail: Callable[[Any, Any], Any]  # of head and relation
    to_head: Callable[[Any, Any], Any]  # of tail and relation
    compare: Callable[..., Any]  # queries [batch, width], entities [entities, width]


def _each_by_each(near: Callable[..., Any]) -> Callable[..., Any]:
    return lambda queries, entities, **options: near(
        queries[:, None], mg.asarray(entities)[None], **options
    )


_PARTS: dict[Callable, _Parts] = {
    distmult_score: _Parts(_product, _product, _dots),
    complex_score: _Parts(_rotated, _rotated_back, _dots),
    transe_score: _Parts(_plus, _minus, _each_by_each(_near)),
    rotate_score: _Parts(_turned, _turned_back, _each_by_each(_near_complex)),
}


def score_tails(score: Callable, head: Any, relation: Any, entities: Any, **options: Any) -> Any:
    """Every entity tried as the tail: by one product of matrices for `distmult_score` and
    `complex_score`.

    Args:
        score: a scorer of this module, or any function ``(head, relation, tail) -> [...]`` whose
            arguments broadcast.
        head, relation: ``[batch, features]``.
        entities: ``[entities, features]``.
        options: of the scorer.

    Returns:
        ``[batch, entities]``.

    >>> import numpy as np
    >>> x = np.float32([[1, 2], [0, 1], [3, 0]])
    >>> score_tails(distmult_score, x[:1], np.float32([[1, 1]]), x).tolist()
    [[5.0, 2.0, 3.0]]
    """
    if score in _PARTS:
        parts = _PARTS[score]
        return parts.compare(parts.to_tail(head, relation), entities, **options)
    head, relation, entities = map(mg.asarray, (head, relation, entities))
    return score(head[:, None], relation[:, None], entities[None], **options)


def score_heads(score: Callable, relation: Any, tail: Any, entities: Any, **options: Any) -> Any:
    """Every entity tried as the head, like `score_tails`.

    Args:
        relation, tail: ``[batch, features]``.

    Returns:
        ``[batch, entities]``.
    """
    if score in _PARTS:
        parts = _PARTS[score]
        return parts.compare(parts.to_head(tail, relation), entities, **options)
    relation, tail, entities = map(mg.asarray, (relation, tail, entities))
    return score(entities[None], relation[:, None], tail[:, None], **options)
