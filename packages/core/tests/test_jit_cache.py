"""`jit`'s cache and the choice of engine: order, counts, threads, environment, static keys."""

import contextvars
import sys
import threading
import time

import monograph as mg
import numpy as np
import pytest
from monograph import plugins
from monograph.engine import Device, _engines
from monograph.numpy_engine import NumpyEngine


class Second(NumpyEngine):
    """NumPy under another name: a place of its own."""

    name = "second"


@pytest.fixture
def second(monkeypatch):
    engine = Second()
    monkeypatch.setitem(_engines, "second", engine)
    return engine


def counted(max_cache=128):
    traced = []

    def double(x):
        traced.append(x.shape)
        return x + x

    return mg.jit(double, engine="numpy", max_cache=max_cache), traced


def held(n):
    return mg.tensor(np.arange(n, dtype="float32"), device="numpy")


def test_the_least_recently_used_goes_first_when_tensors_are_handed_in():
    f, traced = counted(max_cache=2)
    a, b, c = held(1), held(2), held(3)
    f(a), f(b)
    for _ in range(3):
        f(a)  # once through the dict, then as the last call's twin
    f(c)  # pushes b out, not a
    f(a)
    assert traced == [(1,), (2,), (3,)]
    f(b)
    assert traced == [(1,), (2,), (3,), (2,)]
    assert f.cache_info() == (4, 4, 2, 2)


def test_hits_and_misses_are_counted_on_every_way_in():
    f = mg.jit(lambda tree, k=1: tree["x"] * k, engine="numpy", static_argnames="k")
    for _ in range(3):
        f({"x": held(2)}, k=2)
    assert f.cache_info()[:2] == (2, 1)
    g, traced = counted()
    g(held(2)), g(held(2)), g(np.zeros(2, "float32")), g([1.0, 2.0][0])
    assert g.cache_info()[:2] == (2, 2) and traced == [(2,), ()]
    g.cache_clear()
    assert g.cache_info() == (0, 0, 128, 0)
    g(held(2))
    assert traced == [(2,), (), (2,)], "nothing is remembered past cache_clear"


def test_static_values_that_are_equal_but_of_other_types_are_kept_apart():
    f = mg.jit(lambda x, n: x * n, engine="numpy", static_argnums=1)
    x = mg.tensor([3, -3], "int32")
    assert f(x, 2).dtype == mg.int32 and f(x, 2.0).dtype == mg.float32
    assert f(x, True).dtype == mg.int32
    pick = mg.jit(lambda x, t: x * t[0], engine="numpy", static_argnums=1)
    assert pick(x, (1,)).dtype == mg.int32 and pick(x, (1.0,)).dtype == mg.float32
    zero = mg.jit(lambda z: mg.tensor(z) * 1.0, static_argnums=0)
    assert not np.signbit(zero(0.0).numpy()) and np.signbit(zero(-0.0).numpy())
    nan = mg.jit(lambda x, z: x + z, static_argnums=1)
    nan(held(1), float("nan")), nan(held(1), float("nan"))
    assert nan.cache_info()[:2] == (1, 1)


@pytest.mark.parametrize("options", [{"static_argnums": 1}, {"static_argnames": "mode"}])
def test_a_static_argument_may_come_by_place_or_by_name(options):
    f = mg.jit(lambda x, mode="up": x if mode == "up" else -x, engine="numpy", **options)
    x = held(2)
    assert f(x, "down").tolist() == f(x, mode="down").tolist() == [0, -1]
    assert f(x).tolist() == f.on("numpy")(x, mode="up").tolist() == [0, 1]


def test_threads_may_share_a_jitted_function_whose_cache_overflows():
    f, _ = counted(max_cache=2)
    wrong, failures = [], []
    barrier = threading.Barrier(6)

    def work(seed):
        rng = np.random.default_rng(seed)
        barrier.wait()
        try:
            for _ in range(60):
                n = int(rng.integers(1, 5))
                x = held(n) if rng.integers(2) else np.arange(n, dtype="float32")
                if f(x).tolist() != (2 * np.arange(n)).tolist():
                    wrong.append(n)
        except Exception as e:
            failures.append(e)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
        [t.start() for t in threads], [t.join() for t in threads]
    finally:
        sys.setswitchinterval(before)
    assert (wrong, failures) == ([], [])
    info = f.cache_info()
    assert info.currsize <= 2 and info.hits + info.misses == 360


def test_the_environment_is_followed_when_it_changes(monkeypatch, second):
    f, x = mg.jit(lambda x: x + x), held(2)
    monkeypatch.setenv("MONOGRAPH_ENGINE", "numpy")
    assert f(x).engine == "numpy" and mg.tensor([1.0]).engine == "numpy"
    monkeypatch.setenv("MONOGRAPH_ENGINE", "second:cpu")
    assert f(x).engine == "second" and mg.tensor([1.0]).engine == "second"
    with mg.engine("numpy"):
        assert f(x).engine == "numpy"
    assert f.on("numpy")(x).engine == "numpy" and f(x).tolist() == [0, 2]


def test_a_thread_has_its_own_engine_unless_it_is_given_this_ones(monkeypatch, second):
    monkeypatch.setenv("MONOGRAPH_ENGINE", "numpy")
    f, x, seen = mg.jit(lambda x: x + x), held(2), []
    with mg.engine("second"):
        here = contextvars.copy_context()
        for target in (lambda: seen.append(f(x)), lambda: here.run(lambda: seen.append(f(x)))):
            thread = threading.Thread(target=target)
            thread.start(), thread.join()
        seen.append(f(x))
    assert [y.engine for y in seen] == ["numpy", "second", "second"]
    assert all(y.tolist() == [0, 2] for y in seen)


def test_a_function_traced_in_two_threads_at_once_keeps_to_its_own_trace():
    inside = threading.Barrier(2)

    def f(x):
        inside.wait(10)
        y = x * 2.0
        inside.wait(10)
        return y + 1.0

    g, out = mg.jit(f, engine="numpy"), {}
    threads = [threading.Thread(target=lambda n=n: out.update({n: g(held(n))})) for n in (2, 3)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert {n: y.tolist() for n, y in out.items()} == {2: [1, 3], 3: [1, 3, 5]}


def test_two_threads_that_ask_for_an_engine_first_get_one_device(monkeypatch):
    class Slow(NumpyEngine):
        name = "slow"

        @property
        def devices(self):
            if "made" not in vars(self):
                time.sleep(0.05)
                self.made = (Device(self, "cpu"),)
            return self.made

    monkeypatch.setattr(plugins, "load", lambda group, name: Slow)
    found = []
    ask = lambda: found.append(mg.tensor([1.0], device="slow"))
    threads = [threading.Thread(target=ask) for _ in range(4)]
    [t.start() for t in threads], [t.join() for t in threads]
    del _engines["slow"]
    assert len({x.device for x in found}) == 1
    assert (found[0] + found[3]).tolist() == [2]
