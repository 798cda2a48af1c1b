"""Ops written outside core, in Python, on every engine: their NumPy body on the host, or what they bring."""

import logging
import os
import subprocess
import sys
import textwrap
import threading

import ml_dtypes  # noqa: F401  (NumPy learns bfloat16 and float8 by it)
import monograph as mg
import numpy as np
import pytest
from monograph.engine import get_engine
from monograph.errors import EngineError, UnsupportedOp

pytest.importorskip("jax", reason="the XLA engine's library")
torch = pytest.importorskip("torch", reason="the Torch engine's library")

ENGINES = ("numpy", "xla", "torch")
X = np.array([[0.5, -1.0], [2.0, 3.0]], "float32")


pytestmark = pytest.mark.usefixtures("ops_of_one_test")


@pytest.fixture(params=ENGINES)
def engine(request):
    with mg.engine(request.param):
        yield request.param


def cubed(**options):
    @mg.op(
        infer=lambda x, *, by=1.0: x, vjp=lambda g, y, x, *, by: (3 * by * x * x * g,), **options
    )
    def cubed(x, *, by=1.0):
        """by * x**3."""
        return by * x**3

    return cubed


def returning(value, infer=lambda x: x, **options):
    @mg.op(infer=infer, vjp=mg.NOT_DIFFERENTIABLE, **options)
    def body(x):
        """Whatever."""
        return value(x)

    return body


def test_a_wider_result_that_overflows_becomes_infinite_without_a_warning(engine):
    op = returning(lambda x: x.astype("float64") * 1e300)
    np.testing.assert_array_equal(mg.jit(lambda x: op(x))(X).numpy(), np.sign(X) * np.inf)


def test_a_numpy_body_runs_under_jit_grad_jvp_scan_and_eagerly(engine):
    op = cubed()
    np.testing.assert_allclose(op(mg.tensor(X, device=engine), by=2.0).numpy(), 2 * X**3, rtol=1e-6)
    loss = lambda x: mg.sum(op(op(x)))
    np.testing.assert_allclose(mg.jit(loss)(X).item(), (X**9).sum(), rtol=1e-5)
    np.testing.assert_allclose(mg.grad(loss)(X).numpy(), 9 * X**8, rtol=1e-5)
    second = mg.grad(lambda x: mg.sum(mg.grad(loss)(x)))(X).numpy()
    np.testing.assert_allclose(second, 72 * X**7, rtol=1e-5)
    _, dot = mg.jvp(loss, (X,), (np.ones_like(X),))
    np.testing.assert_allclose(dot.item(), (9 * X**8).sum(), rtol=1e-5)
    looped = lambda x: mg.sum(mg.scan(lambda c, _: (op(c), mg.sum(c)), x, None, length=2)[0])
    np.testing.assert_allclose(mg.grad(looped)(X).numpy(), 9 * X**8, rtol=1e-5)
    rows = mg.vmap(mg.grad(lambda x: mg.sum(op(x))))
    np.testing.assert_allclose(mg.jit(rows)(X).numpy(), 3 * X**2, rtol=1e-5)
    branch = lambda x: mg.cond(mg.sum(x) > 0, op, lambda x: x, x)
    np.testing.assert_allclose(mg.jit(branch)(X).numpy(), X**3, rtol=1e-6)


DTYPES = (
    "bool", "int8", "int64", "uint16", "uint32", "uint64", "float16", "bfloat16", "float64",
    "complex64", "complex128", "float8_e5m2", "float8_e4m3fn",
)  # fmt: skip


