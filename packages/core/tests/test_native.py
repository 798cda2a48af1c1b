"""Ops in C and C++ on the NumPy engine: compiling, caching, the guards, and what goes wrong."""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import monograph as mg
import numpy as np
import pytest
from monograph import native
from monograph.errors import ArgumentError, DTypeError, EngineError, GraphError
from monograph.native import abi, call, compile as compiling
from monograph.op import get
from monograph.testing.__main__ import main as kit

try:
    compiling.compiler("c"), compiling.compiler("c++")
except native.NoCompiler as e:
    pytest.skip(f"{e}", allow_module_level=True)

X = np.array([[0.5, -1.0, 2.0], [3.0, 4.0, 5.0]], "float32")

SCALED = Path(__file__).with_name("scaled.c").read_text()

pytestmark = pytest.mark.usefixtures("ops_of_one_test", "native_cache")


@pytest.fixture(autouse=True)
def on_numpy():
    with mg.engine("numpy"):
        yield


def scaled(source=SCALED, **options):
    op = mg.custom_op_from_c(
        source, "scaled", infer=lambda x, *, by=2.0: x,
        vjp=lambda g, y, x, *, by: (op(g, by=by),), **options,
    )  # fmt: skip
    return op


def from_body(body, infer=lambda x: x, **options):
    """An op whose C function has this body."""
    source = f'#include "monograph_op.h"\nMG_OP(kernel) {{ {body} }}'
    return mg.custom_op_from_c(source, "kernel", infer=infer, **options)


def test_an_op_in_c_runs_with_gradients_of_any_order():
    op = scaled(doc="x * by.")
    assert op.__doc__ == "x * by." and get("scaled") is op
    np.testing.assert_array_equal(op(mg.tensor(X)).numpy(), 2 * X)
    f = mg.jit(lambda x: mg.sum(op(x, by=3.0) * x))
    assert f(X).item() == pytest.approx(3 * (X * X).sum())
    np.testing.assert_allclose(mg.grad(f)(X).numpy(), 6 * X)
    np.testing.assert_allclose(
        mg.grad(lambda x: mg.sum(mg.grad(f)(x)))(X).numpy(), np.full_like(X, 6)
    )


def test_a_file_of_c_and_of_cpp(tmp_path):
    (tmp_path / "k.c").write_text(SCALED)
    np.testing.assert_array_equal(scaled(tmp_path / "k.c")(mg.tensor(X)).numpy(), 2 * X)
    (tmp_path / "k.cpp").write_text(
        """
        #include "monograph_op.h"
        #include <algorithm>
        #include <stdexcept>
        template <typename T> void fill(const mg_call *call) {
          std::transform(MG_IN(0, T), MG_IN(0, T) + call->in[0].size, MG_OUT(0, T), [](T x) { return -x; });
        }
        MG_OP(opposite) {
          switch (call->in[0].dtype) {
            case MG_FLOAT32: fill<float>(call); return 0;
            case MG_INT64: fill<int64_t>(call); return 0;
            default: throw std::invalid_argument("neither float32 nor int64");
          }
        }"""
    )
    dtypes = ("float32", "int64", "int8")
    op = mg.custom_op_from_c(tmp_path / "k.cpp", "opposite", infer=lambda x: x, dtypes=dtypes)
    for x in (X, X.astype("int64")):
        np.testing.assert_array_equal(op(mg.tensor(x)).numpy(), -x)
    with pytest.raises(EngineError, match=r"C\+\+ exception: neither float32 nor int64"):
        op(mg.tensor(X.astype("int8")))


def test_a_shared_library_needs_no_compiler(tmp_path, monkeypatch):
    built = native.build(SCALED, "ready")
    shutil.copy(built, tmp_path / "libready.so")
    monkeypatch.setattr(native, "build", None)
    np.testing.assert_array_equal(scaled(tmp_path / "libready.so")(mg.tensor(X)).numpy(), 2 * X)


