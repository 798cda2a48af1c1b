"""What is no index is refused where a layer is called."""

import monograph as mg
import monograph_gnn as gnn
import numpy as np
import pytest


@pytest.mark.parametrize(
    "index, message",
    [
        (gnn.graph(np.eye(3, dtype="float32"), [0], [1]), "a GraphBatch has one as .index"),
        (np.zeros((2, 4), "int64"), r"a ndarray is no EdgeIndex; gnn.edge_index\(senders"),
        (None, "a NoneType is no EdgeIndex"),
    ],
)
def test_what_is_no_index_is_refused_by_name(index, message):
    call = mg.Store().bind(lambda scope: gnn.gcn_conv(scope / "first", index, mg.ones((3, 3)), 2))
    with pytest.raises(mg.errors.ArgumentError, match=message) as e:
        call()
    assert "test_authoring.py" in str(e.value) and "gcn_conv 'first'" in str(e.value)