@pytest.mark.parametrize("shape", [(), (0, 2), (3,), (2, 3)])
@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_and_shape_goes_there_and_back_bit_for_bit(engine, name, shape):
    d = np.dtype(name)
    seen = []

    def value(x):
        seen.append((x.dtype, x.shape, x.flags.writeable))
        return x, x.T

    infer = lambda x: (x, x.with_(x.shape[::-1]))
    op = returning(value, infer, multi=True, bits=True)
    rng = np.random.default_rng(0)
    x = np.asarray(rng.integers(0, 1 << 8, (*shape, d.itemsize)), "uint8")
    x = np.ascontiguousarray(x % 2 if name == "bool" else x).view(d).reshape(shape)
    if name.startswith(("float", "bfloat", "complex")):  # what a NaN's bits are no engine promises
        x = np.where(np.isfinite(x), x, np.ones((), d)).astype(d)
    same, turned = mg.jit(lambda v: op(v))(x)
    # XLA leaves out a call of which nothing is needed
    assert seen == [(d, shape, False)] or (engine == "xla" and not x.size and not seen)
    for got, want in ((same.numpy(), x), (turned.numpy(), x.T)):
        assert got.dtype == d and got.tobytes() == want.tobytes()


def test_strided_and_conjugated_operands_arrive_as_they_are(engine):
    op = returning(lambda x: x)
    z = np.array([[1 + 2j, 3 - 1j], [0.5j, -2]], "complex64")
    np.testing.assert_array_equal(mg.jit(lambda x: op(mg.conj(x).T))(z).numpy(), z.conj().T)
    np.testing.assert_array_equal(mg.jit(lambda x: op(mg.imag(mg.conj(x))))(z).numpy(), -z.imag)
    np.testing.assert_array_equal(mg.jit(lambda x: op(x[:, ::-1]))(X).numpy(), X[:, ::-1])


def test_the_same_error_on_every_engine_when_a_result_does_not_fit(engine):
    op = returning(lambda x: x[0])
    told = rf"^{__file__}:\d+: op 'body' returned float32\[2\], expected float32\[2,2\]"
    for run in (op, mg.jit(lambda x: op(x))):
        with pytest.raises(EngineError, match=told):
            run(mg.tensor(X)).numpy()


def test_what_a_body_raises_is_chained_on_every_engine_and_nothing_stays_broken(engine, capfd):
    def value(x):
        if (x > 100).any():
            raise LookupError("not in my table")
        return x

    op = returning(value)
    looped = mg.jit(lambda x: mg.scan(lambda c, _: (op(c) * 10, mg.sum(c)), x, None, length=4))
    told = rf"^{__file__}:\d+: the NumPy body of op 'body' failed: LookupError: not in my table"
    for run, good, bad in (
        (op, X, X * 100),
        (mg.jit(lambda x: op(x)), X, X * 100),
        (looped, X / 100, X),
    ):
        for _ in range(2):
            with pytest.raises(EngineError, match=told) as e:
                mg.tree.map(lambda y: y.numpy(), run(mg.tensor(bad)))
            assert isinstance(e.value.__cause__, LookupError)
            mg.tree.map(lambda y: y.numpy(), run(mg.tensor(good)))
    assert capfd.readouterr() == ("", ""), "an exception is enough"


def test_an_eager_error_names_the_line_of_this_call_not_of_the_first(engine):
    def value(x):
        if x.max() > 5:
            raise ValueError("over")
        return x

    op = returning(value)
    op(mg.tensor(X))
    with pytest.raises(EngineError) as e:
        op(mg.tensor(X * 10)).numpy()
    with pytest.raises(EngineError) as again:
        op(mg.tensor(X * 10)).numpy()
    lines = [int(str(x.value).removeprefix(f"{__file__}:").partition(":")[0]) for x in (e, again)]
    assert lines[1] == lines[0] + 2


def test_ctrl_c_inside_a_body_is_ctrl_c(engine):
    def value(x):
        raise KeyboardInterrupt

    op = returning(value)
    with pytest.raises(KeyboardInterrupt):
        mg.jit(lambda x: op(x))(X).numpy()


