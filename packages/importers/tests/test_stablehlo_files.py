"""StableHLO from files: text, bytecode, portable artifacts, exported programs, and hostile ones."""

import contextlib
import random
import resource
import sys
import time

import monograph as mg
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from monograph.errors import ArgumentError, FileFormatError, MonographError, UnsupportedModel
from monograph_importers import jax as jax_importer, stablehlo
from monograph_importers.stablehlo import mlir
from monograph_importers.stablehlo.constants import array
from monograph_importers.stablehlo.interpret import Frame
from monograph_importers.stablehlo.lacks import STEPS
from monograph_importers.stablehlo.parse import parse

jax, jnp = pytest.importorskip("jax"), pytest.importorskip("jax.numpy")
export = pytest.importorskip("jax.export")

X = np.linspace(-1, 1, 6, dtype="float32").reshape(2, 3)


def network(params, x):
    return {"y": jnp.tanh(x @ params["w"]), "n": x.shape[0] * x.sum()}


PARAMS = {"w": np.linspace(-1, 1, 12, dtype="float32").reshape(3, 4)}


@pytest.fixture(scope="module")
def exported():
    (batch,) = export.symbolic_shape("batch")
    x = jax.ShapeDtypeStruct((batch, 3), "float32")
    return export.export(jax.jit(network), platforms=["cuda", "cpu"])(PARAMS, x)


def same(got, want):
    for a, b in zip(mg.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-5, atol=1e-6)


def test_an_exported_program(exported, tmp_path):
    path = tmp_path / "network.bin"
    path.write_bytes(exported.serialize())
    for source in (exported, bytes(exported.serialize()), path):
        model = mg.load(source)
        assert str(model.signature.inputs[1]) == "x1: float32[batch,3]"
        for x in (X, np.concatenate([X, X])):
            same(model.on("torch").call(PARAMS["w"], x), network(PARAMS, x))


def test_axes_that_do_not_fit_are_refused_in_the_exporters_words():
    b, c = export.symbolic_shape("b, 2*b")
    spec = lambda n: jax.ShapeDtypeStruct((n,), "float32")
    model = mg.load(export.export(jax.jit(lambda x, y: x.sum() + y.sum()))(spec(b), spec(c)))
    assert model.call(np.ones(2), np.ones(4)).item() == 6
    with pytest.raises(ArgumentError, match="inconsistency between dimension size"):
        model.call(np.ones(2), np.ones(5))


def test_an_exported_program_with_keys():
    fn = jax.jit(lambda key, x: jax.random.normal(key, x.shape) + x)
    key = jax.random.key(7)
    model = mg.load(export.export(fn)(key, X))
    assert str(model.signature.inputs[0]) == "x0: uint32[2]"
    same(model.call(jax.random.key_data(key), X), fn(key, X))


@pytest.mark.parametrize("form", ["text", "text file", "bytecode", "portable", "old portable"])
def test_forms_of_a_module(exported, form, tmp_path):
    lowered = jax.jit(network).lower(PARAMS, X)
    module = lowered.compiler_ir()
    if form.startswith("text"):
        source = lowered.as_text()
    elif form == "bytecode":
        import io

        stream = io.BytesIO()
        module.operation.write_bytecode(stream)
        source = stream.getvalue()
    else:
        from jaxlib.mlir.dialects import stablehlo as dialect

        version = "0.9.0" if form == "old portable" else dialect.get_current_version()
        source = dialect.serialize_portable_artifact_str(lowered.as_text(), version)
    if form == "text file":
        (tmp_path / "m.mlir").write_text(source)
        source = tmp_path / "m.mlir"
    want = network(PARAMS, X)
    same(mg.load(source).call(PARAMS["w"], X), (want["n"], want["y"]))


def test_bindings_have_what_no_documentation_promises():
    """Fails when jaxlib moves what `mlir` reaches for: the registry of dialects, and how text is printed."""
    from jaxlib._jax import mlir as jax_mlir
    from jaxlib.mlir._mlir_libs import _jax_mlir_ext

    assert callable(jax_mlir.deserialize_portable_artifact)
    assert callable(_jax_mlir_ext.register_dialects)
    module = jax.jit(jnp.sin).lower(X).compiler_ir()
    assert '"stablehlo.sine"' in mlir.printed(module)


