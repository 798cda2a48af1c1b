"""What XLA compiled, run by another process that compiles nothing; and what must not be kept."""

import json
import logging
import os
import subprocess
import sys

import jax
import monograph as mg
import numpy as np
import pytest
from monograph import executables
from monograph.compiled import Compiled
from monograph.engine import Device, Options, resolve
from monograph_xla import kept

X = np.linspace(-1, 1, 6, dtype="float32").reshape(2, 3)


@pytest.fixture(autouse=True)
def all_is_kept(monkeypatch, tmp_path):
    """However small a graph is, and however quickly it was compiled."""
    monkeypatch.setenv("MONOGRAPH_CACHE", str(tmp_path))
    monkeypatch.delenv("MONOGRAPH_CACHE_SIZE")
    monkeypatch.setattr(executables, "WORTH", -1.0)
    monkeypatch.setattr(kept, "SLOWER", float("inf"))


@pytest.fixture
def compile_events():
    """What jax traces, lowers and compiles, as it tells its listeners."""
    found = []

    def listen(event, seconds, **_):
        if event.startswith("/jax/core/compile/"):
            found.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.clear_event_listeners()


def program(fn, *args, donate=()):
    return Compiled(mg.trace(fn, *map(mg.Spec.of, args)), "xla", donate).executable


def both(fn, *args):
    """A function's results when it was just compiled, and when it was loaded."""
    outs = []
    for kind in (jax.stages.Compiled, kept.Loaded):
        run = program(fn, *args)
        assert type(run) is kind
        outs.append([np.asarray(y) for y in run(*args)])
    return outs


TRAINING = """
import hashlib, json, sys
import jax, monograph as mg, monograph_xla, numpy as np
from monograph import executables
from monograph_xla import kept
executables.WORTH, kept.SLOWER = -1.0, float("inf")
events = []
jax.monitoring.register_event_duration_secs_listener(lambda e, s, **_: events.append(e))

def model(scope, x):
    w = scope.variable("w", (3, 3, 2, 4), lambda key, s, d: mg.random.normal(key, s, d))
    def loss(w):
        return mg.mean(mg.tanh(mg.conv(x, w, padding="same")) ** 2)
    value, gradient = mg.value_and_grad(loss)(w.value)
    w.assign(w.value - gradient)
    return value

store = mg.Store(seed=0)
step = store.bind(model, engine="xla")
x = np.random.default_rng(0).normal(size=(2, 8, 8, 2)).astype("float32")
losses = [step(x).item() for _ in range(3)]
print(json.dumps({
    "losses": losses, "weights": hashlib.sha256(store["w"].numpy().tobytes()).hexdigest(),
    "compiled": sum("compile" in e for e in events),
}))
"""


def started(code, **env):
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, **env},
    )  # fmt: skip
    return json.loads(run.stdout), run.stderr


def test_a_second_process_trains_bit_for_bit_the_same_and_neither_traces_nor_compiles():
    first, _ = started(TRAINING)
    second, said = started(TRAINING)
    assert first["compiled"] and not second.pop("compiled") and not said
    first.pop("compiled")
    assert first == second and len({*first["losses"]}) == 3
    flags, _ = started(TRAINING, XLA_FLAGS="--xla_cpu_enable_fast_math=false")
    assert flags["compiled"]  # other flags, other code


def test_loading_traces_and_compiles_nothing(compile_events):
    program(lambda x: mg.tanh(x) @ x.T, X)
    assert compile_events
    compile_events.clear()
    assert type(program(lambda x: mg.tanh(x) @ x.T, X)) is kept.Loaded
    assert not compile_events