def test_several_operands_results_and_attributes_of_every_kind():
    op = from_body(
        """
        const mg_attr *axes = mg_find(call, "axes");
        if (!axes || axes->kind != MG_INTS || axes->count != 3) return mg_fail(call, "axes");
        if (strcmp(mg_text(call, "mode"), "na\\303\\257ve")) return mg_fail(call, "mode");
        if (call->abi != MG_ABI || call->n_in != 2 || call->n_out != 2) return mg_fail(call, "counts");
        if (call->in[0].ndim != 2 || call->in[0].shape[1] != 3 || call->in[1].ndim != 0)
          return mg_fail(call, "shape");
        MG_OUT(0, double)[0] = mg_int(call, "k") + mg_int(call, "flag") + mg_float(call, "f")
                             + ((const int64_t *)axes->values)[2] + mg_float(call, "k");
        MG_OUT(1, int32_t)[0] = MG_IN(1, int32_t)[0] + (int32_t)MG_IN(0, float)[5];
        return 0;""",
        lambda x, n, *, k, flag, f, axes, mode: (mg.Spec((), "float64"), n),
        multi=True,
        dtypes={"x": "float32", "n": ("int32", "int64")},
    )  # fmt: skip
    attrs = dict(k=10, flag=True, f=0.5, axes=(1, 2, 300), mode="naïve")
    total, n = mg.jit(lambda x, n: op(x, n, **attrs))(X, np.int32(7))
    assert (total.item(), n.item()) == (10 + 1 + 0.5 + 300 + 10, 12)


def test_attributes_that_are_equal_in_python_are_told_apart():
    op = from_body(
        'MG_OUT(0, float)[0] = mg_find(call, "a")->kind; return 0;', lambda *, a: mg.Spec(())
    )
    f = lambda a: mg.jit(lambda: op(a=a))().item()
    assert [f(1), f(1.0), f(True), f("1"), f((1, 2)), f((1.0, 2))] == [1, 2, 1, 3, 1, 2]


NAMES = [n for n in abi.DTYPES if n in ("bool", "int8", "uint16", "int64", "float64", "complex64", "complex128")]  # fmt: skip


@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (2, 3, 4)])
def test_dtypes_and_shapes_arrive_as_they_are(shape):
    body = f"""
        static const char width[] = {{0, 1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 2, 4, 8, 8, 16}};
        int64_t size = 1;
        for (int i = 0; i < call->in[0].ndim; i++) size *= call->in[0].shape[i];
        if (size != call->in[0].size || call->in[0].ndim != {len(shape)}) return mg_fail(call, "size");
        memcpy(call->out[0].data, call->in[0].data, size * width[call->in[0].dtype]);
        return 0;"""
    op = from_body(body, dtypes=NAMES)
    for name in NAMES:
        x = np.asarray(np.random.default_rng(0).integers(0, 2, shape)).astype(name)
        assert op(mg.tensor(x)).numpy().tobytes() == x.tobytes()


def test_strided_and_misaligned_arrays_are_laid_out_first():
    kernel = scaled().reference
    raw = np.zeros(4 * 6 + 1, "uint8")
    crooked = raw[1:].view("float32").reshape(2, 3)
    crooked[...] = X
    for x in (X.T, X[:, ::2], X[::-1], np.broadcast_to(X[:1], (4, 3)), crooked):
        np.testing.assert_array_equal(kernel(x, by=2.0), 2 * x)
    assert [call.address(a) for a in (X, X[1:], raw[1:])] == [
        a.ctypes.data for a in (X, X[1:], raw[1:])
    ]


def test_any_number_of_operands_and_none_at_all():
    op = from_body(
        """
        for (int64_t i = 0; i < call->out[0].size; i++) {
          MG_OUT(0, float)[i] = mg_int(call, "start");
          for (int k = 0; k < call->n_in; k++) MG_OUT(0, float)[i] += MG_IN(k, float)[i];
        }
        return 0;""",
        lambda *xs, start=0: xs[0] if xs else mg.Spec((2,)),
    )
    np.testing.assert_array_equal(op(*[mg.tensor(X)] * 70, start=1).numpy(), 70 * X + 1)
    np.testing.assert_array_equal(mg.jit(lambda: op(start=4))().numpy(), [4, 4])
    with pytest.raises(DTypeError, match="operand 1 is int32"):
        op(mg.tensor(X), mg.tensor(X).astype("int32"))


# ---- the guards

