"""Every test runs with the graph verifier on, and on the NumPy engine unless it names another.

Also the fixtures that tests of several packages share.
"""

import os
from pathlib import Path

import pytest

os.environ.setdefault("MONOGRAPH_ENGINE", "numpy")
os.environ["MONOGRAPH_VERIFY"] = "1"
os.environ["MONOGRAPH_CACHE_SIZE"] = "0"  # each test compiles what it runs


@pytest.fixture
def ops_of_one_test():
    """Ops registered in the test are forgotten after it."""
    from monograph.op import _REGISTRY

    before = dict(_REGISTRY)
    yield
    _REGISTRY.clear()
    _REGISTRY.update(before)


@pytest.fixture(scope="module")
def native_cache(tmp_path_factory):
    """The folder where compiled C goes, one for the module's tests."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as m:
        m.setenv("MONOGRAPH_CACHE", str(folder))
        yield folder / "native"


@pytest.fixture
def shared_data():
    """The folder of data that is not in the repository: ``MONOGRAPH_DATA``, or one beside the clone."""
    folder = Path(
        os.environ.get("MONOGRAPH_DATA", Path(__file__).parent.parent / "shared" / "data")
    )
    if not folder.is_dir():
        pytest.skip(f"needs the data in {folder} (or MONOGRAPH_DATA)")
    return folder