def test_jax_logs_other_callbacks_errors_still():
    import jax

    get_engine("xla")
    heard = []
    handler = logging.Handler()
    handler.emit = heard.append
    logger = logging.getLogger("jax._src.callback")
    logger.addHandler(handler)
    try:
        with pytest.raises(Exception, match="ZeroDivisionError"):
            jax.jit(lambda x: jax.pure_callback(lambda x: 1 / 0, x, x))(X).block_until_ready()
    finally:
        logger.removeHandler(handler)
    assert len(heard) == 1, "jax's logger has another name, or our filter takes too much"


def test_threads_share_a_program_with_a_body(engine):
    op, wrong = cubed(), []
    f = mg.jit(lambda x, k: op(x) + k)

    def loop(k):
        with mg.engine(engine):
            for _ in range(20):
                if not np.allclose(f(X, np.float32(k)).numpy(), X**3 + k):
                    wrong.append(k)

    threads = [threading.Thread(target=loop, args=(k,)) for k in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin a process")
@pytest.mark.parametrize("engine", ["xla", "torch"])
def test_big_arrays_on_one_core_do_not_deadlock(engine):
    # jax's callbacks did, when they waited for a copy that the only thread had to make
    code = f"""
        import os
        os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
        import monograph as mg, numpy as np

        @mg.op(infer=lambda x: x, vjp=mg.NOT_DIFFERENTIABLE)
        def twice(x):
            '''Two times.'''
            return x + x

        def step(c, i):
            return twice(c) / 2 + twice(c[1:]).sum() * 0, twice(c).sum()

        f = mg.jit(lambda x: mg.scan(step, x, None, length=4)).on("{engine}")
        for n in (7, 1_000_001):
            for d in ("float32", "float64"):
                x, sums = f(np.ones(n, d))
                assert (x.numpy() == 1).all() and sums.tolist() == [2 * n] * 4
        print("done")
    """
    got = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120
    )
    assert got.stdout == "done\n", got.stderr


# ---- what an op brings for an engine


def never(x, **attrs):
    raise AssertionError("the NumPy body is not for this engine")


def bringing(infer=lambda x, *, by: x, **lower):
    @mg.op(infer=infer, vjp=lambda g, y, x, *, by: (g * by,), lower=lower)
    def scaled(x, *, by):
        """x * by."""
        return never(x)

    return scaled


TORCH_FORMS = {
    "text": "torch.mul({0}, {by})",
    "function": lambda node, device: lambda x: x * node.attrs["by"],
    "another dtype": "{0}.double() * {by}",
    "text from a function": lambda node, device: f"{{0}} * {node.attrs['by']}",
}


@pytest.mark.parametrize("form", TORCH_FORMS)
def test_a_lowering_brought_for_torch_runs_instead_of_the_body(form):
    op = bringing(torch=TORCH_FORMS[form])
    f = mg.jit(lambda x: op(x, by=2.5)).on("torch")
    np.testing.assert_array_equal(f(X).numpy(), X * 2.5)
    assert f(X).dtype.name == "float32"
    g = mg.grad(lambda x: mg.sum(op(x, by=2.5))).on("torch")
    np.testing.assert_array_equal(g(X).numpy(), np.full_like(X, 2.5))
    with pytest.raises(EngineError, match="not for this engine"):
        mg.jit(lambda x: op(x, by=2.5)).on("numpy")(X)


def test_a_lowering_brought_for_xla_runs_instead_of_the_body():
    op = bringing(xla=lambda x, *, by: x.astype("float64") * by)
    f = mg.jit(lambda x: mg.scan(lambda c, _: (op(c, by=2.0), ()), x, None, length=3)[0]).on("xla")
    np.testing.assert_array_equal(f(X).numpy(), X * 8)
    assert f(X).dtype.name == "float32"


