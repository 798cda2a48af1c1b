"""ONNX files that are damaged or hostile: a clear error, soon, and no memory taken on their word."""

import contextlib
import os
import subprocess
import sys

import monograph as mg
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from monograph.errors import (
    ArgumentError,
    FileFormatError,
    MonographError,
    ShapeError,
    StorageError,
    UnsupportedModel,
)

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper as h, numpy_helper  # noqa: E402

W = np.arange(1200, dtype="float32").reshape(30, 40)


def model(nodes, inits=(), inputs=(("x", 1, [2, 30]),), outputs=(("y", 1, None),), **kw):
    graph = h.make_graph(
        nodes, "main", [h.make_tensor_value_info(*i) for i in inputs],
        [h.make_tensor_value_info(*o) for o in outputs], list(inits), **kw,
    )  # fmt: skip
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 21)], ir_version=10)


def linear():
    nodes = [
        h.make_node("MatMul", ["x", "dense.w"], ["z"], name="/dense/MatMul"),
        h.make_node("Relu", ["z"], ["y"], name="/act/Relu"),
    ]
    return model(nodes, [numpy_helper.from_array(W, "dense.w")])


def external(tmp_path, location, offset=0, length=None, write="weights.bin"):
    """A model whose weight lies in another file; ``write`` is the file that there is."""
    m = linear()
    t = m.graph.initializer[0]
    t.ClearField("raw_data")
    t.data_location = TensorProto.EXTERNAL
    entries = {"location": location, "offset": offset, **({"length": length} if length else {})}
    for key, value in entries.items():
        t.external_data.add(key=key, value=str(value))
    if write:
        (tmp_path / write).write_bytes(b"\0" * 64 + W.tobytes())
    path = tmp_path / "model.onnx"
    path.write_bytes(m.SerializeToString())
    return path


X = np.ones((2, 30), "float32")


def many_nodes(n):
    return [h.make_node("Relu", [f"{i}" if i else "x"], [f"{i + 1}"]) for i in range(n)]


def many_in_branches():
    """Two branches, each with too few to be noticed alone."""
    branch = h.make_graph(
        many_nodes(26_000), "branch", [], [h.make_tensor_value_info("26000", 1, None)]
    )
    return [h.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]


@pytest.mark.parametrize("what", ["nodes", "branches", "initializers"])
def test_more_parts_than_any_model_has(what):
    made = {
        "nodes": lambda: model(many_nodes(50_001)),
        "branches": lambda: model(many_in_branches()),
        "initializers": lambda: model([], [numpy_helper.from_array(W[0, :1], "w")] * 50_002),
    }
    m = made[what]()
    with pytest.raises(FileFormatError, match="50,000"):
        mg.load(m.SerializeToString())


def test_a_path_bytes_and_a_proto_are_one_model(tmp_path):
    m, path = linear(), tmp_path / "m.onnx"
    path.write_bytes(m.SerializeToString())
    for source in (path, str(path), path.read_bytes(), m):
        imported = mg.load(source)
        assert list(imported.parameters) == ["dense/w"]
        assert np.array_equal(imported.parameters["dense/w"], W)
        assert np.array_equal(imported.call(X).numpy(), X @ W)
    in_file = mg.load(path).parameters["dense/w"]
    assert not in_file.flags.writeable and not in_file.flags.owndata  # the file's own pages


def test_external_data_is_mapped(tmp_path):
    path = external(tmp_path, "weights.bin", 64, W.nbytes)
    w = mg.load(path).parameters["dense/w"]
    assert np.array_equal(w, W) and isinstance(w.base, np.memmap)


@pytest.mark.parametrize(
    "location", ["../secret.bin", "/etc/passwd", "sub/../../secret.bin", "", "link.bin", "a\0b"]
)
def test_external_data_outside_of_the_folder_is_refused(tmp_path, location):
    home = tmp_path / "home"
    (home / "sub").mkdir(parents=True)
    (tmp_path / "secret.bin").write_bytes(b"\0" * 64 + W.tobytes())
    os.symlink(tmp_path / "secret.bin", home / "link.bin")
    with pytest.raises(StorageError, match="not in the model's folder"):
        mg.load(external(home, location, 64))


