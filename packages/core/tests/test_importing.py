"""`mg.load` and `Imported`: the part of importing that no format has to itself."""

import types

import monograph as mg
import numpy as np
import pytest
from monograph import files, plugins, saved
from monograph.errors import (
    ArgumentError,
    FileFormatError,
    PluginError,
    StorageError,
    UnsupportedModel,
)
from monograph.graph import Source
from monograph.importing import Imported, Input, Signature, Unsupported

W = np.arange(6, dtype="float32").reshape(3, 2)


def linear(unsupported=()):
    """``x @ w + b``, as an importer would bring it."""

    def run(scope, x, b=None):
        y = x @ scope.parameter("dense/w", W.shape)
        n = scope.variable("calls", (), dtype="int32")
        n.assign(n.value + 1)
        return {"y": y if b is None else y + b}

    inputs = (
        Input("x", ("batch", 3), mg.float32),
        Input("b", ("batch", 2), mg.float32, optional=True),
    )
    return Imported(
        run, Signature(inputs, ("y",), {"batch": 4}), {"dense/w": W, "calls": np.int32(7)},
        unsupported, "linear",
    )  # fmt: skip


def test_call_takes_positions_and_names_and_any_length_of_a_named_axis():
    imported = linear()
    x = np.ones((5, 3), "float32")
    assert np.array_equal(imported.call(x)["y"].numpy(), x @ W)
    assert np.array_equal(imported.call(x[:1], b=W[:1])["y"].numpy(), x[:1] @ W + W[:1])
    assert imported.store["calls"].item() == 9


def test_the_graph_has_the_examples_sizes_and_the_parameters_by_path():
    graph = linear().graph
    assert graph.input_names[0] == "x"
    assert [str(s) for s in graph.input_specs[:1]] == ["float32[4,3]"]
    assert {"dense/w", "calls"} <= set(graph.input_names)
    assert linear().trace(batch=9).input_specs[0].shape == (9, 3)


def test_it_is_fine_tuned_as_a_part_of_a_larger_model():
    imported = linear()

    def model(scope, x):
        y = imported.model(scope / "body", x)["y"]
        return mg.sum(y * scope.parameter("head", (2,), 1.0))

    store = mg.Store()

    def step(scope, x):
        loss, grads = scope.value_and_grad(lambda: model(scope, x))()
        return loss, grads

    x = np.ones((2, 3), "float32")
    loss, grads = store.bind(step)(x)
    assert loss.item() == (x @ W).sum() and set(grads) == {"body/dense/w", "head"}
    assert np.array_equal(grads["body/dense/w"].numpy(), x.T @ np.ones((2, 2)))
    assert store.trainable == ["body/dense/w", "head"]


def test_all_problems_with_inputs_are_said_at_once():
    with pytest.raises(ArgumentError, match=r"test_importing.py:\d+: linear.*x is missing") as e:
        linear().call(c=1)
    assert "there is no input c" in str(e.value)
    with pytest.raises(ArgumentError, match=r"x: float32\[batch,3\] got shape \(5, 4\)") as e:
        linear().call(np.ones((5, 4), "float32"), np.ones((6, 2), "float32"))
    assert "b?: float32[batch,2] got shape (6, 2)" in str(e.value)
    with pytest.raises(ArgumentError, match="got int64"):
        linear().call(np.ones((5, 3), "int64"))


def test_numbers_of_another_width_are_converted():
    assert linear().call(np.ones((5, 3), "float64"))["y"].dtype == mg.float32


def test_all_that_is_unsupported_is_said_before_anything_runs():
    missing = [Unsupported("aten.foo", 2, "model.py:3"), Unsupported("bar", 1, "x", "axis=2")]
    imported = linear(missing)
    for use in (lambda: imported.call(np.ones((1, 3), "float32")), lambda: imported.graph):
        with pytest.raises(UnsupportedModel, match=r"aten\.foo \(2x, first at model\.py:3\)") as e:
            use()
        assert "bar (1x, first at x): axis=2" in str(e.value) and e.value.missing == tuple(missing)


def test_another_engine_shares_the_store():
    imported = linear()
    other = imported.on("numpy")
    x = np.ones((1, 3), "float32")
    imported.call(x), other.call(x)
    assert other.store is imported.store and imported.store["calls"].item() == 9


