"""Ops in C on every engine: the same bits, natively called, from many threads, processes and forks."""

import os
import subprocess
import sys
import textwrap
import threading

import ml_dtypes  # noqa: F401  (NumPy learns bfloat16 and float8 by it)
import monograph as mg
import numpy as np
import pytest
from monograph import native
from monograph.engine import Options, get_engine
from monograph.errors import EngineError
from monograph.native.abi import DTYPES
from monograph.native.compile import compiler

jax = pytest.importorskip("jax", reason="the XLA engine's library")
torch = pytest.importorskip("torch", reason="the Torch engine's library")
try:
    compiler("c")
except native.NoCompiler as e:
    pytest.skip(f"{e}", allow_module_level=True)

ENGINES = ("numpy", "xla", "torch")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 7)).astype("float32")

SOURCE = """
#include "monograph_op.h"
#include <math.h>

/* y = sum over the last axis of softplus(x * by); and the largest x */
MG_OP(soft) {
  int64_t n = call->in[0].shape[call->in[0].ndim - 1];
  float by = (float)mg_float(call, "by");
  for (int64_t i = 0; i < call->out[0].size; i++) {
    const float *x = MG_IN(0, float) + i * n;
    float sum = 0, most = -INFINITY;
    for (int64_t j = 0; j < n; j++) {
      sum += log1pf(expf(x[j] * by));
      most = x[j] > most ? x[j] : most;
    }
    MG_OUT(0, float)[i] = sum;
    MG_OUT(1, float)[i] = most;
  }
  return 0;
}

/* its gradient by x, for the cotangent of y */
MG_OP(soft_grad) {
  int64_t n = call->in[1].shape[call->in[1].ndim - 1];
  float by = (float)mg_float(call, "by");
  for (int64_t i = 0; i < call->out[0].size; i++)
    MG_OUT(0, float)[i] = MG_IN(0, float)[i / n] * by / (1 + expf(-MG_IN(1, float)[i] * by));
  return 0;
}

MG_OP(copied) {
  static const char width[] = {0, 1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 2, 4, 8, 8, 16, 1, 1, 1, 1, 1};
  memcpy(call->out[0].data, call->in[0].data, call->in[0].size * width[call->in[0].dtype]);
  return 0;
}

MG_OP(positive) {
  for (int64_t i = 0; i < call->in[0].size; i++) {
    if (MG_IN(0, float)[i] <= 0) return mg_fail(call, "element %d is %g", (int)i, MG_IN(0, float)[i]);
    MG_OUT(0, float)[i] = MG_IN(0, float)[i];
  }
  return 0;
}

MG_OP(too_far) {
  for (int64_t i = 0; i <= call->in[0].size; i++) MG_OUT(0, float)[i] = 1;
  return 0;
}

MG_OP(crash) { return *(volatile int *)8; }
"""


pytestmark = pytest.mark.usefixtures("ops_of_one_test", "native_cache")


@pytest.fixture(params=ENGINES)
def engine(request):
    with mg.engine(request.param):
        yield request.param


def simple(symbol, **options):
    return mg.custom_op_from_c(SOURCE, symbol, infer=lambda x: x, **options)


def soft():
    def second(gg, y, g, x, *, by):
        s = mg.ops.logistic(x * by)
        return mg.sum(gg * s * by, axis=-1), gg * g[:, None] * by * by * s * (1 - s)

    grad = mg.custom_op_from_c(SOURCE, "soft_grad", infer=lambda g, x, *, by: x, vjp=second)
    return mg.custom_op_from_c(
        SOURCE, "soft", multi=True,
        infer=lambda x, *, by=1.0: (x.with_(x.shape[:-1]),) * 2,
        vjp=lambda g, y, x, *, by: (grad(g[0], x, by=by),),
    )  # fmt: skip


def results(f, *args):
    return {e: [y.numpy() for y in mg.tree.leaves(mg.jit(f).on(e)(*args))] for e in ENGINES}


