"""SavedModels that carry StableHLO, read without TensorFlow, which made the one here (savedmodel/make.py)."""

import importlib.util
import shutil
from pathlib import Path

import monograph as mg
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from monograph.errors import ArgumentError, FileFormatError, MonographError, StorageError
from monograph_importers import savedmodel
from monograph_importers.savedmodel import bundle, checksum
from monograph_importers.savedmodel.wire import Message

MODEL = Path(__file__).parent / "savedmodel" / "model"
NAMES = ["dense/w", "offsets/0", "offsets/1"]  # its own name; paths, where two have one name
needs_jaxlib = pytest.mark.skipif(
    importlib.util.find_spec("jaxlib") is None, reason="its parser reads StableHLO"
)


def network(x):
    w = np.arange(12, dtype="float32").reshape(3, 4) / 10 - 0.5
    b = np.array([0, 1, -1, 0.5], "float32")
    return np.tanh(x @ w + b) + 2 * b


@needs_jaxlib
def test_values_names_and_any_batch():
    model = mg.load(MODEL)
    assert not model.unsupported and sorted(model.parameters) == NAMES
    assert str(model.signature) == "(x: float32[x0,3]) -> (y)"
    for engine, n in (("xla", 2), ("torch", 5), ("numpy", 1)):
        x = np.linspace(-1, 1, 3 * n, dtype="float32").reshape(n, 3)
        np.testing.assert_allclose(model.on(engine).call(x)["y"].numpy(), network(x), rtol=1e-5)
    assert sorted(model.store.trainable) == NAMES


@needs_jaxlib
def test_a_shape_that_data_decides_is_listed(monkeypatch):
    from monograph_importers.savedmodel.graph import Program
    from monograph_importers.stablehlo.ir import Op, Tensor

    module = Program.module

    def changed(self, node):
        found = module(self, node)
        body = found.functions["main"].body
        given, t = [name for name, _ in body.arguments][-1:], Tensor((None,), "f32")
        op = Op("stablehlo.dynamic_iota", given, ["%n"], {"iota_dimension": 0}, [], [t], [t])
        if body.ops[0].name != op.name:
            body.ops.insert(0, op)
        return found

    monkeypatch.setattr(Program, "module", changed)
    (found,) = savedmodel.load(MODEL, tensorflow=False).unsupported
    assert found.op == "stablehlo.dynamic_iota" and "depends on data" in found.why


@needs_jaxlib
def test_gradients():
    model = mg.load(MODEL / "saved_model.pb")
    store, x = mg.Store(), np.ones((2, 3), "float32")

    def slope(scope, x):
        return scope.value_and_grad(lambda: mg.sum(model.model(scope, x)["y"]))()[1]

    got = store.bind(slope)(x)
    inner = network(x)[0] - 2 * model.parameters["offsets/0"]
    np.testing.assert_allclose(got["offsets/0"].numpy(), 2 * (1 - inner**2), rtol=1e-5)
    np.testing.assert_allclose(got["offsets/1"].numpy(), np.full(4, 2.0))


@needs_jaxlib
def test_nodes_of_one_name_in_two_functions_have_their_own_programs():
    jax = pytest.importorskip("jax", reason="it writes the programs")
    from monograph_importers.savedmodel.graph import Node, Program

    def field(number, data):
        head = [number << 3 | 2, len(data) & 127 | 128, len(data) >> 7]
        return bytes(head) + data

    def node(fn):
        text = str(jax.jit(fn).lower(np.float32(1)).compiler_ir()).encode()
        return Node("XlaCallModule", "XlaCallModule", [], {"module": Message(field(2, text))})

    program, nodes = Program(Message(b""), "m"), [node(lambda x: -x), node(jax.numpy.sin)]
    called = [[op.name for op in program.module(n).functions["main"].walk()] for n in nodes]
    assert "stablehlo.negate" in called[0] and "stablehlo.sine" in called[1]
    assert program.module(nodes[0]) is program.module(nodes[0])


