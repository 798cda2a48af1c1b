"""Variables in packs: the same by name, whatever takes, moves, reads or writes them."""

import monograph as mg
import numpy as np
import pytest
from monograph import packs
from monograph.numpy_engine import NumpyEngine

SIZES = {"a": (3,), "b": (2, 2), "c": (), "d": (5,), "e": (4, 1), "large": (80, 80)}
X = np.float32(0.5)


class Packing(NumpyEngine):
    """NumPy, as an engine that gains from packs, and counts arrays."""

    def __init__(self):
        self.taken = []

    def packs(self, device):
        return True

    def compile(self, graph, options):
        run = super().compile(graph, options)

        def counted(*buffers):
            out = run(*buffers)
            self.taken.append((len(buffers), len(out)))
            return out

        return counted


@pytest.fixture
def device():
    return Packing().devices[0]


def first(key, shape, dtype):
    return mg.random.normal(key, shape, dtype)


def loss(scope, x):
    out = mg.zeros(())
    for name, shape in SIZES.items():
        out = out + mg.sum(mg.sin(scope.parameter(name, shape, first) * x))
    mean = scope.variable("mean", (), 0.0)
    mean.assign(0.9 * mean.value + 0.1 * x)
    return out


def adam(scope, x, freeze=(), clip=(), watch=False):
    value, grads = scope.value_and_grad(loss)(scope, x)
    grads = {p: g for p, g in grads.items() if p not in freeze}
    n = scope.variable("step", (), 0.0)
    n.assign(n.value + 1.0)
    kept = [scope.variable(f"{p}/{k}", SIZES[p], 0.0) for k in "mv" for p in grads]
    arrays = [*[scope.read(p) for p in grads], *grads.values(), *[v.value for v in kept]]
    out = mg.ops.adam_update(mg.asarray(0.1), n.value, *arrays, count=len(grads))
    k = len(grads)
    for p, new in zip(grads, out):
        scope.assign(p, mg.clip(new, -0.5, 0.5) if p in clip else new)
    for v, new in zip(kept, out[k:]):
        v.assign(new)
    return (value, mg.sum(out[0])) if watch else value


def sgd(scope, x, momentum=0.9):
    value, grads = scope.value_and_grad(loss)(scope, x)
    kept = [scope.variable(f"{p}/velocity", SIZES[p], 0.0) for p in grads] if momentum else []
    arrays = [*[scope.read(p) for p in grads], *grads.values(), *[v.value for v in kept]]
    out = mg.ops.sgd_update(mg.asarray(0.1), *arrays, momentum=momentum, count=len(grads))
    for p, new in zip(grads, out):
        scope.assign(p, new)
    for v, new in zip(kept, out[len(grads) :]):
        v.assign(new)
    return value


def equal(store, other):
    assert store.keys() == other.keys() and store.trainable == other.trainable
    for path in other:
        np.testing.assert_array_equal(store[path].numpy(), other[path].numpy(), err_msg=path)
        assert store[path].spec is other[path].spec


def both(step, device, turns=3, **static):
    """A store whose step has run on packs, and one that has not."""
    stores = mg.Store(seed=3), mg.Store(seed=3)
    for store, where in zip(stores, (device, "numpy")):
        call = store.bind(step, where, **static)
        for _ in range(turns):
            call(X)
    return stores


@pytest.mark.parametrize(
    "step, static, arrays",
    [
        # x, 3 packs, large's and its moments, mean, step; the loss instead of x
        (adam, {}, (9, 9)),
        (adam, {"freeze": ("b",)}, (10, 9)),
        (adam, {"clip": ("b",)}, (12, 12)),
        (adam, {"watch": True}, (9, 10)),
        (sgd, {}, (6, 6)),
        (sgd, {"momentum": 0.0}, (4, 4)),
    ],
)
def test_updates_on_packs_give_the_same(device, step, static, arrays):
    packed, plain = both(step, device, **static)
    equal(packed, plain)
    assert set(device.engine.taken) == {arrays}


def test_what_is_read_only_is_packed_by_dtype_and_an_update_takes_it_over(device):
    packed, plain = mg.Store(seed=3), mg.Store(seed=3)
    for store, where in ((packed, device), (plain, "numpy")):
        store.bind(lambda scope, x: loss(scope, x), where)(X)
        store.bind(adam, where)(X)
    equal(packed, plain)
    # x, parameters, large, mean; the loss and mean. Then as if it had been the first
    assert device.engine.taken == [(4, 2), (9, 9)]