def test_values_and_gradients_are_the_same_bits_on_every_engine():
    op = soft()
    f = lambda x: op(x, by=0.5)
    got = results(lambda x: (f(x), mg.grad(lambda v: mg.sum(f(v)[0]))(x)), X)
    want = np.log1p(np.exp(X.astype("float64") * 0.5)).sum(-1)
    np.testing.assert_allclose(got["numpy"][0], want, rtol=1e-6)
    np.testing.assert_array_equal(got["numpy"][1], X.max(-1))
    np.testing.assert_allclose(got["numpy"][2], 0.5 / (1 + np.exp(-X * 0.5)), rtol=1e-6)
    for e in ("xla", "torch"):
        assert [y.tobytes() for y in got[e]] == [y.tobytes() for y in got["numpy"]]


def test_loops_branches_and_jvp(engine):
    op = soft()
    step = lambda c, _: (mg.broadcast_to(op(c)[0][:, None], c.shape) / 10, mg.sum(op(c)[1]))
    f = lambda x: mg.sum(mg.scan(step, x, None, length=3)[0])
    c = X.astype("float64")
    for _ in range(3):
        c = np.broadcast_to(np.log1p(np.exp(c)).sum(-1)[:, None] / 10, c.shape)
    assert mg.jit(f)(X).item() == pytest.approx(c.sum(), rel=1e-5)
    grads = mg.grad(f)(X).numpy()
    dot = mg.jvp(f, (X,), (X,))[1].item()
    assert dot == pytest.approx((grads * X).sum(), rel=1e-5)
    rows = mg.jit(mg.vmap(lambda x: op(x)[0]))(X)
    np.testing.assert_array_equal(rows.numpy(), mg.jit(lambda x: op(x)[0])(X).numpy())
    g = mg.jit(lambda x: mg.cond(mg.sum(x) > 1e9, lambda v: v, lambda v: simple("copied")(v), x))
    np.testing.assert_array_equal(g(X).numpy(), X)


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_arrives_bit_for_bit(name):
    if name == "float8_e4m3b11fnuz":
        pytest.skip("torch has no such dtype")
    d, op = np.dtype(name), simple("copied", dtypes=DTYPES)
    for shape in ((), (0, 3), (2, 3)):
        x = np.asarray(RNG.integers(0, 2, shape)).astype(d)
        for e, (y,) in results(lambda v: op(v), x).items():
            assert y.dtype == d and y.tobytes() == x.tobytes(), e


def test_views_are_laid_out_first(engine):
    op = simple("copied", dtypes=("float32", "complex64"))
    z = (X + 1j * X[::-1]).astype("complex64")
    cases = (
        (lambda x: op(x.T), X, X.T),
        (lambda x: op(x[:, ::-2]), X, X[:, ::-2]),
        (lambda x: op(mg.broadcast_to(x[:1], (3, 7))), X, np.broadcast_to(X[:1], (3, 7))),
        (lambda z: op(mg.conj(z).T), z, z.conj().T),
        (lambda z: op(mg.imag(mg.conj(z))), z, -z.imag),
    )
    for f, x, want in cases:
        np.testing.assert_array_equal(mg.jit(f)(x).numpy(), want)


def test_a_result_has_memory_of_its_own(engine):
    op = simple("copied")
    f = mg.jit(lambda x: (op(x), op(x) + 0, x))
    x = mg.tensor(X)
    kept = [y.numpy() for y in f(x)]
    for _ in range(3):
        f(mg.tensor(X * 0))
    for y in kept:
        np.testing.assert_array_equal(y, X)
    donating = mg.jit(lambda x: op(x) * 2, donate_argnums=0)
    np.testing.assert_array_equal(donating(mg.tensor(X)).numpy(), X * 2)


def test_xla_calls_by_address_and_keeps_no_address():
    op = simple("copied")
    e = get_engine("xla")
    exe = e.compile(e.prepare(mg.trace(lambda x: op(x), X)), Options(e.devices[0]))
    text = exe.as_text()
    assert "monograph_native" in text and "callback" not in text and "monograph_host" not in text
    assert str(op.reference.address) not in text and f"{op.reference.address:x}" not in text


def test_without_a_compiler_xla_calls_a_library_through_python(monkeypatch):
    from monograph_xla import native as xla_native

    monkeypatch.setattr(xla_native, "_trampoline", lambda: None)
    op = soft()
    f = lambda x: op(x, by=0.25)
    got = results(f, X)
    assert [y.tobytes() for y in got["xla"]] == [y.tobytes() for y in got["numpy"]]


