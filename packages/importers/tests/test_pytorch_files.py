"""Hostile ``.pt2`` files: a clear error at once, in little memory, and nothing of them runs."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import zipfile

import monograph as mg
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from monograph.errors import FileFormatError, MonographError, StorageError

torch = pytest.importorskip("torch")

from monograph_importers.pytorch import interpret, serialized  # noqa: E402


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("pt2") / "model.pt2"
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    torch.export.save(torch.export.export(module, (torch.ones(1, 3),)), path)
    return path


def parts(path):
    with zipfile.ZipFile(path) as z:
        return {n: z.read(n) for n in z.namelist()}


def written(path, entries, kind=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", kind) as z:
        for name, data in entries.items():
            z.writestr(name, data)
    return path


def changed(whole, path, name, change):
    """The archive with the JSON of one part changed, and sound checksums."""
    entries = parts(whole)
    (full,) = [n for n in entries if n.endswith(name)]
    table = json.loads(entries[full])
    entries[full] = json.dumps(change(table) or table).encode()
    return written(path, entries)


def test_a_file_needs_no_torch(whole):
    code = f"""
import sys, numpy as np, monograph as mg
got = mg.load({str(whole)!r}).on("numpy").call(np.ones((1, 3), "float32"))
assert got.shape == (1, 2) and "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_weights_are_the_files_pages(whole):
    weight = mg.load(whole).parameters["0/weight"]
    while not isinstance(weight, np.memmap) and weight.base is not None:
        weight = weight.base
    assert isinstance(weight, np.memmap)
    assert not weight.flags.writeable


def test_a_damaged_weight_is_found_before_its_first_use(whole, tmp_path):
    data = bytearray(whole.read_bytes())
    weight = mg.load(whole).parameters["0/weight"].tobytes()
    data[data.index(weight) + 5] ^= 4
    (tmp_path / "w.pt2").write_bytes(data)
    imported = mg.load(tmp_path / "w.pt2")
    for _ in range(2):
        with pytest.raises(
            FileFormatError, match=r"w\.pt2: its part data/weights/weight_0 is not what"
        ):
            imported.call(np.ones((1, 3), "float32"))


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, -1, -30])
def test_truncated(whole, tmp_path, keep):
    data = whole.read_bytes()
    n = int(len(data) * keep) if isinstance(keep, float) else keep
    (tmp_path / "t.pt2").write_bytes(data[:n])
    with pytest.raises(FileFormatError, match=r"t\.pt2"):
        mg.load(tmp_path / "t.pt2")


@settings(max_examples=150, deadline=1000, suppress_health_check=list(HealthCheck))
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found_or_changes_nothing(whole, tmp_path_factory, at, bit):
    data = bytearray(whole.read_bytes())
    data[int(at * len(data))] ^= 1 << bit
    path = tmp_path_factory.getbasetemp() / "flipped.pt2"
    path.write_bytes(data)
    try:
        got = serialized.program(path)
        got.verify()
    except FileFormatError:
        return
    want = serialized.program(whole)  # the bit was in a part that is not looked at, or in padding
    assert got.graph == want.graph
    assert all((got.tensors[k] == v).all() for k, v in want.tensors.items())


def _node(table):
    return table["graph_module"]["graph"]["nodes"][0]


