"""What several of the tests that cross packages share."""

import pytest


@pytest.fixture(scope="module")
def one_thread():
    """PyTorch's threads spin, which makes many small ops slow where others compute too."""
    torch = pytest.importorskip("torch", reason="its threads are counted")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