KINDS = [
    "bool",
    "int8",
    "uint16",
    "int32",
    "uint64",
    "float32",
    "float64",
    "complex64",
    "complex128",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [0, 1, 3, 150])
def test_constants_are_read_as_written(kind, n):
    raw = np.random.default_rng(n).bytes(16 * n)
    for x in (np.frombuffer(raw, "uint8") % 2 == 0, np.zeros(n, bool)) if kind == "bool" else (
        np.frombuffer(raw, kind), np.full(n, 3, kind)
    ):  # fmt: skip
        with jax.enable_x64():
            text = mlir.printed(
                jax.jit(lambda x=x: jnp.asarray(x) if x.size else jnp.zeros(0, x.dtype))
                .lower()
                .compiler_ir()
            )
        ops = [o for f in parse(text, "t").functions.values() for o in f.walk()]
        got = array(next(o.attributes["value"] for o in ops if o.name == "stablehlo.constant"))
        assert got.dtype == x.dtype
        np.testing.assert_array_equal(
            np.broadcast_to(got, x.shape), x
        )  # NaN's own bits do not count


RESOURCE = """
module {
  func.func @main(%x: tensor<2xf32>) -> tensor<2xf32> {
    %w = stablehlo.constant dense_resource<weight> : tensor<2xf32>
    %y = stablehlo.add %x, %w : tensor<2xf32>
    return %y : tensor<2xf32>
  }
}
{-# dialect_resources: { builtin: { weight: "0x040000000000803F00000040" } } #-}
"""


def test_constants_in_a_section_of_their_own():
    assert mg.load(RESOURCE).call(np.zeros(2, "float32")).tolist() == [1.0, 2.0]
    with pytest.raises(FileFormatError, match="no bytes for the constant weight"):
        stablehlo.load(RESOURCE.replace("weight:", "other:"))


# ---- what is missing, and what is wrong


def test_everything_missing_is_listed():
    text = """
    module { func.func @main(%x: tensor<2xf32>, %q: tensor<2xf8E3M4>) -> tensor<2xf32> {
      %0 = stablehlo.custom_call @mystery(%x) : (tensor<2xf32>) -> tensor<2xf32> loc("model.py":7:1)
      %1 = stablehlo.custom_call @mystery(%0) : (tensor<2xf32>) -> tensor<2xf32>
      %2 = "stablehlo.all_reduce"(%1) ({ ^bb0(%a: tensor<f32>, %b: tensor<f32>):
        %s = stablehlo.add %a, %b : tensor<f32>
        stablehlo.return %s : tensor<f32> }) {replica_groups = dense<[[0, 1]]> : tensor<1x2xi64>} : (tensor<2xf32>) -> tensor<2xf32>
      return %2 : tensor<2xf32> } }"""
    model = mg.load(text)
    found = {u.op: u for u in model.unsupported}
    assert found["stablehlo.custom_call @mystery"].count == 2
    assert found["stablehlo.custom_call @mystery"].where == "model.py:7"
    assert "other devices" in found["stablehlo.all_reduce"].why
    assert "f8E3M4" in found["element type f8E3M4"].why
    with pytest.raises(UnsupportedModel, match="mystery"):
        model.trace()


def test_a_copy_of_a_dialect_that_jaxlib_lacks():
    """TensorFlow's compiler writes it; of its properties jaxlib prints what it makes of them."""
    text = """
    module { func.func @main(%x: tensor<2xf32>) -> tensor<2xf32> {
      %y = "mhlo.copy"(%x) : (tensor<2xf32>) -> tensor<2xf32>
      return %y : tensor<2xf32> } }"""
    assert mg.load(text).call(np.array([1, 2], "float32")).tolist() == [1, 2]
    made = mlir.generic(text.encode(), "text").replace(
        '"mhlo.copy"(%arg0)', '"mhlo.copy"(%arg0) <#loc>'
    )
    assert "<#loc>" in made
    assert [op.name for op in parse(made, "text").functions["main"].walk()][1] == "mhlo.copy"