HOSTILE = {
    "absurd shape": ("weights_config.json", lambda t: t["config"]["0.weight"]["tensor_meta"].update(
        sizes=[{"as_int": 2**40}, {"as_int": 2**40}])),
    "negative shape": ("weights_config.json", lambda t: t["config"]["0.weight"]["tensor_meta"].update(
        sizes=[{"as_int": -1}, {"as_int": 3}])),
    "strides outside": ("weights_config.json", lambda t: t["config"]["0.weight"]["tensor_meta"].update(
        strides=[{"as_int": 10**6}, {"as_int": 1}])),
    "strides of zero": ("weights_config.json", lambda t: t["config"]["0.weight"]["tensor_meta"].update(
        sizes=[{"as_int": 2**30}, {"as_int": 2**30}], strides=[{"as_int": 0}, {"as_int": 0}])),
    "negative offset": ("weights_config.json", lambda t: t["config"]["0.weight"]["tensor_meta"].update(
        storage_offset={"as_int": -8})),
    "path traversal": ("weights_config.json", lambda t: t["config"]["0.weight"].update(path_name="../../../etc/passwd")),
    "pickle": ("weights_config.json", lambda t: t["config"]["0.weight"].update(use_pickle=True)),
    "unknown dtype": ("weights_config.json", lambda t: t["config"]["0.weight"]["tensor_meta"].update(dtype=99)),
    "missing weight": ("weights_config.json", lambda t: t["config"].pop("0.weight") and None),
    "unknown argument": ("model.json", lambda t: _node(t)["inputs"][0].update(arg={"as_code": "print(1)"})),
    "undefined value": ("model.json", lambda t: _node(t)["inputs"][0].update(arg={"as_tensor": {"name": "nobody"}})),
    "a value twice": ("model.json", lambda t: _node(t)["outputs"].__setitem__(0, {"as_tensor": {"name": "input"}})),
    "no graph": ("model.json", lambda t: t.pop("graph_module") and None),
    "list for a dict": ("model.json", lambda t: [t]),
    "other version": ("model.json", lambda t: t["schema_version"].update(major=99)),
    "wrong pytree": ("model.json", lambda t: t["graph_module"]["module_call_graph"][0]["signature"].update(
        out_spec='[1, {"type": "builtins.tuple", "context": "null", "children_spec": []}]')),
    "outputs of nobody": ("model.json", lambda t: t["graph_module"]["graph"].update(outputs=[{"as_tensor": {"name": "x9"}}])),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_tables(whole, tmp_path, what):
    path = changed(whole, tmp_path / "h.pt2", *HOSTILE[what])
    with pytest.raises(MonographError, match=r"h\.pt2|dtype number 99"):
        mg.load(path)


def test_code_in_names_and_expressions_is_text(whole, tmp_path):
    def change(table):
        graph = table["graph_module"]["graph"]
        evil = f"__import__('pathlib').Path({str(tmp_path / 'ran')!r}).touch()"
        meta = graph["tensor_values"]["input"]
        meta["sizes"][0] = {"as_expr": {"expr_str": evil, "hint": {"as_int": 1}}}
        graph["nodes"][0]["target"] = "torch.ops.aten.os.system"
        graph["nodes"][1]["target"] = "os.system"
        table["guards_code"] = [evil]

    imported = mg.load(changed(whole, tmp_path / "code.pt2", "model.json", change))
    assert {u.op for u in imported.unsupported} == {"aten.os.system", "os.system"}
    assert not (tmp_path / "ran").exists()


def _step(target, out, *args, kind="as_tensor"):
    """A node as the schema has it; numbers and lists of them are arguments, so are names of values."""
    tags = {int: "as_int", str: "as_tensor", list: "as_ints"}
    body = {"as_name": out} if kind == "as_sym_int" else {"name": out}
    return {
        "target": target if target.startswith("_") else f"torch.ops.{target}", "metadata": {},
        "inputs": [
            {"name": "", "kind": 1, "arg": a if isinstance(a, dict)
             else {tags[type(a)]: {"name": a} if isinstance(a, str) else a}} for a in args
        ],
        "outputs": [{"as_tensors": [body]} if kind == "as_tensors" else {kind: body}],
    }  # fmt: skip


def _size(target, *args):
    return [_step(target, "n", *args, kind="as_sym_int")]


_LONG = _step("aten.expand.default", "long", "input", [2**40, 3])
GREEDY = {
    "arange": ([_step("aten.arange.default", "a", 2**40)], "1,099,511,627,776 numbers"),
    "eye": ([_step("aten.eye.default", "a", 2**30)], "numbers would be made"),
    "as_strided": ([_step("aten.as_strided.default", "a", "input", [2**20, 2**20], [0, 0])], "numbers would be made"),
    "pieces": ([_LONG, _step("aten.unbind.int", "u", "long", kind="as_tensors")], "numbers would be made"),
    "mask": ([_step("aten.arange.default", "m", 2**20), _step("aten.gt.Scalar", "g", "m", 0),
              _step("aten.view.default", "k", "g", [2**20, 1]),
              _step("aten.ones.default", "n", [1, 2**20]), _step("aten.masked_select.default", "a", "n", "k")],
             "numbers would be made"),
    "power": (_size("_operator.pow", 10, 10**9), "more than 64 bits"),
    "shift": (_size("_operator.lshift", 1, 10**12), "more than 64 bits"),
    "list": (_size("_operator.mul", [0], 10**12), "list in the place of a number"),
    "text": (_size("_operator.mod", {"as_string": "%1000000000000d"}, 1), "str in the place of a number"),
}  # fmt: skip


def greedy(whole, path, nodes):
    def change(table):
        graph = table["graph_module"]["graph"]
        graph["nodes"] = [*nodes, *graph["nodes"]]

    return mg.load(changed(whole, path, "models/model.json", change))


@pytest.mark.parametrize("what", GREEDY)
def test_what_asks_for_more_than_there_is_is_unsupported(whole, tmp_path, what):
    nodes, why = GREEDY[what]
    (found,) = greedy(whole, tmp_path / "greedy.pt2", nodes).unsupported
    assert found.op == nodes[-1]["target"].removeprefix("torch.ops.") and why in found.why


def test_a_long_file_is_not_looked_through_to_its_end(whole, tmp_path, monkeypatch):
    steps = []
    monkeypatch.setattr(
        interpret.Run, "compute", lambda self, node, memory: steps.append(node) or memory.put(node.outputs, 1)
    )  # fmt: skip
    last = _step("aten.os.system", "z", "input")
    many = [_step("aten.relu.default", f"s{i}", "input") for i in range(20_000)]
    (found,) = greedy(whole, tmp_path / "long.pt2", [*many, last]).unsupported
    assert found.op == "aten.os.system" and 4000 < len(steps) < 10_000


def test_known_numbers_are_computed_up_to_a_limit(whole, tmp_path, monkeypatch):
    steps, compute = [], interpret.Run.compute
    monkeypatch.setattr(
        interpret.Run, "compute", lambda self, *args: steps.append(args) or compute(self, *args)
    )
    many = [_step("aten.arange.default", f"s{i}", 2**20) for i in range(100)]
    assert greedy(whole, tmp_path / "known.pt2", many).unsupported == () and len(steps) < 10


_STRETCHED = """
import resource, sys
import monograph as mg, monograph_importers.pytorch.serialized, monograph_importers.pytorch.lacks
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print(mg.load(sys.argv[1]).call(__import__("numpy").ones(3, "float32")))
except mg.errors.FileFormatError as e:
    print(e)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base)
"""


@pytest.mark.parametrize("size", [2**40, 2**23])
def test_constants_that_see_their_numbers_again_and_again(tmp_path, size):
    class Wide(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for i in range(4):
                self.register_buffer(f"wide{i}", torch.full((3,), float(i)), persistent=False)

        def forward(self, x):
            return x + self.wide0 + self.wide1 + self.wide2 + self.wide3

    path = tmp_path / "wide.pt2"
    torch.export.save(torch.export.export(Wide(), (torch.ones(3),)), path)

    def stretched(n):
        def change(table):
            assert len(table["config"]) == 4
            for row in table["config"].values():
                row["tensor_meta"].update(sizes=[{"as_int": n}], strides=[{"as_int": 0}])

        return changed(path, tmp_path / f"{n}.pt2", "constants_config.json", change)

    assert mg.load(stretched(3)).call(np.ones(3, "float32")).tolist() == [7.0, 7.0, 7.0]
    done = subprocess.run(
        [sys.executable, "-c", _STRETCHED, str(stretched(size))], capture_output=True, text=True, check=True
    ).stdout.splitlines()  # fmt: skip
    assert f"they come to {size:,}" in done[0] and int(done[1]) < 256 * 1024, done


def test_a_bomb_and_parts_that_overlap(whole, tmp_path):
    zeros = parts(whole) | {"model/data/weights/weight_0": bytes(10**8)}
    with pytest.raises(FileFormatError, match="compressed"):
        mg.load(written(tmp_path / "bomb.pt2", zeros, zipfile.ZIP_DEFLATED))
    data = bytearray(whole.read_bytes())
    for m in re.finditer(rb"PK\x01\x02", bytes(data)):  # sizes in the central directory
        data[m.start() + 20 : m.start() + 28] = (len(data) - 1).to_bytes(4, "little") * 2
    (tmp_path / "overlap.pt2").write_bytes(data)
    with pytest.raises(FileFormatError, match="overlap"):
        mg.load(tmp_path / "overlap.pt2")


def test_deep_nesting(whole, tmp_path):
    entries = parts(whole)
    (name,) = [n for n in entries if n.endswith("models/model.json")]
    entries[name] = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(FileFormatError, match="Recursion"):
        mg.load(written(tmp_path / "deep.pt2", entries))


def test_a_list_bomb(whole, tmp_path):
    entries = parts(whole)
    (name,) = [n for n in entries if n.endswith("models/model.json")]
    entries[name] = b"[" + b"[]," * 2_000_000 + b"[]]"
    with pytest.raises(FileFormatError, match="lists and objects"):
        mg.load(written(tmp_path / "lists.pt2", entries))


def test_other_files(tmp_path):
    with pytest.raises(StorageError, match="no.pt2"):
        mg.load(tmp_path / "no.pt2")
    (tmp_path / "text.pt2").write_text("hello")
    with pytest.raises(FileFormatError, match="not a zip"):
        mg.load(tmp_path / "text.pt2")
    torch.save({"w": torch.ones(2)}, tmp_path / "state.pt2")
    with pytest.raises(FileFormatError, match="holds no exported program"):
        mg.load(tmp_path / "state.pt2")


def _places(x, path=()):
    """Every place in a JSON value."""
    yield path
    for k, v in x.items() if isinstance(x, dict) else enumerate(x) if isinstance(x, list) else ():
        yield from _places(v, (*path, k))


JUNK = st.sampled_from([None, -1, 0, 2**70, 1e308, "", "x", "input", [], {}, [[]], True, {"as_int": 5}, {"as_tensor": {"name": "relu"}}])  # fmt: skip


@settings(max_examples=150, deadline=2000, suppress_health_check=list(HealthCheck))
@given(
    at=st.floats(0, 1, exclude_max=True),
    junk=JUNK,
    which=st.sampled_from(["models/model.json", "weights_config.json"]),
)
def test_junk_in_tables_is_an_error_or_a_model(whole, tmp_path_factory, at, junk, which):
    def change(table):
        places = list(_places(table))[1:]
        *path, last = places[int(at * len(places))]
        inner = table
        for k in path:
            inner = inner[k]
        inner[last] = junk

    path = changed(whole, tmp_path_factory.getbasetemp() / "junk.pt2", which, change)
    with contextlib.suppress(MonographError):
        imported = mg.load(path)
        repr(imported)
        if all(i.shape == (1, 3) for i in imported.signature.inputs):
            imported.on("numpy").call(
                *[np.ones((1, 3), "float32")] * len(imported.signature.inputs)
            )
