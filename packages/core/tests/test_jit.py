"""`jit`, `trace` and `grad`: caching, structure, static arguments, errors."""

import monograph as mg
import numpy as np
import pytest
from monograph import ops
from monograph.errors import ArgumentError, DTypeError, EngineError, ShapeError


def test_traces_once_per_spec_and_the_cache_is_bounded():
    calls = []
    f = mg.jit(lambda x: calls.append(1) or x + x, max_cache=2)
    for n in (1, 2, 1, 2, 3):
        f(np.ones(n, "float32"))
    assert len(calls) == 3
    assert f.cache_info() == (2, 3, 2, 2)
    f(np.ones(1, "float32"))  # the least recently used went
    assert len(calls) == 4


def test_trees_in_and_out():
    f = mg.jit(lambda d, *, scale: {"sum": d["a"] + d["b"][0], "same": [d["a"] * scale, None]})
    out = f({"a": np.float32(1), "b": (np.float32(2),)}, scale=3.0)
    assert out["sum"].item() == 3 and out["same"][0].item() == 3 and out["same"][1] is None


def test_static_arguments_are_python_values():
    f = mg.jit(
        lambda x, n, mode="up": x * n if mode == "up" else x,
        static_argnums=1,
        static_argnames="mode",
    )
    assert f(mg.tensor(2.0), 3).item() == 6 and f(mg.tensor(2.0), 3, mode="no").item() == 2
    assert f.cache_info().currsize == 2
    with pytest.raises(ArgumentError, match="must be hashable"):
        f(mg.tensor(2.0), [3])


def test_an_argument_that_is_no_array_names_the_fix():
    with pytest.raises(DTypeError, match=r"test_jit.py:\d+: argument .*static_argnames"):
        mg.jit(lambda x, mode: x)(mg.tensor(1.0), "up")


def test_engine_is_chosen_per_call():
    f = mg.jit(lambda x: x + 1)
    assert f.on("numpy")(mg.tensor(1.0)).engine == "numpy"
    with pytest.raises(
        EngineError, match=r"engine 'nope' cannot be used: no engine 'nope' is installed"
    ):
        f.on("nope")
    with pytest.raises(EngineError, match="has no device 'tpu'"):
        f.on("numpy:tpu")
    with mg.engine("numpy") as device:
        assert f(mg.tensor(1.0)).device is device


def test_changing_an_array_after_the_call_changes_nothing():
    x = np.ones(1000, "float32")
    t = mg.tensor(x)
    y = mg.jit(lambda v: v * 1.0)(x)
    x[:] = 7
    assert t.numpy().max() == 1 and y.numpy().max() == 1
    with pytest.raises(ValueError, match="read-only"):
        t.numpy()[0] = 2
    theirs = np.from_dlpack(t)
    assert not np.shares_memory(theirs, t.numpy()), "a consumer of DLPack may write to what it gets"


def test_shape_errors_start_at_the_users_line_and_name_axes():
    def model(x, y):
        return x + y  # the line

    line = model.__code__.co_firstlineno + 1
    with pytest.raises(ShapeError) as e:
        mg.jit(model)(np.ones((2, 3), "float32"), np.ones(4, "float32"))
    text = str(e.value)
    assert text.startswith(f"{__file__}:{line}: ") and "(2, 3)" in text and "axis -1" in text


def test_graph_has_its_own_argument_structure():
    g = mg.trace(lambda a, b: a @ b, mg.Spec((2, 3)), mg.Spec((3, 4)))
    run = g.compile("numpy")
    assert run(np.ones((2, 3), "float32"), np.ones((3, 4), "float32")).shape == (2, 4)
    with pytest.raises(ArgumentError, match="the graph was traced for"):
        run(np.ones((2, 2), "float32"), np.ones((3, 4), "float32"))
    with pytest.raises(ArgumentError, match="nested as"):
        run(np.ones((2, 3), "float32"))


def test_nodes_know_the_users_line():
    g = mg.trace(lambda x: mg.tanh(x), mg.Spec((2,)))
    assert g.nodes[0].source.file == __file__
    d = mg.grad(lambda x: mg.sum(mg.tanh(x))).trace(mg.Spec((2,)))
    assert {n.source.file for n in d.nodes} == {__file__}


def test_gradients_of_trees_and_several_arguments():
    f = lambda p, x: mg.sum(p["w"] * x) + p["b"]
    g = mg.grad(f)({"w": mg.tensor([1.0, 2.0]), "b": mg.tensor(0.0)}, mg.tensor([3.0, 4.0]))
    assert g["w"].tolist() == [3, 4] and g["b"].item() == 1
    gp, gx = mg.grad(f, (0, 1))({"w": mg.tensor([1.0]), "b": mg.tensor(0.0)}, mg.tensor([3.0]))
    assert gx.tolist() == [1] and gp["w"].tolist() == [3]
    value, aux = mg.value_and_grad(lambda x: (x * x, "note" and x + 1), has_aux=True)(
        mg.tensor(3.0)
    )[0]
    assert value.item() == 9 and aux.item() == 4


def test_an_unused_argument_has_a_zero_gradient():
    assert mg.grad(lambda x, y: x * 2.0, 1)(mg.tensor(1.0), mg.tensor([1.0, 2.0])).tolist() == [
        0,
        0,
    ]


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: mg.grad(lambda x: x)(mg.tensor([1.0])), ArgumentError, "real scalar"),
        (lambda: mg.grad(lambda x: x * 1.0)(mg.tensor(1)), DTypeError, "int64"),
        (lambda: mg.grad(lambda x: x, 3)(mg.tensor(1.0)), ArgumentError, "argnums=3"),
        (
            lambda: mg.vjp(lambda x: x, mg.tensor([1.0]))[1](mg.tensor([1.0, 2.0])),
            ArgumentError,
            "leaf 0",
        ),
    ],
)
def test_gradient_mistakes_are_explained(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_tensors_show_shape_dtype_engine_and_finite_count():
    assert repr(mg.tensor([1.0, np.inf])).endswith("float32[2], numpy:cpu:0, 1 of 2 finite)")
    assert "all finite" in repr(mg.tensor([[1.0]]))
    with pytest.raises(TypeError, match="immutable"):
        mg.tensor([1.0])[0] = 2


def test_ragged_lists_and_strings_are_refused():
    with pytest.raises(ArgumentError, match="even in every axis"):
        mg.tensor([[1.0], [1.0, 2.0]])
    with pytest.raises(DTypeError, match="holds no numbers"):
        mg.tensor("text")


def test_a_masked_array_is_refused_rather_than_unmasked():
    x = np.ma.array([1.0, 2.0], mask=[False, True])
    for call in (mg.tensor, mg.jit(lambda x: x + 1)):
        with pytest.raises(ArgumentError, match="filled"):
            call(x)
    assert mg.tensor(x.filled(0)).tolist() == [1, 0]


def test_attributes_may_be_numpy_arrays_and_numbers():
    g = mg.trace(lambda x: ops.transpose(x, permutation=np.argsort([1, 0])), mg.Spec((2, 3)))
    assert g.nodes[0].attrs["permutation"] == (1, 0)
    norm = ops.softmax.bind((0,), {"axis": np.int64(1)})
    assert norm == {"axis": 1} and type(norm["axis"]) is int