@pytest.mark.parametrize(
    "dtype",
    [
        "bool",
        "int8",
        "uint16",
        "int32",
        "int64",
        "uint64",
        "float32",
        "float64",
        "complex64",
        "complex128",
    ],
)
def test_arrays_of_every_dtype_go_in_and_come_out(dtype):
    x = np.array([[1, 0, 3], [2, 2, 0]]).astype(dtype)
    want, got = both(lambda x: (x.T, mg.concat([x, x])), mg.tensor(x, device="xla").buffer)
    for a, b in zip(want, got):
        assert a.dtype == b.dtype == dtype
        np.testing.assert_array_equal(a, b)
    f = mg.jit(lambda x: mg.concat([x, x]), engine="xla")  # host arrays
    np.testing.assert_array_equal(f(x).numpy(), np.concatenate([x, x]))


def test_shapes_of_every_kind():
    for x in (np.float32(2.5), np.zeros((0, 3), "float32"), X):
        want, got = both(lambda x: (x + 1.0, mg.sum(x), x > 1), np.asarray(x))
        for a, b in zip(want, got):
            np.testing.assert_array_equal(a, b, strict=True)


def test_loops_and_random_numbers():
    def fn(x):
        key = mg.random.key(3)
        return mg.scan(lambda c, i: (c * 0.5 + mg.random.normal(key, (2, 3)), c), x, mg.arange(4))

    want, got = both(fn, X)
    for a, b in zip(want, got):
        np.testing.assert_array_equal(a, b)


def test_donated_arguments_are_given_up_by_a_loaded_program_too():
    program(lambda x, y: x + y, X, X, donate=(0,))
    f = mg.jit(lambda x, y: x + y, engine="xla", donate_argnums=0)
    x, y = (mg.tensor(X, device="xla") for _ in range(2))
    buffer = x.buffer
    np.testing.assert_array_equal(f(x, y).numpy(), X + X)
    with pytest.raises(mg.errors.ArgumentError, match="was donated"):
        x.numpy()
    assert buffer.is_deleted() and not y.buffer.is_deleted()
    np.testing.assert_array_equal(f(X, X).numpy(), X + X)  # a host array is lent
    np.testing.assert_array_equal(X, np.linspace(-1, 1, 6, dtype="float32").reshape(2, 3))


def test_host_memory_that_xla_reads_in_place_may_be_donated():
    raw = np.zeros(4096 + 16, "float32")
    start = -raw.ctypes.data % 64 // 4  # aligned to 64 bytes: what XLA would alias
    x = raw[start : start + 4096]
    for kind in (jax.stages.Compiled, kept.Loaded):
        run = program(lambda x: x + 1.0, x, donate=(0,))
        assert type(run) is kind
        assert (np.asarray(run(x)[0]) == 1).all()


def test_a_loaded_step_is_guarded_against_nan():
    store = mg.Store()

    def step(scope, x):
        w = scope.variable("w", (3,), 1.0)
        w.assign(w.value + mg.log(x))
        return mg.sum(w.value)

    for _ in range(2):
        call = store.bind(step, engine="xla")
        call(X[0] + 2)
        with mg.nan_guard():
            call(X[0] + 2)
            before = store["w"].numpy()
            with pytest.raises(mg.errors.NonFinite, match="log"):
                call(X[0] - 2)
        np.testing.assert_array_equal(store["w"].numpy(), before)


def test_jax_checks_for_nan_itself_where_it_is_asked_to():
    for _ in range(2):
        with jax.debug_nans(True):
            assert type(program(lambda x: x + 1.0, X)) is jax.stages.Compiled


def test_where_jax_keeps_what_it_compiles_nothing_is_kept_here(tmp_path, monkeypatch):
    """XLA cannot write what it has read: such a program loads, and lacks functions when it runs."""
    env = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    first, second = (started(TRAINING, **env)[0] for _ in range(2))
    assert list((tmp_path / "jax").iterdir()) and not executables.folder().exists()
    assert first["weights"] == second["weights"]


def test_errors_of_a_loaded_program_are_the_engines():
    program(lambda x: x + 1.0, X)
    run = Compiled(mg.trace(lambda x: x + 1.0, mg.Spec.of(X)), "xla")
    assert type(run.executable) is kept.Loaded
    gone = mg.tensor(X, device="xla").buffer
    gone.delete()
    with pytest.raises(mg.errors.EngineError, match="while it ran graph"):
        run.execute([gone])