def test_read_only_values_are_not_copied_and_survive_an_update():
    big = np.ones((3, 2), "float32")
    big.setflags(write=False)
    store = mg.Store()

    def model(scope, x):
        w = scope.starting({"w": big}).variable("w", big.shape)
        w.assign(w.value + x)
        return w.value

    call = store.bind(model, engine="numpy")
    store_at_first = mg.Store()
    store_at_first.bind(model, engine="numpy").trace(1.0)
    assert np.shares_memory(store_at_first.slots["w"].buffer, big)
    assert np.shares_memory(mg.Tensor.over(big.T).buffer, big), "in whichever order it lies"
    call(1.0), call(1.0)
    assert (store["w"].numpy() == 3).all() and (big == 1).all()


def test_values_of_another_shape_are_an_error():
    def model(scope, x):
        return x * scope.starting({"w": np.ones(3)}).parameter("w", (2,))

    with pytest.raises(mg.errors.VariableError, match=r"float32\[3\].*float32\[2\]"):
        mg.Store().bind(model)(1.0)


def test_nodes_recorded_at_a_line_carry_it():
    def model(x):
        with mg.tracing.at(Source("model.onnx", 3, "MatMul_0", "encoder/layer0")):
            return mg.sin(x)

    assert str(mg.trace(model, mg.Spec((), "float32")).nodes[-1].source) == "model.onnx:3"


@pytest.fixture
def formats(monkeypatch):
    """Importers by name in the place of the installed ones."""
    table = {}

    def load(group, name):
        if isinstance(table[name], Exception):
            raise table[name]
        return table[name]

    monkeypatch.setattr(plugins, "names", lambda group: sorted(table))
    monkeypatch.setattr(plugins, "load", load)
    return table


def importer(recognised):
    return types.SimpleNamespace(
        recognises=lambda source: source in recognised, load=lambda source, **options: (source, options)
    )  # fmt: skip


def test_the_importer_is_found_by_what_it_recognises(formats):
    formats |= {"a": importer([1, 3]), "b": importer([2, 3]), "ill": PluginError("ill is broken")}
    formats["blind"] = types.SimpleNamespace(recognises=lambda source: source.name)
    assert mg.load(2, example=5) == (2, {"example": 5})
    assert mg.load(3, "a") == (3, {})
    text = "module {\n}"  # several lines are no path
    formats["a"] = importer([1, 3, text])
    assert mg.load(text) == (text, {})
    with pytest.raises(ArgumentError, match="may be of the formats a, b"):
        mg.load(3)
    with pytest.raises(FileFormatError, match=r"type int is of no format.*a, b, blind, ill") as e:
        mg.load(4)
    assert "ill is broken" in str(e.value)
    assert "importer 'blind' failed to look at it: AttributeError" in str(e.value)


def test_a_file_that_is_not_there(formats, tmp_path):
    with pytest.raises(StorageError, match="nowhere.onnx: No such file"):
        mg.load(tmp_path / "nowhere.onnx")


def test_a_model_is_saved_with_its_variables_as_they_are(tmp_path):
    imported, x = linear(), np.ones((4, 3), "float32")
    imported.call(x)
    imported.store["dense/w"] = 2 * W
    imported.save(tmp_path / "m.monograph")
    again = saved.load(tmp_path / "m.monograph")
    assert str(again.signature) == "(x: float32[4,3]) -> (y)" and again.name == "linear"
    assert np.array_equal(again.call(x)["y"].numpy(), x @ (2 * W))
    assert again.store["calls"].item() == 9 and again.store.trainable == ["dense/w"]
    assert saved.recognises(tmp_path / "m.monograph") and not saved.recognises(tmp_path)
    with pytest.raises(FileFormatError, match="'model' version 1, not graph"):
        mg.Graph.load(tmp_path / "m.monograph")
    imported.save(tmp_path / "m.monograph", batch=2)
    assert saved.load(tmp_path / "m.monograph").signature.inputs[0].shape == (2, 3)


@pytest.mark.parametrize("change", ["add a result", "drop a variable", "another shape"])
def test_a_saved_model_whose_parts_do_not_fit_is_refused(tmp_path, change):
    linear().save(tmp_path / "m")
    header, arrays = files.read_container(tmp_path / "m")
    if change == "add a result":
        header["results"] = ["tuple", None, [None, None]]
    elif change == "drop a variable":
        del header["variables"]["dense/w"]
    else:
        header["variables"]["dense/w"]["array"] = header["variables"]["calls"]["array"]
    header.pop("arrays")
    files.write_container(tmp_path / "m", header, arrays)
    with pytest.raises(FileFormatError, match=str(tmp_path)):
        saved.load(tmp_path / "m").call(np.ones((4, 3), "float32"))


def test_a_name_that_no_system_takes():
    with pytest.raises(StorageError, match="null"):
        mg.load("a\0b")
