"""Random programs of views and writes: what shares memory in torch changes together here."""

from __future__ import annotations

from itertools import pairwise

import monograph as mg
import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

torch = pytest.importorskip("torch")

from monograph_importers.pytorch.decompose import overload  # noqa: E402
from monograph_importers.pytorch.interpret import Run  # noqa: E402
from monograph_importers.pytorch.memory import Memory, writes  # noqa: E402
from monograph_importers.pytorch.program import Graph, Node, Ref  # noqa: E402


def test_a_long_line_of_views_that_is_written():
    names = ["x", *[f"v{i}" for i in range(1200)]]
    nodes = [
        Node("aten.transpose.int", [Ref(a), 0, 1], {}, b) if i % 2 else Node("aten.view.default", [Ref(a), [2, 2]], {}, b)
        for i, (a, b) in enumerate(pairwise(names))
    ]  # fmt: skip
    memory = Memory()
    memory.put("x", mg.tensor([[0.0, 1.0], [2.0, 3.0]]))
    graph = Graph(
        ["x"],
        [*nodes, Node("aten.add_.Tensor", [Ref(names[-1]), 1.0], {}, "y")],
        [Ref("x"), Ref("v9")],
    )
    x, view = Run(None).graph(graph, memory)
    assert x.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert view.tolist() == [[1.0, 3.0], [2.0, 4.0]]  # of an odd number of transpositions


# op and what else it takes, for a tensor of this shape; None where it does not fit
VIEWS = {
    "transpose.int": lambda s, k: (0, -1) if s else None,
    "select.int": lambda s, k: (k % len(s), k % s[k % len(s)]) if s and s[k % len(s)] else None,
    "slice.Tensor": lambda s, k: (k % len(s), k % 2, 2**62, 1 + k % 3) if s else None,
    "reshape.default": lambda s, k: ([-1],),
    "unsqueeze.default": lambda s, k: (0,) if len(s) < 4 else None,
    "diagonal.default": lambda s, k: (k % 2,) if len(s) > 1 else None,
    "expand.default": lambda s, k: ([-1] * len(s),),
    "alias.default": lambda s, k: (),
    "contiguous.default": lambda s, k: (),
    "clone.default": lambda s, k: (),
    "neg.default": lambda s, k: (),
}
WRITES = {
    "add_.Tensor": lambda s, k: (k + 0.5,),
    "mul_.Tensor": lambda s, k: (1.5,),
    "fill_.Scalar": lambda s, k: (float(k),),
    "relu_.default": lambda s, k: (),
    "zero_.default": lambda s, k: (),
}
STEP = st.tuples(st.booleans(), st.integers(0, 99), st.integers(0, 11), st.integers(0, 11))


@settings(max_examples=120, deadline=None)
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=3), steps=st.lists(STEP, max_size=8))
# a write through a view of a copy: of the transposed tensor flattened
@example([2, 2], [(False, 0, 0, 0), (False, 3, 1, 0), (False, 0, 2, 0), (True, 0, 3, 0)])
def test_writes_show_as_in_torch(shape, steps):
    x = torch.arange(float(np.prod(shape))).reshape(shape) - 3
    theirs, nodes = {"x": x.clone()}, []
    for i, (write, which, of, k) in enumerate(steps):
        table = WRITES if write else VIEWS
        op, more = list(table.items())[which % len(table)]
        name = list(theirs)[of % len(theirs)]
        rest = more(tuple(theirs[name].shape), k)
        if rest is None:
            continue
        theirs[f"v{i}"] = overload(f"aten.{op}")(theirs[name], *rest)
        nodes.append(Node(f"aten.{op}", [Ref(name), *rest], {}, f"v{i}"))
    memory = Memory()
    memory.put("x", mg.tensor(x.numpy()))
    graph = Graph(["x"], nodes, [Ref(n) for n in theirs])
    ours = Run(None).graph(graph, memory)
    for name, value in zip(theirs, ours):
        np.testing.assert_array_equal(
            np.asarray(value), theirs[name].numpy(), err_msg=f"{name}: {nodes}"
        )
    # whether the input was written is known without running
    before = not torch.equal(theirs["x"], x)
    assert not before or dict(writes(graph))