def test_the_text_of_a_loaded_program_is_there():
    texts = [program(lambda x: mg.tanh(x) @ x.T, X).as_text() for _ in range(2)]
    assert all("HloModule" in t for t in texts)


def test_what_calls_functions_of_this_process_is_not_kept(ops_of_one_test):
    @mg.op(infer=lambda x: x, vjp=mg.NOT_DIFFERENTIABLE)
    def on_host(x):
        """x + 1, by NumPy."""
        return x + 1

    @mg.op(infer=lambda x: x, vjp=mg.NOT_DIFFERENTIABLE, lower={"xla": lambda x: x + 1})
    def lowered(x):
        """x + 1, by a lowering of its own."""
        return x + 1

    square = X[:, :2] @ X[:, :2].T + np.eye(2, dtype="float32")
    for fn, x in (
        (on_host, X), (lowered, X), (mg.linalg.cholesky, square), (lambda x: mg.linalg.qr(x).Q, X),
    ):  # fmt: skip
        for _ in range(2):
            assert type(program(fn, x)) is not kept.Loaded
    assert not list(executables.every())


def test_what_compiles_quickly_or_runs_briefly_is_left_to_jax(monkeypatch):
    with monkeypatch.context() as m:
        m.setattr(executables, "WORTH", 1e9)
        program(lambda x: x + 1.0, X)
    monkeypatch.setattr(kept, "SLOWER", 0.03)
    program(lambda x: x + 1.0, X)
    assert not list(executables.every())
    large = np.ones((1024, 1024), "float32")
    program(lambda x: x @ x, large)
    assert type(program(lambda x: x @ x, large)) is kept.Loaded


def place():
    device = resolve("xla")
    graph = mg.trace(lambda x: x + 1.0, mg.Spec.of(X))
    return executables.entry(device.engine, graph, Options(device), kept.facts(device)).path


def test_settings_of_xla_and_jax_name_another_file(monkeypatch):
    before, changed = place(), []
    with monkeypatch.context() as m:
        m.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", "") + " --xla_cpu_enable_fast_math=false")
        changed.append(place())
    with jax.default_matmul_precision("highest"):
        changed.append(place())
    assert place() == before
    with monkeypatch.context() as m:
        m.setattr(kept, "facts", lambda device: {"platform": "newer"})
        changed.append(place())
    assert len({before, *changed}) == 4


def test_bytes_that_xla_refuses_are_compiled_anew_and_replaced(caplog):
    program(lambda x: x + 1.0, X)
    (path,) = executables.folder().iterdir()
    sound = path.read_bytes()
    device = resolve("xla")
    graph = device.engine.prepare(mg.trace(lambda x: x + 1.0, mg.Spec.of(X)), device)
    entry = executables.entry(device.engine, graph, Options(device), kept.facts(device))
    for payload in (b"", b"no program", b"\0" * 5000):
        entry.keep(payload, 1.0)
        assert path.read_bytes() != sound
        with caplog.at_level(logging.WARNING, "monograph.executables"):
            assert type(program(lambda x: x + 1.0, X)) is jax.stages.Compiled
        assert type(program(lambda x: x + 1.0, X)) is kept.Loaded


def test_jax_still_has_what_this_stands_on():
    """Fails where a new jax has moved it: then nothing is kept, and this file needs work."""
    device = resolve("xla")
    run = program(lambda x: x + 1.0, X)
    made = kept.load(run.runtime_executable().serialize(), device)
    assert kept.facts(device) is not None and made is not None
    np.testing.assert_array_equal(made(X)[0], X + 1)


def test_where_jax_does_not_have_it_any_more_all_is_compiled():
    device = Device(resolve("xla").engine, "cpu", 0, handle=object())
    assert kept.facts(device) is None and kept.load(b"", device) is None