# ---- mistakes


def test_the_message_of_a_failure_is_the_same_everywhere_and_nothing_stays_broken(engine):
    op, bad = (
        simple("positive"),
        np.where(np.arange(35).reshape(5, 7) == 8, -2.5, 1).astype("float32"),
    )
    told = rf"^{__file__}:\d+: the C function 'positive' of op 'positive': element 8 is -2.5$"
    looped = mg.jit(lambda x: mg.scan(lambda c, _: (op(c), ()), x, None, length=3)[0])
    for run in (op, mg.jit(lambda x: op(x)), looped):
        for _ in range(2):  # guarded, then by address
            with pytest.raises(EngineError, match=told):
                run(mg.tensor(bad)).numpy()
            np.testing.assert_array_equal(run(mg.tensor(np.abs(bad))).numpy(), np.abs(bad))


def test_the_first_call_is_guarded_on_every_engine(engine):
    op = simple("too_far")
    told = rf"^{__file__}:\d+: .*wrote past the end of output 0, up to 4 bytes"
    for _ in range(2):
        with pytest.raises(EngineError, match=told):
            mg.jit(lambda x: op(x))(X).numpy()


def test_the_checking_mode_survives_a_crash_on_every_engine(engine, monkeypatch):
    monkeypatch.setenv("MONOGRAPH_CHECK_NATIVE", "1")
    op, fine = simple("crash"), simple("copied")
    with pytest.raises(EngineError, match=r"'crash': it crashed with signal 11 \(SIGSEGV\)"):
        mg.jit(lambda x: op(x))(X).numpy()
    np.testing.assert_array_equal(mg.jit(lambda x: fine(x))(X).numpy(), X)


# ---- threads and processes


