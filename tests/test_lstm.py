"""`ops.lstm` and its gradient against torch's LSTM in float64."""

from __future__ import annotations

import monograph as mg
import numpy as np
import pytest
import torch
from monograph import ops

ENGINES = ("numpy", "xla", "torch")
TIME, BATCH, FEATURES, UNITS = 5, 3, 4, 6


@pytest.fixture(scope="module")
def operands():
    rng = np.random.default_rng(0)
    shapes = (
        (TIME, BATCH, FEATURES), (FEATURES, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,),
        (BATCH, UNITS), (BATCH, UNITS),
    )  # fmt: skip
    return [rng.normal(size=s) for s in shapes]


def theirs(operands, reverse):
    """Outputs of all times and the last state; torch, too, has the gates i, f, g, o."""
    x, kernel, recurrent, bias, h, c = operands
    lstm = torch.nn.LSTM(FEATURES, UNITS, dtype=torch.float64)
    x = x.flip(0) if reverse else x
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    weights = dict(zip(names, (kernel.T, recurrent.T, bias, torch.zeros_like(bias))))
    y, (h, c) = torch.func.functional_call(lstm, weights, (x, (h[None], c[None])))
    return y.flip(0) if reverse else y, h[0], c[0]


def ours(*operands, reverse):
    ys, cells, _ = ops.lstm(*operands, reverse=reverse)
    last = 0 if reverse else -1
    return ys, ys[last], cells[last]


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("engine", ENGINES)
def test_results_and_gradients_are_torchs(engine, reverse, operands):
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=s) for s in ((TIME, BATCH, UNITS), (BATCH, UNITS), (BATCH, UNITS))]
    tensors = [torch.tensor(x, requires_grad=True) for x in operands]
    want = theirs(tensors, reverse)
    sum((y * torch.tensor(w)).sum() for y, w in zip(want, weights)).backward()

    def loss(*operands):
        return sum(mg.sum(y * w) for y, w in zip(ours(*operands, reverse=reverse), weights))

    got = mg.jit(lambda *xs: ours(*xs, reverse=reverse)).on(engine)(*operands)
    for y, t in zip(got, want):
        np.testing.assert_allclose(y.numpy(), t.detach().numpy(), rtol=1e-12, atol=1e-12)
    # with what flows into the state, and by lstm_backward alone
    grads = mg.jit(mg.grad(loss, argnums=tuple(range(6)))).on(engine)(*operands)
    for y, t in zip(grads, tensors):
        np.testing.assert_allclose(y.numpy(), t.grad.numpy(), rtol=1e-11, atol=1e-11)
        t.grad = None
    theirs(tensors, reverse)[0].square().sum().backward()
    alone = mg.grad(lambda *xs: mg.sum(ours(*xs, reverse=reverse)[0] ** 2), argnums=tuple(range(6)))
    for y, t in zip(mg.jit(alone).on(engine)(*operands), tensors):
        np.testing.assert_allclose(y.numpy(), t.grad.numpy(), rtol=1e-11, atol=1e-11)


def test_the_backward_is_one_operation_when_the_last_state_is_not_read(operands):
    graph = mg.trace(
        mg.grad(lambda *xs: mg.sum(ops.lstm(*xs)[0]), argnums=1), *map(mg.Spec.of, operands)
    )
    assert [n.op.name for n in graph.nodes].count("lstm_backward") == 1


@pytest.mark.parametrize("place, shape", [(1, (FEATURES, 20)), (2, (3, 24)), (4, (2, 6))])
def test_shapes_that_do_not_fit_are_named(place, shape, operands):
    wrong = [np.zeros(shape) if i == place else x for i, x in enumerate(operands)]
    with pytest.raises(mg.errors.ShapeError, match="expected"):
        ops.lstm(*[mg.tensor(x) for x in wrong])


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_torch_runs_it_by_kernels_of_its_own_where_it_can(reverse, operands, monkeypatch):
    from monograph_torch.lowerings import recurrent

    runs, real = [], recurrent._forward
    monkeypatch.setattr(recurrent, "_forward", lambda *xs: runs.append(xs[-1]) or real(*xs))
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch is built without oneDNN")
    assert recurrent.works(), "torch calls them otherwise: see lowerings/recurrent.py"
    runs.clear()
    xs = [np.asarray(x, "float32") for x in operands]
    xs[0] = np.swapaxes(xs[0], 0, 1)  # batch before time, as layers have it

    def outputs(x, *rest):
        return ops.lstm(mg.swapaxes(x, 0, 1), *rest, reverse=reverse)[0]

    def loss(*xs):
        return mg.sum(outputs(*xs) ** 2)

    both = mg.value_and_grad(loss, argnums=tuple(range(6)))
    for fn, train in ((outputs, False), (both, True)):
        got, want = (mg.tree.leaves(mg.jit(fn).on(e)(*xs)) for e in ("torch", "numpy"))
        assert runs == [train]
        runs.clear()
        for y, w in zip(got, want):
            np.testing.assert_allclose(y.numpy(), w.numpy(), rtol=1e-4, atol=1e-5)
    monitored = mg.jit(lambda *xs: ops.lstm(*xs)[2]).on(
        "torch"
    )  # the gates, which these do not give
    assert monitored(*[np.asarray(x, "float32") for x in operands]).shape == (
        TIME,
        BATCH,
        4 * UNITS,
    )
    assert not runs


def test_a_bias_of_one_number_and_one_that_is_overwritten(operands):
    xs = [np.asarray(x, "float32") for x in operands]

    def model(scope, x, one):
        bias = scope.variable("bias", (4 * UNITS,), 0.3, trainable=True)
        loss = lambda x: mg.sum(ops.lstm(x, *xs[1:3], bias.value, *xs[4:])[0] ** 2)
        spread = ops.lstm(x, *xs[1:3], mg.tile(one, (4 * UNITS,)), *xs[4:])[0]
        bias.assign(bias.value * 0.5)  # before the gradient below is computed
        return mg.grad(loss)(x), spread

    got, want = ([], [])
    for engine, results in (("torch", got), ("numpy", want)):
        store = mg.Store()
        call = store.bind(model, engine)
        for _ in range(2):
            results += [y.numpy() for y in call(xs[0], np.full(1, 0.2, "float32"))]
    for y, w in zip(got, want, strict=True):
        np.testing.assert_allclose(y, w, rtol=1e-4, atol=1e-5)


def test_without_the_kernels_torch_runs_the_body(operands, monkeypatch):
    from monograph_torch.lowerings import recurrent

    def missing(*xs):
        raise AttributeError("no such operation")

    monkeypatch.setattr(recurrent, "_forward", missing)
    recurrent.works.cache_clear()
    try:
        xs = [np.asarray(x, "float32") for x in operands]
        run = mg.jit(lambda *xs: ops.lstm(*xs)[0])
        np.testing.assert_allclose(
            run.on("torch")(*xs).numpy(), run.on("numpy")(*xs).numpy(), rtol=1e-5, atol=1e-6
        )
    finally:
        recurrent.works.cache_clear()
