"""The rules of all operators, by subject; importing this fills `rules.TABLE`."""

from . import (
    attention,
    convolutions,
    elementwise,
    flow,
    indexing,
    legacy,
    losses,
    normalization,
    pooling,
    products,
    quantization,
    random,
    recurrent,
    reductions,
    regions,
    resizing,
    sequences,
    shapes,
    signals,
    text,
)