LOOP = "for (int64_t i = {}; i < call->out[0].size {}; i++) MG_OUT(0, float)[i] = 1; return 0;"
MISTAKES = {
    "past the end": (LOOP.format(0, "+ 1"), "wrote past the end of output 0, up to 4 bytes"),
    "far past the end": (LOOP.format(0, "+ 500"), "wrote past the end of output 0"),
    "before the start": (LOOP.format(-2, ""), "wrote before the start of output 0, up to 8 bytes"),
    "around the input": ("((float *)call->in[0].data)[6] = 1;" + LOOP.format(0, ""), "past the end of input 0"),
    "into the input": ("((float *)call->in[0].data)[1] = 9;" + LOOP.format(0, ""), "changed its input 0"),
    "half": (LOOP.format(3, ""), "left 3 of the 6 elements of output 0 unwritten"),
    "nothing": ("return 0;", "left 6 of the 6 elements of output 0 unwritten"),
    "message": ('return mg_fail(call, "row %d is empty", 3);', "'kernel': row 3 is empty"),
    "code": (LOOP.format(0, "").replace("0;", "7;"), "'kernel': it returned 7, and no message"),
    "attribute": ('MG_OUT(0, float)[0] = mg_int(call, "q"); return 0;', "has no attribute 'q'"),
}  # fmt: skip


@pytest.mark.parametrize("checks", ["0", "1"])
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found_on_the_first_call_and_told_at_its_line(name, checks, monkeypatch):
    monkeypatch.setenv("MONOGRAPH_CHECK_NATIVE", checks)
    body, told = MISTAKES[name]
    op = from_body(body)
    for run in (op, mg.jit(lambda x: op(x))):
        with pytest.raises(EngineError, match=rf"^{__file__}:\d+: .*{re.escape(told)}"):
            run(mg.tensor(X))


@pytest.mark.parametrize("dtype", ["bool", "float16", "int16"])
def test_a_narrow_output_that_is_never_written_is_found(dtype):
    if dtype == "float16":
        pytest.importorskip("monograph_dtypes", reason="float16 is a plug-in's dtype")
    op = mg.custom_op_from_c(
        '#include "monograph_op.h"\nMG_OP(nothing) { return 0; }', "nothing",
        infer=lambda x: x, dtypes=dtype,
    )  # fmt: skip
    with pytest.raises(EngineError, match="left 6 of the 6 elements of output 0 unwritten"):
        op(mg.tensor(X).astype(dtype))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("*(volatile int *)8 = 1; return 0;", r"it crashed with signal 11 \(SIGSEGV\)"),
        ("__builtin_trap();", r"it crashed with signal \d+ \(SIG(ILL|TRAP)\)"),
        ("exit(3);", "it ended the process with status 3"),
    ],
)
def test_a_crash_is_reported_in_the_checking_mode(body, told, monkeypatch):
    monkeypatch.setenv("MONOGRAPH_CHECK_NATIVE", "1")
    op = mg.custom_op_from_c(
        f'#include "monograph_op.h"\n#include <stdlib.h>\nMG_OP(k) {{ {body} }}',
        "k",
        infer=lambda x: x,
    )
    with pytest.raises(EngineError, match=told):
        op(mg.tensor(X))


def test_a_failure_that_depends_on_data_leaves_nothing_broken():
    op = from_body(
        'if (MG_IN(0, float)[0] < 0) return mg_fail(call, "negative");' + LOOP.format(0, "")
    )
    for _ in range(3):
        assert op(mg.tensor(X)).numpy().tolist() == np.ones_like(X).tolist()
        with pytest.raises(EngineError, match="negative"):
            op(mg.tensor(-X))


def test_dtypes_and_gradients_that_do_not_fit_are_told_while_tracing():
    op = scaled()
    with pytest.raises(
        DTypeError, match=rf"{__file__}:\d+: scaled: x is float64\[2,3\].*takes float32"
    ):
        op(mg.tensor(X.astype("float64")))
    with pytest.raises(GraphError, match=r"gives \(float32.*say multi=True"):
        from_body("return 0;", lambda x: (x, x))(mg.tensor(X))
    with pytest.raises(mg.errors.NotDifferentiable):
        mg.grad(lambda x: mg.sum(from_body(LOOP.format(0, ""))(x)))(X)
    wrong = mg.custom_op_from_c(
        SCALED,
        "scaled",
        infer=lambda x, *, by=1.0: x,
        vjp=lambda g, y, x, *, by: (g[0],),
        name="wrong",
    )
    with pytest.raises(GraphError, match=rf"{__file__}:\d+: the vjp of wrong gave a cotangent"):
        mg.grad(lambda x: mg.sum(wrong(x)))(X)


