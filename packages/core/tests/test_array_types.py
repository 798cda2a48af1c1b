"""What type checkers read of `Array` is what `api.operators` installs."""

import ast
import inspect

from monograph import array
from monograph.api.operators import INSTALLED

BY_TENSOR_AND_VALUE = {"numpy", "tolist", "item", "__array__"}
NUMPY_ASKS = {"__array_ufunc__", "__array_function__"}


def declared() -> set[str]:
    cls = next(n for n in ast.parse(inspect.getsource(array)).body if isinstance(n, ast.ClassDef))
    block = next(n for n in cls.body if isinstance(n, ast.If))
    names = [n.name for n in block.body if isinstance(n, ast.FunctionDef)]
    names += [t.id for n in block.body if isinstance(n, ast.Assign) for t in n.targets]
    names += [n.target.id for n in block.body if isinstance(n, ast.AnnAssign)]
    return {n for n in names if n.startswith("__") or not n.startswith("_")}


def test_every_installed_method_is_declared_and_no_other():
    assert declared() - BY_TENSOR_AND_VALUE == set(INSTALLED) - NUMPY_ASKS