def test_what_a_called_function_writes_is_reached_though_nothing_reads_it():
    from monograph_importers.savedmodel.graph import Function, Node, Program

    def nodes(*found):
        return {n.name: n for n in found}

    class Calling(Program):
        def functions_of(self, node):
            return [self.functions[node.name]] if node.name in self.functions else []

        def callee(self, node):
            return self.functions[node.name]

    program = Calling(Message(b""), "m")
    call = Node("count", "StatefulPartitionedCall", ["x"], {})
    main = Function(nodes(Node("x", "Placeholder", [], {}), call), [], [])
    program.functions["count"] = Function(
        nodes(
            Node("add", "AssignAddVariableOp", ["handle"], {}),
            Node("handle", "VarHandleOp", [], {}),
            Node("y", "Identity", ["a", "^add"], {}),
            Node("said", "PrintV2", ["a"], {}),
        ),
        ["a"],
        ["y:output:0"],
    )
    ops = {n.op for n in program.reached(main, ["count"])}
    assert {"AssignAddVariableOp", "VarHandleOp", "Identity"} <= ops and "PrintV2" not in ops


def test_an_unknown_signature():
    with pytest.raises(ArgumentError, match="no signature 'predict'; it has serving_default"):
        savedmodel.load(MODEL, signature="predict")


def test_the_checksum_is_castagnolis():  # RFC 3720, appendix B.4
    assert checksum.crc32c(bytes(32)) == 0x8A9136AA
    assert checksum.crc32c(b"\xff" * 32) == 0x62A8AB43
    assert checksum.crc32c(bytes(range(32))) == 0x46DD794E


@given(st.binary(max_size=40), st.integers(0, 3 * 16384))
@settings(max_examples=10, deadline=None)
def test_lanes_change_no_checksum(tail, n):
    data, table, state = (
        bytes(range(256)) * (n // 256) + tail,
        checksum._table(8).tolist(),
        0xFFFFFFFF,
    )
    for byte in data:
        state = table[(state ^ byte) & 255] ^ (state >> 8)
    assert checksum.crc32c(data) == state ^ 0xFFFFFFFF


def copied(folder, name, change):
    """The model with one file changed."""
    shutil.copytree(MODEL, folder, dirs_exist_ok=True)
    path = folder / name
    data = bytearray(path.read_bytes())
    made = change(data)
    path.write_bytes(data if made is None else made)
    return folder


INDEX, DATA, GRAPH = (
    "variables/variables.index",
    "variables/variables.data-00000-of-00001",
    "saved_model.pb",
)


@pytest.mark.parametrize("name", [INDEX, DATA])
@given(st.data())
@settings(max_examples=25, deadline=None)
def test_no_changed_byte_of_a_checkpoint_goes_unnoticed(tmp_path_factory, name, data):
    size = (MODEL / name).stat().st_size
    at, bit = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, 7))

    def flip(bytes_):
        bytes_[at] ^= 1 << bit

    folder = copied(tmp_path_factory.mktemp("flip"), name, flip)
    before = bundle.read(MODEL / "variables/variables")
    try:
        after = bundle.read(folder / "variables/variables")
    except FileFormatError:
        return
    # what is no checksum's: padding, the footer's unused bytes, the graph of objects
    assert before.arrays.keys() == after.arrays.keys()
    for key, a in before.arrays.items():
        np.testing.assert_array_equal(a, after.arrays[key])


@pytest.mark.parametrize("name", [INDEX, DATA, GRAPH])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_cut_off_files(tmp_path, name, part):
    folder = copied(tmp_path / "m", name, lambda d: d[: int(len(d) * part)])
    with pytest.raises(FileFormatError):
        savedmodel.load(folder)


def test_a_missing_file(tmp_path):
    folder = copied(tmp_path / "m", GRAPH, lambda d: None)
    (folder / DATA).unlink()
    with pytest.raises(StorageError, match="data-00000-of-00001"):
        savedmodel.load(folder)


@given(st.lists(st.tuples(st.integers(0, 10**5), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=15, deadline=None)
def test_a_graph_with_changed_bytes_runs_or_says_what_is_wrong(tmp_path_factory, changes):
    def change(data):
        for at, byte in changes:
            data[at % len(data)] = byte

    folder = copied(tmp_path_factory.mktemp("graph"), GRAPH, change)
    try:
        model = savedmodel.load(folder, tensorflow=False)
        if not model.unsupported:
            model.trace()
    except MonographError:
        pass


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_are_a_message_or_an_error(data):
    try:
        message = Message(data)
        message.integer(1), message.text(2), message.one(3).many(1), message.ints(4), message.map(5)
    except FileFormatError:
        pass