# an operation whose shape the argument %s, data, decides, for %x: tensor<4x3xf32>
DYNAMIC = {
    "dynamic_reshape": ("%x, %s", "tensor<4x3xf32>, tensor<2xi32>", ""),
    "dynamic_broadcast_in_dim": (
        "%x, %s", "tensor<4x3xf32>, tensor<2xi32>", "broadcast_dimensions = array<i64: 0, 1>"),
    "dynamic_iota": ("%s", "tensor<2xi32>", "iota_dimension = 0 : i64"),
    "real_dynamic_slice": (
        "%x, %s, %s, %s", "tensor<4x3xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>", ""),
    "dynamic_pad": (
        "%x, %z, %s, %s, %s",
        "tensor<4x3xf32>, tensor<f32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>", ""),
    "dynamic_gather": (
        "%x, %s, %s", "tensor<4x3xf32>, tensor<2xi32>, tensor<2xi32>",
        "dimension_numbers = #stablehlo.gather<offset_dims = [0, 1], start_index_map = [0, 1]>"),
    "set_dimension_size": ("%x, %n", "tensor<4x3xf32>, tensor<i32>", "dimension = 0 : i64"),
}  # fmt: skip


def dynamic(rows):
    given = "(%x: tensor<4x3xf32>, %s: tensor<2xi32>, %n: tensor<i32>, %z: tensor<f32>)"
    lines = []
    for i, name in enumerate(rows):
        xs, types, attributes = DYNAMIC[name]
        to = "tensor<?x3xf32>" if name == "set_dimension_size" else "tensor<?x?xf32>"
        lines.append(f'%y{i} = "stablehlo.{name}"({xs}) {{{attributes}}} : ({types}) -> {to}')
    body = "\n".join(lines)
    return (
        f"module {{ func.func @main{given} -> tensor<f32> {{\n{body}\nreturn %z : tensor<f32> }} }}"
    )


def test_every_shape_that_data_decides_is_listed_at_once():
    found = {u.op.removeprefix("stablehlo."): u for u in mg.load(dynamic(DYNAMIC)).unsupported}
    assert set(found) == set(DYNAMIC)
    assert all("depends on data" in u.why for u in found.values())
    with pytest.raises(UnsupportedModel, match="dynamic_iota"):
        mg.load(dynamic(DYNAMIC)).trace()


def test_a_convolution_that_data_pads_is_listed():
    text = """
    func.func @main(%x: tensor<1x4x4x1xf32>, %k: tensor<3x3x1x1xf32>, %p: tensor<2x2xi32>) -> tensor<?x?x?x?xf32> {
      %y = "stablehlo.dynamic_conv"(%x, %k, %p) {
        dimension_numbers = #stablehlo.conv<[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]>,
        feature_group_count = 1 : i64, batch_group_count = 1 : i64}
        : (tensor<1x4x4x1xf32>, tensor<3x3x1x1xf32>, tensor<2x2xi32>) -> tensor<?x?x?x?xf32>
      return %y : tensor<?x?x?x?xf32>
    }"""
    (found,) = mg.load(text).unsupported
    assert found.op == "stablehlo.dynamic_conv" and "a padding depends on data" in found.why


