"""Kernels of convolutions lie as torch wants them, by the store, and are the same numbers by name."""

import monograph as mg
import numpy as np
import pytest
import torch
from monograph import ops
from monograph_torch.lowerings.convolution import outputs_first

X = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype("float32")
SHAPES = {"stem": (3, 3, 3, 8), "middle": (1, 1, 8, 5), "depth": (3, 3, 1, 5), "wide": (2, 3, 5, 4)}


def model(scope, x):
    for name, shape in SHAPES.items():
        kernel = scope.parameter(name, shape, lambda k, s, d: mg.random.normal(k, s) / 3)
        x = mg.conv(x, kernel, padding="same", groups=5 if name == "depth" else 1)
    return mg.mean(mg.sin(x))


def step(scope, x, update):
    value, grads = scope.value_and_grad(model)(scope, x)
    names = {"sgd": ["velocity"], "adam": ["m", "v"]}[update]
    kept = [scope.variable(f"{p}/{k}", g.shape, 0.0) for k in names for p, g in grads.items()]
    arrays = [*[scope.read(p) for p in grads], *grads.values(), *[v.value for v in kept]]
    n, rate = len(grads), mg.asarray(0.1)
    if update == "sgd":
        out = ops.sgd_update(rate, *arrays, momentum=0.9, count=n)
    else:
        count = scope.variable("count", (), 0.0)
        count.assign(count.value + 1)
        out = ops.adam_update(rate, count.value, *arrays, count=n)
    for p, new in zip(grads, out):
        scope.assign(p, new)
    for v, new in zip(kept, out[n:]):
        v.assign(new)
    return value


def lies_outputs_first(x):
    return x.permute(3, 2, 0, 1).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("update", ["sgd", "adam"])
@pytest.mark.parametrize("guard", [False, True])
def test_steps_are_those_of_numpy_and_moments_lie_like_parameters(update, guard):
    stores = {}
    for engine in ("torch", "numpy"):
        store = stores[engine] = mg.Store(seed=0)
        call = store.bind(step, engine, update=update)
        for _ in range(5):
            with mg.nan_guard(guard):
                call(X)
    for path, want in stores["numpy"].numpy().items():
        np.testing.assert_allclose(
            stores["torch"][path].numpy(), want, rtol=2e-4, atol=2e-5, err_msg=path
        )
    moments = {"sgd": ["velocity"], "adam": ["m", "v"]}[update]
    for name in SHAPES:
        for path in (name, *[f"{name}/{k}" for k in moments]):
            assert lies_outputs_first(stores["torch"].slots[path].buffer), path


def test_inference_arranges_the_stores_buffers_once():
    store = mg.Store(seed=0)
    call = store.bind(model, "torch")
    want = call(X).item()
    assert want == pytest.approx(store.copy().bind(model, "numpy")(X).item(), rel=1e-5)
    held = {name: store.slots[name].buffer for name in SHAPES}
    assert all(map(lies_outputs_first, held.values()))
    assert call(X).item() == want
    assert all(store.slots[name].buffer is x for name, x in held.items())
    before = store["stem"].numpy()
    store["stem"] = before * 2  # written anew, in rows
    assert call(X).item() != want and lies_outputs_first(store.slots["stem"].buffer)
    store["stem"] = before
    assert call(X).item() == want


def test_arrays_handed_in_stay_as_they_are():
    kernel = mg.tensor(np.ones((3, 3, 3, 4), "float32"), device="torch")
    buffer, strides = kernel.buffer, kernel.buffer.stride()
    mg.jit(lambda x, k: mg.conv(x, k), engine="torch")(X, kernel)
    assert kernel.buffer is buffer and buffer.stride() == strides


@pytest.mark.parametrize("shape", [(3, 3, 4, 5), (1, 1, 4, 5), (1, 1, 1, 1), (2, 1, 3, 1)])
def test_the_order_is_channels_last_and_the_numbers_stay(shape):
    k = torch.arange(float(np.prod(shape))).reshape(shape)
    out = outputs_first(k)
    assert torch.equal(out, k) and lies_outputs_first(out) and outputs_first(out) is out
