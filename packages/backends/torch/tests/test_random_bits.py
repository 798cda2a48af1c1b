"""Random bits in int32 lanes: the same as the record's body, around the length of a chunk too."""

import monograph as mg
import numpy as np
import pytest
from monograph import ops


@pytest.mark.parametrize("dtype", ["uint32", "uint64"])
@pytest.mark.parametrize("n", [0, 1, 7, 32768, 32769, 70001])
def test_bits_do_not_depend_on_the_engine(n, dtype):
    key = np.array([5, 2**32 - 7], "uint32")
    bits = mg.jit(lambda k: ops.random_bits(k, shape=(n,), dtype=dtype))
    got = bits.on("torch")(key).numpy()
    np.testing.assert_array_equal(got, bits.on("numpy")(key).numpy(), strict=True)