# in functions, loops and branches, behind what is unknown and what fails itself
INSIDE = """
module {
  func.func private @f(%x: tensor<4xf32>, %s: tensor<1xi32>) -> tensor<?xf32> {
    %y = stablehlo.dynamic_reshape %x, %s : (tensor<4xf32>, tensor<1xi32>) -> tensor<?xf32> loc("m.py":1:1)
    return %y : tensor<?xf32>
  }
  func.func @main(%x: tensor<4xf32>, %s: tensor<1xi32>, %p: tensor<i1>) -> tensor<?xf32> {
    %0 = stablehlo.custom_call @mystery(%x) : (tensor<4xf32>) -> tensor<4xf32> loc("m.py":2:1)
    %1 = call @f(%0, %s) : (tensor<4xf32>, tensor<1xi32>) -> tensor<?xf32>
    %2 = call @f(%x, %s) : (tensor<4xf32>, tensor<1xi32>) -> tensor<?xf32>
    %c = stablehlo.constant dense<0> : tensor<i32>
    %3:2 = stablehlo.while(%i = %c, %v = %x) : tensor<i32>, tensor<4xf32> cond {
      %t = stablehlo.compare LT, %i, %c : (tensor<i32>, tensor<i32>) -> tensor<i1>
      stablehlo.return %t : tensor<i1>
    } do {
      %u = stablehlo.dynamic_iota %s, dim = 0 : (tensor<1xi32>) -> tensor<?xf32> loc("m.py":3:1)
      stablehlo.return %i, %v : tensor<i32>, tensor<4xf32>
    }
    %4 = "stablehlo.if"(%p) ({
      %a = stablehlo.dynamic_reshape %1, %s : (tensor<?xf32>, tensor<1xi32>) -> tensor<?xf32> loc("m.py":4:1)
      stablehlo.return %a : tensor<?xf32>
    }, {
      stablehlo.return %2 : tensor<?xf32>
    }) : (tensor<i1>) -> tensor<?xf32>
    return %4 : tensor<?xf32>
  }
}"""


def test_what_depends_on_data_is_found_wherever_it_is():
    found = {u.op: (u.count, u.where) for u in mg.load(INSIDE).unsupported}
    assert found == {
        "stablehlo.custom_call @mystery": (1, "m.py:2"),
        "stablehlo.dynamic_reshape": (2, "m.py:1"),
        "stablehlo.dynamic_iota": (1, "m.py:3"),
    }


def test_a_sound_program_that_needs_longer_axes_is_not_refused():
    # for an axis of 2, which stands for any length, the window does not fit, the slice neither
    text = """
    func.func @main(%x: tensor<?xf32>) -> tensor<?xf32> {
      %n = stablehlo.get_dimension_size %x, dim = 0 : (tensor<?xf32>) -> tensor<i32>
      %five = stablehlo.constant dense<5> : tensor<i32>
      %m = stablehlo.subtract %n, %five : tensor<i32>
      %s = stablehlo.reshape %m : (tensor<i32>) -> tensor<1xi32>
      %y = stablehlo.dynamic_iota %s, dim = 0 : (tensor<1xi32>) -> tensor<?xf32>
      %k = stablehlo.get_dimension_size %y, dim = 0 : (tensor<?xf32>) -> tensor<i32>
      %t = stablehlo.reshape %k : (tensor<i32>) -> tensor<1xi32>
      %z = stablehlo.dynamic_reshape %y, %t : (tensor<?xf32>, tensor<1xi32>) -> tensor<?xf32>
      return %z : tensor<?xf32>
    }"""
    model = mg.load(text)
    assert not model.unsupported
    assert model.call(np.zeros(8, "float32")).tolist() == [0.0, 1.0, 2.0]


def test_forms_that_are_not_supported_are_listed():
    text = """
    func.func @main(%n: tensor<2xf32>, %x: tensor<2xf32>) -> tensor<2xf32> {
      %y = "chlo.polygamma"(%n, %x) : (tensor<2xf32>, tensor<2xf32>) -> tensor<2xf32>
      return %y : tensor<2xf32>
    }"""
    for program in (text, text.replace("2xf32", "?xf32")):
        (found,) = mg.load(program).unsupported
        assert found.op == "chlo.polygamma" and "one order that is a constant" in found.why


def test_looking_ends(monkeypatch):
    steps, step = [], Frame.step
    monkeypatch.setattr(Frame, "step", lambda self, op: (steps.append(op), step(self, op)))
    row = "%{} = stablehlo.tanh %{} : tensor<2xf32>\n"
    chain = "%0 = stablehlo.tanh %x : tensor<2xf32>\n" + "".join(
        row.format(i, i - 1) for i in range(1, 300)
    )
    doubling = "".join(function(f"f{i}", calls(*[f"f{i + 1}"] * 2)) for i in range(12))
    text = (
        "module {\n"
        + function("main", calls("f0"))
        + doubling
        + function("f12", chain, "%299")
        + "}"
    )
    assert not mg.load(text).unsupported
    assert 1000 < len(steps) <= STEPS  # of 1.2 million