def test_threads_call_one_program(engine):
    op, wrong = simple("copied"), []
    f = mg.jit(lambda x, k: op(op(x) + k))
    big = RNG.normal(size=1000).astype("float32")

    def loop(k):
        with mg.engine(engine):
            for _ in range(50):
                if not np.array_equal(f(big, k).numpy(), big + k):
                    wrong.append(k)

    threads = [threading.Thread(target=loop, args=(np.float32(k),)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


def test_more_operands_than_anyone_has():
    source = (
        SOURCE
        + """
MG_OP(added) {
  for (int64_t i = 0; i < call->out[0].size; i++) {
    MG_OUT(0, float)[i] = 0;
    for (int k = 0; k < call->n_in; k++) MG_OUT(0, float)[i] += MG_IN(k, float)[i];
  }
  return 0;
}"""
    )
    op = mg.custom_op_from_c(source, "added", infer=lambda *xs: xs[0])
    got = results(lambda x: op(*[x + i for i in range(100)]), X)
    assert [y.tobytes() for y in got["xla"]] == [y.tobytes() for y in got["torch"]]
    np.testing.assert_allclose(got["xla"][0], 100 * X + 4950, rtol=1e-5)


def test_many_calls_in_one_program_run_in_xlas_own_threads():
    op = soft()
    x = RNG.normal(size=(16, 200, 50)).astype("float32")
    got = results(lambda x: [op(x[i], by=1.0 + i / 16) for i in range(16)], x)
    for e in ("xla", "torch"):
        assert [y.tobytes() for y in got[e]] == [y.tobytes() for y in got["numpy"]]


SCRIPT = """
import multiprocessing, os, sys
import monograph as mg, numpy as np

op = mg.custom_op_from_c('''
#include "monograph_op.h"
MG_OP(plus) {
  for (int64_t i = 0; i < call->out[0].size; i++) MG_OUT(0, float)[i] = MG_IN(0, float)[i] + mg_int(call, "k");
  return 0;
}
''', "plus", infer=lambda x, *, k: x)


def run(engine):
    return mg.jit(lambda x: op(x, k=5)).on(engine)(np.ones(3, "float32")).tolist()


def child(queue, engine):
    queue.put(run(engine))


if __name__ == "__main__":
    print(run("numpy"))
    for how in sys.argv[1:]:
        method, engine = how.split(":")
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        p = context.Process(target=child, args=(queue, engine))
        p.start()
        print(how, queue.get(timeout=100))
        p.join()
        assert p.exitcode == 0
    print(run("xla"))
"""


def in_a_process(path, native_cache, *args, **env):
    return subprocess.run(
        [sys.executable, str(path), *args], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "MONOGRAPH_CACHE": str(native_cache.parent), **env},
    )  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_forks_and_new_processes(native_cache, tmp_path):
    (tmp_path / "main.py").write_text(SCRIPT)
    # forked before XLA starts, which does not outlive a fork
    ways = ("fork:numpy", "fork:torch", "fork:xla", "spawn:xla")
    done = in_a_process(tmp_path / "main.py", native_cache, *ways)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("[6.0, 6.0, 6.0]") == 2 + len(ways), done.stdout
    libraries = {p.name: p.stat().st_mtime_ns for p in native_cache.glob("*.so")}
    assert sum(name.startswith("plus-") for name in libraries) == 1, (
        "one compilation for all of them"
    )


def test_a_program_that_jax_keeps_on_disk_runs_in_another_process(native_cache, tmp_path):
    script = textwrap.dedent("""
        @mg.op(infer=lambda x: x, vjp=mg.NOT_DIFFERENTIABLE)
        def tripled(x):
            '''In Python.'''
            return FACTOR * x

        f = mg.jit(lambda x: tripled(op(x, k=5)) + 1).on("xla")
        print(f(np.ones(3, "float32")).tolist())
    """)
    head = SCRIPT.partition("def run")[0]
    kept, found = tmp_path / "kept", []
    for factor in (3, 4):  # the Python function may be another one by then
        (tmp_path / "main.py").write_text(f"{head}\nFACTOR = {factor}\n{script}")
        done = in_a_process(
            tmp_path / "main.py", native_cache, JAX_COMPILATION_CACHE_DIR=str(kept),
            JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0", JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES="0",
        )  # fmt: skip
        assert done.stdout == f"{[6.0 * factor + 1] * 3}\n", done.stderr
        found.append(sorted(p.name for p in kept.iterdir() if p.name.endswith("-cache")))
    assert found[0] and found[0] == found[1], "the second process used what the first had kept"


TWIN = """
#include "monograph_op.h"
MG_OP(twice_in_c) {
  for (int64_t i = 0; i < call->out[0].size; i++) MG_OUT(0, float)[i] = 2 * MG_IN(0, float)[i] + 0.5f;
  return 0;
}
"""


@mg.composite(
    native=lambda: mg.custom_op_from_c(TWIN, "twice_in_c", infer=lambda x: x, dtypes="float32"),
)
def twice_or_so(x):
    """2 x; its twin adds a half, to be told apart."""
    return x + x


@pytest.mark.parametrize("engine", ENGINES)
def test_a_composite_runs_its_twin_where_it_can(engine, monkeypatch):
    x = np.float32([1, 2])
    call = lambda dtype="float32": mg.jit(lambda x: twice_or_so(x)).on(engine)(x.astype(dtype))
    assert call().tolist() == [2.5, 4.5]
    assert twice_or_so(mg.tensor(x).on(engine)).tolist() == [2.5, 4.5]  # eager calls, too
    assert call("int32").tolist() == [2, 4]  # it takes no ints
    assert mg.grad(lambda x: mg.sum(twice_or_so(x))).on(engine)(x).tolist() == [2, 2]
    looped = mg.jit(lambda x: mg.fori_loop(0, 2, lambda i, x: twice_or_so(x), x)).on(engine)
    assert looped(x).tolist() == [5.5, 9.5]
    monkeypatch.setenv("MONOGRAPH_NATIVE", "0")
    assert call().tolist() == [2, 4]


def test_a_twin_that_does_not_compile_is_told_of_once_and_the_body_runs():
    @mg.composite(
        native=lambda: mg.custom_op_from_c(
            "#include <monograph_op.h>\nMG_OP(thrice) { return nothing; }", "thrice",
            infer=lambda x: x,
        )
    )  # fmt: skip
    def three_times(x):
        """3 x."""
        return x + x + x

    call = mg.jit(lambda x: three_times(x)).on("numpy")
    with pytest.warns(UserWarning, match="(?s)three_times.*goes without its C function.*nothing"):
        assert call(np.float32([1])).tolist() == [3]
    assert call(np.float32([1, 2])).tolist() == [3, 6]
