"""The namespace is named one by one in `monograph.api`; here: none is forgotten, and editors see all."""

import importlib
import inspect
import pkgutil
import subprocess
import sys

import monograph as mg
import pytest
from monograph import api

# modules whose functions the others use, or that have a namespace of their own
INNER = {"_common", "fft", "linalg", "numpy_protocol", "operators", "updates"}
SHARED = {  # public in their module for other modules of the API only
    "asarray_index", "axes_of", "block", "common_axis", "floating", "from_front", "gather_dims", "getitem",
    "pick", "picked_shape", "plan", "root", "vectors",
}  # fmt: skip
MODULES = sorted({m.name for m in pkgutil.iter_modules(api.__path__)} - INNER)


@pytest.mark.parametrize("name", MODULES)
def test_every_function_of_the_api_is_exported(name):
    module = importlib.import_module(f"monograph.api.{name}")
    made = {
        n
        for n, v in vars(module).items()
        if not n.startswith("_") and callable(v) and getattr(v, "__module__", "") == module.__name__
    }
    functions = {n for n in made if not inspect.isclass(getattr(module, n))}
    assert functions - set(mg.__all__) <= SHARED


def test_all_lists_what_there_is_once():
    assert len(set(mg.__all__)) == len(mg.__all__)
    assert [n for n in mg.__all__ if not hasattr(mg, n)] == []
    public = {n for n in vars(mg) if not n.startswith("_")}
    modules = {n for n in public if inspect.ismodule(getattr(mg, n))}
    assert public - modules - set(mg.__all__) == set()


def test_a_misspelt_name_is_put_right():
    done = subprocess.run(
        [sys.executable, "-c", "import monograph as mg; mg.softmx"], capture_output=True, text=True
    )
    assert "no attribute 'softmx'. Did you mean: 'softmax'?" in done.stderr