@pytest.mark.parametrize(
    "offset, length", [(65, None), (-1, None), (64, 8), (2**62, None), (0, 2**63)]
)
def test_external_data_must_be_there(tmp_path, offset, length):
    with pytest.raises(FileFormatError, match=r"dense.w needs 4,800 bytes; weights.bin has 4,864"):
        mg.load(external(tmp_path, "weights.bin", offset, length))


def test_external_data_that_is_missing(tmp_path):
    with pytest.raises(StorageError, match="other.bin: No such file"):
        mg.load(external(tmp_path, "other.bin"))
    with pytest.raises(StorageError, match="load the model by its path"):
        mg.load(external(tmp_path, "weights.bin").read_bytes())
    with pytest.raises(FileFormatError, match="is no number"):
        mg.load(external(tmp_path, "weights.bin", "many"))


def test_every_truncation_is_found():
    data = linear().SerializeToString()
    step = max(len(data) // 200, 1)
    for n in [*range(150), *range(150, len(data), step)]:
        with pytest.raises(MonographError):
            mg.load(data[:n], format="onnx").call(X)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_flipped_bits_never_crash(data):
    raw = bytearray(SMALL)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(MonographError):
        mg.load(bytes(raw), format="onnx").call(X)


SMALL = model(
    [
        h.make_node("MatMul", ["x", "w"], ["z"]),
        h.make_node("Reshape", ["z", "shape"], ["r"]),
        h.make_node("ConstantOfShape", ["shape"], ["c"]),
        h.make_node("Add", ["r", "c"], ["y"]),
    ],
    [
        numpy_helper.from_array(np.ones((30, 4), "float32"), "w"),
        numpy_helper.from_array(np.array([4, 2]), "shape"),
    ],
).SerializeToString()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_no_model(raw):
    with pytest.raises(MonographError):
        mg.load(raw, format="onnx").call(X)


def tensor(name, dims, raw=b"", **kw):
    t = TensorProto(name=name, data_type=kw.pop("data_type", 1), dims=dims, **kw)
    t.raw_data = raw
    return t


@pytest.mark.parametrize(
    "t, says",
    [
        (tensor("w", [2**40, 2**20]), "0 bytes, its shape"),
        (tensor("w", [-1, 4]), r"has the shape \(-1, 4\)"),
        (tensor("w", [2], b"abc"), "3 bytes, its shape"),
        (tensor("w", [2], data_type=99), "unknown element type 99"),
        (
            TensorProto(name="w", data_type=1, dims=[2**50], float_data=[1.0]),
            "1 numbers, its shape",
        ),
    ],
)
def test_shapes_are_held_against_the_bytes(t, says):
    with pytest.raises(FileFormatError, match=says):
        mg.load(model([h.make_node("Add", ["x", "w"], ["y"])], [t]))


def chain(op, inputs, **attributes):
    return h.make_node(op, inputs, ["y"], **attributes)


HUGE = numpy_helper.from_array(np.array([2**60]), "n")


@pytest.mark.parametrize(
    "nodes",
    [
        [chain("ConstantOfShape", ["n"])],
        [h.make_node("Expand", ["s", "n"], ["y"])],
        [h.make_node("Tile", ["s", "n"], ["y"])],
        [h.make_node("Range", ["zero", "m", "one"], ["y"])],
        [h.make_node("OneHot", ["zero", "n", "two"], ["y"])],
        [h.make_node("Pad", ["s", "pads"], ["y"])],
        [h.make_node("Resize", ["s", "", "scale"], ["y"])],
        [h.make_node("RandomUniform", [], ["y"], shape=[2**60])],
        [h.make_node("CenterCropPad", ["s", "n"], ["y"])],
    ],
    ids=lambda nodes: nodes[0].op_type,
)
def test_sizes_that_no_machine_has_are_an_error_and_no_allocation(nodes):
    inits = [
        HUGE, numpy_helper.from_array(np.ones(1, "float32"), "s"),
        numpy_helper.from_array(np.array(0), "zero"), numpy_helper.from_array(np.array(1), "one"),
        numpy_helper.from_array(np.array(2**60), "m"),
        numpy_helper.from_array(np.array([0, 2**60]), "pads"),
        numpy_helper.from_array(np.array([1e18], "float32"), "scale"),
        numpy_helper.from_array(np.array([0, 1]), "two"),
    ]  # fmt: skip
    imported = mg.load(model(nodes, inits))
    with pytest.raises(ShapeError, match="model.* array of shape"):
        imported.call(X)


def test_doubling_ends():
    nodes = [h.make_node("Concat", [f"v{i}", f"v{i}"], [f"v{i + 1}"], axis=0) for i in range(60)]
    m = model(nodes, [numpy_helper.from_array(np.arange(4), "v0")], outputs=[("v60", 7, None)])
    with pytest.raises(MonographError, match=r"array of shape"):
        mg.load(m).call(X)


def test_every_problem_of_a_graph_is_named():
    nodes = [
        h.make_node("Add", ["x", "b"], ["a"], name="first"),
        h.make_node("Add", ["a", "x"], ["b"], name="second"),
        h.make_node("Relu", ["nothing"], ["a"], name="third"),
    ]
    with pytest.raises(FileFormatError) as e:
        mg.load(model(nodes, outputs=[("y", 1, None)]))
    said = str(e.value)
    assert "node 'first' (Add) reads 'b', which only a later node makes: a cycle" in said
    assert "node 'third' (Relu) reads 'nothing', which nothing makes" in said
    assert "node 'third' (Relu) makes 'a', which is there already" in said
    assert "nothing makes the output 'y'" in said


def test_names_that_are_there_twice():
    w = numpy_helper.from_array(W, "w")
    m = model([h.make_node("MatMul", ["x", "w"], ["y"])], [w, w], [("x", 1, [2, 30])] * 2)
    with pytest.raises(
        FileFormatError, match=r"initializer 'w' is there twice\n.*input 'x' is there twice"
    ):
        mg.load(m)


def test_a_function_that_calls_itself():
    m = model([h.make_node("F", ["x"], ["y"], domain="own")])
    m.opset_import.append(h.make_opsetid("own", 1))
    m.functions.append(
        h.make_function(
            "own", "F", ["a"], ["b"], [h.make_node("F", ["a"], ["b"], domain="own")],
            [h.make_opsetid("own", 1)],
        )
    )  # fmt: skip
    with pytest.raises(FileFormatError, match="the function F calls itself"):
        mg.load(m)


def laughs(depth):
    """Functions that call the next one twice."""
    m = model([h.make_node("F0", ["x"], ["y"], domain="own")])
    m.opset_import.append(h.make_opsetid("own", 1))
    for i in range(depth):
        op, domain = ("Relu", "") if i == depth - 1 else (f"F{i + 1}", "own")
        nodes = [h.make_node(op, [a], [b], domain=domain) for a, b in (("a", "b"), ("b", "c"))]
        sets = [h.make_opsetid("own", 1), h.make_opsetid("", 21)]
        m.functions.append(h.make_function("own", f"F{i}", ["a"], ["c"], nodes, sets))
    return m


def test_functions_that_unfold_without_end(monkeypatch):
    from monograph_importers.onnx import interpret

    x = np.ones((2, 30), "float32")
    assert mg.load(laughs(4)).call(x).shape == x.shape
    monkeypatch.setattr(interpret, "LONGEST", 5000)
    imported = mg.load(laughs(60))
    assert not imported.unsupported
    with pytest.raises(ArgumentError, match="more than 5,000 steps"):
        imported.call(x)


def test_importing_the_module_is_light():
    code = "import sys, monograph_importers.onnx; sys.exit('onnx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_everything_missing_is_listed_before_anything_runs():
    nodes = [
        h.make_node("Foo", ["x"], ["a"], name="n1", domain="their.own"),
        h.make_node("Foo", ["a"], ["b"], name="n2", domain="their.own"),
        h.make_node("StringNormalizer", ["b"], ["c"], name="n3"),
        h.make_node("Relu", ["c"], ["d"], name="n4", alpha=2.0),
        h.make_node("NonZero", ["d"], ["y"], name="n5"),
    ]
    imported = mg.load(model(nodes))
    assert [(u.op, u.count) for u in imported.unsupported] == [
        ("NonZero", 1), ("their.own.Foo", 2), ("StringNormalizer", 1), ("Relu", 1),
    ]  # fmt: skip
    assert "a shape depends on the data of the input 'x'" in str(imported.unsupported[0])
    assert "the attribute alpha" in str(imported.unsupported[3])
    with pytest.raises(UnsupportedModel, match="StringNormalizer"):
        imported.call(X)


BOMB = """
import resource, sys, time
import numpy as np, onnx, monograph as mg, monograph_importers.onnx.build
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
try:
    mg.load(sys.argv[1]).call(np.ones((2, 30), "float32"))
except mg.errors.MonographError as e:
    print(type(e).__name__, time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base)
"""


def test_a_large_file_of_nothing_takes_neither_time_nor_memory(tmp_path):
    path = tmp_path / "m.onnx"
    with open(
        path, "wb"
    ) as f:  # a gigabyte, most of it a hole, said to be a weight of another size
        small = model([h.make_node("Add", ["x", "w"], ["y"])], [tensor("w", [7, 3], b"\0" * 2000)])
        f.write(small.SerializeToString())
        f.truncate(2**30)
    out = subprocess.run(
        [sys.executable, "-c", BOMB, str(path)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert out[0] == "FileFormatError" and float(out[1]) < 5 and int(out[2]) < 256 * 1024, out


SQUARE = [(n, 1, [2, 3]) for n in "xab"]
BODY = h.make_graph(
    [
        h.make_node("ReduceMax", ["q"], ["top"], keepdims=0),
        h.make_node("Cast", ["top"], ["go"], to=TensorProto.BOOL),
    ],
    "turn",
    [h.make_tensor_value_info(*i) for i in (("i", 7, []), ("was", 9, []), ("q", 1, [2, 3]))],
    [h.make_tensor_value_info(*i) for i in (("go", 9, []), ("q", 1, [2, 3]), ("top", 1, []))],
)
# nodes that fail for every input, and what is said of them
FAILING = {
    "strings": (h.make_node("Cast", ["x"], ["y"], to=TensorProto.STRING), "there are no strings"),
    "no type": (h.make_node("Cast", ["x"], ["y"], to=99), "no engine has ONNX's element type 99"),
    "no type of random numbers": (
        h.make_node("RandomNormalLike", ["x"], ["y"], dtype=8), "element type 8"),
    "data of four bits": (h.make_node("Cast", ["x"], ["y"], to=TensorProto.INT4), "holds int4"),
    "a type of another value": (h.make_node("CastLike", ["x", "text"], ["y"]), "no strings"),
    "unknown letters": (h.make_node("Einsum", ["x"], ["y"], equation="ij->k"), "must occur before"),
    "no letters": (h.make_node("Einsum", ["x"], ["y"], equation="i1->i"), "does not match 'i1'"),
    "unknown mode": (
        h.make_node("Resize", ["x", "", "scales"], ["y"], mode="lanczos"), "'lanczos', which is none of"),
    "unknown activation": (
        h.make_node("RNN", ["x", "a", "b"], ["y"], activations=["Gelu"]), "'Gelu' is none of relu"),
    "unknown reduction": (
        h.make_node("ScatterND", ["x", "at", "a"], ["y"], reduction="mean"), "'mean', which is none"),
    "another kind": (h.make_node("Gelu", ["x"], ["y"], approximate=2), "approximate is 2"),
    "too many inputs": (h.make_node("Gelu", ["x", "x"], ["y"]), "too many positional"),
    "too few inputs": (h.make_node("MatMul", ["x"], ["y"]), "missing a required argument"),
    "no attribute": (h.make_node("BitShift", ["at", "at"], ["y"]), "'direction'"),
    "boxes that are data": (h.make_node("RoiAlign", ["x", "a", "at"], ["y"]), "boxes that are known"),
    "a loop that data ends": (
        h.make_node("Loop", ["", "yes", "x"], ["z", "y"], body=BODY), "depends on it"),
}  # fmt: skip
KNOWN = [
    numpy_helper.from_array(np.array([1, 2], "float32"), "scales"),
    numpy_helper.from_array(np.array([[0]]), "at"),
    numpy_helper.from_array(np.array(True), "yes"),
    numpy_helper.from_array(np.array(["a"], object), "text"),
]


@pytest.mark.parametrize("name", FAILING)
def test_what_fails_for_every_input_is_listed(name):
    node, said = FAILING[name]
    (found,) = mg.load(model([node], KNOWN, SQUARE)).unsupported
    assert found.op == node.op_type and said in found.why, found


def test_all_of_it_at_once():
    nodes = []
    for i, (node, _) in enumerate(FAILING.values()):
        nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
        nodes[-1].output[:] = [f"{o}{i}" for o in node.output]
    nodes.append(h.make_node("Relu", ["x"], ["y"]))
    imported = mg.load(model(nodes, KNOWN, SQUARE))
    assert sum(u.count for u in imported.unsupported) == len(FAILING)
    with pytest.raises(UnsupportedModel, match="Einsum"):
        imported.call(*[np.ones((2, 3), "float32")] * 3)


def test_what_follows_a_step_that_fails_is_found_where_its_shape_is_known():
    foo = h.make_node("Foo", ["x"], ["z"], domain="their.own")
    cast = h.make_node("Cast", ["z"], ["y"], to=TensorProto.INT4)
    whole = model([foo, cast], value_info=[h.make_tensor_value_info("z", 1, [2, "n"])])
    assert [u.op for u in mg.load(whole).unsupported] == ["their.own.Foo", "Cast"]
    assert [u.op for u in mg.load(model([foo, cast])).unsupported] == ["their.own.Foo"]


def test_a_sound_model_that_needs_longer_axes_is_not_refused():
    nodes = [
        h.make_node("Shape", ["x"], ["n"]),
        h.make_node("Sub", ["n", "five"], ["m"]),
        h.make_node("ConstantOfShape", ["m"], ["y"]),
    ]
    five = numpy_helper.from_array(np.array([5]), "five")
    imported = mg.load(model(nodes, [five], [("x", 1, ["n"])]))
    assert not imported.unsupported  # as it would be for the axis of 2 that stands for any length
    assert imported.call(np.zeros(7, "float32")).shape == (2,)


def test_known_numbers_of_four_bits_are_computed():
    nodes = [
        h.make_node("Cast", ["w"], ["four"], to=TensorProto.INT4),
        h.make_node("Cast", ["four"], ["z"], to=TensorProto.FLOAT),
        h.make_node("Add", ["x", "z"], ["y"]),
    ]
    imported = mg.load(
        model(nodes, [numpy_helper.from_array(np.array([3, -2]), "w")], [("x", 1, [2])])
    )
    assert not imported.unsupported
    assert imported.call(np.zeros(2, "float32")).tolist() == [3.0, -2.0]


def test_memory_that_the_oldest_operators_may_take():
    m = model([h.make_node("Relu", ["x"], ["y"], consumed_inputs=[0])])
    m.opset_import[0].version = 1
    assert mg.load(m).call(-X).tolist() == np.zeros_like(X).tolist()


def test_looking_ends(monkeypatch):
    from monograph_importers.onnx.interpret import Run

    steps, compute = [], Run.compute
    monkeypatch.setattr(Run, "compute", lambda *args: (steps.append(args), compute(*args))[1])
    assert not mg.load(laughs(20)).unsupported
    assert 1000 < len(steps) <= 1 << 13  # of two million