def test_attributes_that_c_cannot_take_are_told():
    op = from_body(LOOP.format(0, ""), lambda x, *, a: x)
    for bad in (None, np.dtype("float32"), (1, "x"), 2**63, ((1,), 2)):
        with pytest.raises(ArgumentError, match=rf"{__file__}:\d+: kernel: attribute 'a' is"):
            mg.jit(lambda x, bad=bad: op(x, a=bad))(X)


# ---- the interface


def test_the_header_and_its_ctypes_twin_agree(tmp_path):
    fields = [(s, f) for s in (abi.Array, abi.Attr, abi.Call) for f, _ in s._fields_]
    c_names = {"inputs": "in", "outputs": "out"}
    structs = {abi.Array: "mg_array", abi.Attr: "mg_attr", abi.Call: "mg_call"}
    rows = "".join(f"P(offsetof({structs[s]}, {c_names.get(f, f)}))" for s, f in fields)
    enum = "".join(f"P(MG_{name.upper()})" for name in abi.DTYPES)
    (tmp_path / "a.c").write_text(
        '#include "monograph_op.h"\n#include <stddef.h>\n#define P(x) printf("%d\\n", (int)(x));\n'
        f"int main(void) {{ {rows} {enum} P(MG_INTS) P(MG_FLOATS) P(MG_TEXT) P(MG_ABI) "
        "P(sizeof(mg_array)) P(sizeof(mg_attr)) P(sizeof(mg_call)) return 0; }"
    )
    command = [*compiling.compiler("c").command, f"-I{native.HEADERS}", "-o", "a", "a.c"]
    subprocess.run(command, check=True, cwd=tmp_path)
    told = [
        int(x) for x in subprocess.run(["./a"], cwd=tmp_path, capture_output=True).stdout.split()
    ]
    want = [getattr(s, f).offset for s, f in fields]
    want += [abi.CODES[n] for n in abi.DTYPES] + [abi.INTS, abi.FLOATS, abi.TEXT, abi.ABI]
    want += [ctypes.sizeof(s) for s in (abi.Array, abi.Attr, abi.Call)]
    assert told == want


def test_the_header_is_plain_c_and_cpp_without_warnings(tmp_path):
    for name, language, std in (("a.c", "c", "-std=c11"), ("a.cpp", "c++", "-std=c++11")):
        (tmp_path / name).write_text(SCALED)
        command = [*compiling.compiler(language).command, std, "-Wall", "-Wextra", "-Wpedantic"]
        command += ["-Wno-unused-function", "-fsyntax-only", f"-I{native.HEADERS}", name]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_header_ships_with_the_package():
    assert (Path(mg.__file__).parent / "native/monograph_op.h").is_file()


def samples(dtype, rng):
    yield mg.Sample((rng.uniform(-2, 2, (2, 3)).astype(dtype.numpy),))
    yield mg.Sample((np.zeros((0, 2), dtype.numpy),), {"by": 3.0})
    yield mg.Sample((np.array(2, dtype.numpy),))


def test_the_kit_checks_an_op_in_c(capsys):
    scaled(samples=samples)
    assert kit(["numpy", "--op", "scaled"]) == 0, capsys.readouterr()
    assert "lacks" not in capsys.readouterr().out


def test_a_cell_that_is_run_again_replaces_its_op():
    old = scaled()
    graph = mg.trace(lambda x: old(x), X)
    new = scaled(SCALED.replace("* by", "* by + 1"))
    assert get("scaled") is new
    np.testing.assert_array_equal(new(mg.tensor(X)).numpy(), 2 * X + 1)
    np.testing.assert_array_equal(graph.verify().compile("numpy")(X).numpy(), 2 * X)