def function(name, body, result="%x", shape="2xf32"):
    return f"func.func @{name}(%x: tensor<{shape}>) -> tensor<{shape}> {{ {body} return {result} : tensor<{shape}> }}"


def calls(*names):
    found = [
        f"%{i} = call @{n}(%x) : (tensor<2xf32>) -> tensor<2xf32>" for i, n in enumerate(names)
    ]
    return "\n".join(found)


HOSTILE = {
    "functions that call each other": "module {\n" + function("main", calls("f")) + function("f", calls("main")) + "}",
    "calls that double": "module {\n" + function("main", calls("f0"))
    + "".join(function(f"f{i}", calls(*[f"f{i + 1}"] * 2)) for i in range(40)) + function("f40", "") + "}",
    "regions without end": "module {\n" + function("main", '"stablehlo.case"(%i) ({' * 5000),
    "brackets without end": "module attributes {a = " + "[" * 100_000 + "}\n{}",
    "no such function": "module {\n" + function("main", calls("nowhere")) + "}",
    "not MLIR": "module {\n func.func what is this",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text(name):
    started = time.process_time()
    with pytest.raises(FileFormatError):
        stablehlo.load(HOSTILE[name])
    assert time.process_time() - started < 1


def test_absurd_shapes_cost_nothing_until_they_run():
    body = "%c = stablehlo.constant dense<1> : tensor<1000000x1000000xi32>\n %y = stablehlo.add %x, %c : tensor<1000000x1000000xi32>\n"
    text = "module {\n" + function("main", body, "%y", "1000000x1000000xi32") + "}"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert mg.load(text).graph.outputs[0].shape == (1000000, 1000000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18  # KiB


def changed(data, seed):
    rng, out = random.Random(seed), bytearray(data)
    for _ in range(rng.choice([1, 2, 8])):
        at, what = rng.randrange(len(out)), rng.random()
        if what < 0.7:
            out[at] = rng.randrange(256)
        elif what < 0.85:
            del out[at : at + rng.randrange(1, 9)]
        else:
            out = out[: at + 2]
    return bytes(out)


@pytest.mark.parametrize("seed", range(12))
def test_changed_bytes_never_take_the_process_down(exported, seed):
    data = exported.mlir_module_serialized if seed % 2 else bytes(exported.serialize())
    importer = stablehlo if seed % 2 else jax_importer
    try:
        model = importer.load(changed(data, seed))
        if not model.unsupported:
            model.trace()
    except MonographError:
        pass


def test_a_parser_that_dies_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(mlir, "__file__", str(tmp_path / "child.py"))
    for code, said in (
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "exit status -11"),
        ("raise SystemExit(3)", "jaxlib"),
    ):
        (tmp_path / "child.py").write_text(code)
        with pytest.raises(MonographError, match=said):
            stablehlo.load("module {\n}")


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(32, 126)), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_changed_generic_text_is_a_module_or_an_error(generic, changes):
    out = list(generic)
    for at, char in changes:
        out[at % len(out)] = chr(char)
    with contextlib.suppress(FileFormatError):
        parse("".join(out), "text")


def test_a_function_without_a_name_is_refused(generic):
    with pytest.raises(FileFormatError, match="text: a function in it has no name"):
        parse(generic.replace("sym_name", "sym_nama"), "text")


@pytest.fixture(scope="module")
def generic():
    return mlir.printed(jax.jit(network).lower(PARAMS, X).compiler_ir())


def test_importing_is_light():
    import subprocess

    code = "import monograph_importers.jax, monograph_importers.stablehlo, monograph_importers.savedmodel, sys; print('jax' in sys.modules or 'jaxlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
