"""`load`: converted weights into a store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import monograph as mg


def load(store: mg.Store, arrays: Mapping[str, Any]) -> None:
    """Put ``{path: array}``, such as the converters give, into ``store``.

    A variable that is there gets the new value; else it is added, trainable unless batch norm moves
    it (``moving_...``). What the model needs of them is checked when it is traced.

    Raises:
        VariableError: a variable that is there has another shape.

    >>> import numpy as np
    >>> store = mg.Store()
    >>> load(store, {"norm/gamma": np.ones(3), "norm/moving_mean": np.zeros(3)})
    >>> store.trainable
    ['norm/gamma']
    """
    for path, value in arrays.items():
        if path in store:
            store[path] = value
        else:
            store.add(path, value, trainable=not path.rpartition("/")[2].startswith("moving_"))
