"""The user's functions: the Python array API standard 2024.12 and what machine learning adds."""

from types import ModuleType

from . import (
    creation,
    einsum,
    elementwise,
    indexing,
    linear,
    manipulation,
    nn,
    searching,
    sets,
    statistical,
    utility,
)


def _functions(module: ModuleType) -> dict:
    names = getattr(module, "__all__", None) or [
        n
        for n, v in vars(module).items()
        if not n.startswith("_") and getattr(v, "__module__", None) == module.__name__
    ]
    return {n: getattr(module, n) for n in names}


PUBLIC: dict = {}
for _module in (
    elementwise,
    statistical,
    manipulation,
    creation,
    linear,
    einsum,
    indexing,
    searching,
    sets,
    nn,
    utility,
):
    PUBLIC.update(_functions(_module))
PUBLIC.pop("getitem", None)
PUBLIC["empty"], PUBLIC["empty_like"] = creation.empty, creation.empty_like
globals().update(PUBLIC)