def test_no_later_program_changes_what_earlier_ones_take(device, monkeypatch):
    monkeypatch.setattr(packs, "SHARE", 1e9)
    store, plain = mg.Store(seed=3), mg.Store(seed=3)
    predict, alike = store.bind(loss, device), plain.bind(loss, "numpy")
    predict(X), alike(X)
    monkeypatch.undo()
    store.bind(adam, device)(X), plain.bind(adam, "numpy")(X)
    assert predict(X).item() == alike(X).item()
    equal(store, plain)
    assert device.engine.taken[0] == device.engine.taken[2] == (8, 2)


@pytest.mark.parametrize("kind", ["themselves", "turned round", "mixed", "another's first"])
def test_gradients_may_be_parts_of_packs(device, kind):
    names = [f"w{i}" for i in range(5)]

    def step(scope, x):
        ws = [scope.parameter(n, (3,), first) for n in names]
        vs = [scope.variable(f"{n}/v", (3,), float(i)) for i, n in enumerate(names)]
        more = [scope.parameter(f"z{i}", (3,), first) for i in range(9)]
        grads = {
            "themselves": ws, "turned round": ws[::-1], "mixed": [ws[0], *[v.value for v in vs[1:]]],
            "another's first": more[:5],
        }[kind]  # fmt: skip
        old = [v.value for v in vs]
        out = mg.ops.sgd_update(mg.asarray(0.1), *ws, *grads, *old, momentum=0.5, count=5)
        for name, v, new, moved in zip(names, vs, out[:5], out[5:]):
            scope.assign(name, new)
            v.assign(moved)
        return mg.sum(mg.stack(more)) * x

    equal(*both(step, device))


def test_work_that_takes_long_is_not_packed(device):
    def heavy(scope, x):
        big = mg.ones((300, 300)) * x
        return loss(scope, x) + 0 * mg.sum(big @ big @ big)

    store = mg.Store()
    store.bind(heavy, device)(X)
    assert not any(slot.pack for slot in store.slots.values())


def test_variables_are_read_written_moved_and_copied_by_name(device):
    packed, plain = both(adam, device)
    for store, where in ((packed, device), (plain, "numpy")):
        call = store.bind(adam, where)
        store["b"] = np.ones((2, 2), "float32")
        call(X)
        copy = store.copy()
        store.bind(loss, Packing().devices[0])(X)  # another device that packs
        store.bind(loss, "numpy")(X)  # and one that does not
        call(X)
        with mg.nan_guard():
            call(X)
        call(X)
        if store is packed:
            before = copy
        else:
            equal(before, copy)
    equal(packed, plain)
    for name, value in packed.numpy().items():
        np.testing.assert_array_equal(value, plain[name].numpy())
        value[...] = 0  # an array of its own
    equal(packed, plain)
    assert packed["a"].device is device


def test_a_store_that_is_reset_is_a_new_one(device):
    def made(scope, x):
        return sgd(scope, x)

    (packed, _), new = both(made, device), mg.Store(seed=7)
    packed.reset(seed=7)
    new.bind(made, "numpy").trace(X)
    equal(packed, new)


def test_a_step_that_fails_leaves_the_variables(device):
    packed, plain = both(adam, device)
    call = packed.bind(adam, device)
    call(X)
    engine = device.engine

    def fails(graph, options):
        def run(*buffers):
            raise RuntimeError("no")

        return run

    engine.compile = fails
    with pytest.raises(mg.errors.EngineError, match="no"):
        packed.bind(adam, device, clip=("a",))(X)
    plain.bind(adam, "numpy")(X)
    equal(packed, plain)


def test_other_dtypes_lie_apart(device):
    def model(scope, x):
        for d in ("float32", "float64"):
            for i in range(4):
                x = x + mg.astype(scope.parameter(f"{d}/{i}", (2,), 1.0, d), "float32")
        return mg.sum(x)

    store = mg.Store()
    assert store.bind(model, device)(np.zeros(2, "float32")).item() == 16
    assert device.engine.taken == [(3, 1)]
    found = {slot.pack.spec for slot in store.slots.values()}
    assert found == {mg.Spec((8,), "float32"), mg.Spec((8,), "float64")}