@pytest.mark.parametrize("text", ["{0}", "{0}.t()", "{0}[:1].expand(2, 2)", "{0}.view(2, 2)"])
def test_a_lowering_that_gives_a_view_cannot_make_results_alias(text):
    op = bringing(torch=text)
    x = mg.tensor(X, device="torch")
    f = mg.jit(lambda x: (op(x, by=1.0), op(x, by=1.0) * 2, x), engine="torch")
    y, _, same = f(x)
    expected = {"{0}.t()": X.T, "{0}[:1].expand(2, 2)": np.stack([X[0]] * 2)}.get(text, X)
    np.testing.assert_array_equal(y.numpy(), expected)
    overwriting = mg.jit(lambda a: mg.exp(a), engine="torch", donate_argnums=0)
    overwriting(y)
    np.testing.assert_array_equal(x.numpy(), X)
    np.testing.assert_array_equal(same.numpy(), X)


@pytest.mark.parametrize(
    ("engine", "lowering", "told"),
    [
        ("torch", "{0}[0]", r"op 'scaled' returned float32\[2\], expected float32\[2,2\]"),
        ("torch", "{0} * 1j", "op 'scaled' returned complex64"),
        ("torch", "torch.no_such({0})", "lowering for torch of op 'scaled' failed: AttributeError"),
        ("torch", "{0} * {k}", "lowering for torch of op 'scaled' failed: KeyError"),
        (
            "torch",
            lambda node, device: 1 / 0,
            "lowering for torch of op 'scaled' failed: ZeroDivision",
        ),
        (
            "xla",
            lambda x, *, by: x[0],
            r"op 'scaled' returned float32\[2\], expected float32\[2,2\]",
        ),
        ("xla", lambda x: x, "lowering for xla of op 'scaled' failed: TypeError"),
        ("xla", lambda x, *, by: (x, x), "op 'scaled' returned"),
    ],
)
def test_a_wrong_lowering_is_told_at_the_line_that_used_the_op(engine, lowering, told):
    op = bringing(**{engine: lowering})
    with pytest.raises(EngineError, match=rf"^{__file__}:\d+: .*{told}"):
        mg.jit(lambda x: op(x, by=2.0)).on(engine)(X)


def test_a_composite_may_bring_one_too():
    @mg.composite(lower={"torch": "torch.nn.functional.softsign({0})"})
    def softsign(x):
        """x / (1 + |x|)."""
        return x / (1 + mg.abs(x))

    graph = mg.trace(lambda x: softsign(x), X)
    want = X / (1 + np.abs(X))
    for name, ops in (("torch", ["softsign"]), ("xla", ["abs", "add", "divide"])):
        prepared = get_engine(name).prepare(graph)
        assert {n.op.name for n in prepared.nodes} >= set(ops)
        np.testing.assert_allclose(graph.compile(name)(X).numpy(), want, rtol=1e-6)


# ---- what engines say they have


@pytest.mark.parametrize("name", ["xla", "torch"])
def test_a_core_op_that_an_engine_lacks_is_refused_still(name, monkeypatch):
    e = get_engine(name)
    op = cubed()
    assert e.supports(op) and op not in list(e.LOWER)
    entry = dict.pop(e.LOWER, mg.ops.erf_inv)
    try:
        assert not e.supports(mg.ops.erf_inv)
        with pytest.raises(UnsupportedOp, match="erf_inv") as err:
            e.prepare(mg.trace(lambda x: mg.ops.erf_inv(op(x)), X))
        assert list(err.value.missing) == ["erf_inv"]
    finally:
        dict.__setitem__(e.LOWER, mg.ops.erf_inv, entry)


@pytest.mark.parametrize("engine", ["xla", "torch"])
def test_a_process_ends_while_a_body_is_at_work(engine):
    code = f"""
        import time
        import monograph as mg, numpy as np

        @mg.op(infer=lambda x: x, vjp=mg.NOT_DIFFERENTIABLE)
        def slow(x):
            '''x, after a while.'''
            time.sleep(0.5)
            return x

        mg.jit(lambda x: slow(x @ x) @ x).on("{engine}")(np.ones((300, 300), "float32"))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stderr) == (0, "")
