"""microbatch against the whole batch, checkpoint's policies in higher derivatives, and bad input."""

import monograph as mg
import numpy as np
import pytest
from monograph.errors import ArgumentError
from monograph.transforms import policies

RNG = np.random.default_rng(0)
W, X, Y = (RNG.normal(size=s) for s in ((3, 2), (12, 3), (12, 2)))


def loss(w, x, y):
    return mg.mean((mg.tanh(x @ w) - y) ** 2)


@pytest.mark.parametrize("n", [1, 3, 12])
def test_means_and_gradients_are_those_of_the_whole_batch(n):
    want, dw = mg.value_and_grad(loss)(W, X, Y)
    got, got_dw = mg.value_and_grad(mg.microbatch(loss, n))(W, X, Y)
    np.testing.assert_allclose(got.item(), want.item(), rtol=1e-14)
    np.testing.assert_allclose(got_dw.numpy(), dw.numpy(), rtol=1e-13)
    dx = mg.grad(mg.microbatch(loss, n), argnums=1)(W, X, Y).numpy()
    np.testing.assert_allclose(dx, mg.grad(loss, argnums=1)(W, X, Y).numpy(), rtol=1e-13)


def test_second_derivatives_too():
    want = mg.hessian(loss)(W, X, Y).numpy()
    np.testing.assert_allclose(
        mg.hessian(mg.microbatch(loss, 4))(W, X, Y).numpy(), want, rtol=1e-12
    )


@pytest.mark.parametrize("axis", [0, 1, -1, -2])
def test_other_results_are_joined_along_the_axis(axis):
    x = RNG.normal(size=(4, 6))

    def fn(x):
        out = {"doubled": x * 2.0, "total": mg.sum(x)}
        # an axis from the end: results with more axes in front
        return out | {"two": mg.stack([x, x], axis=0)} if axis < 0 else out

    got, want = mg.microbatch(fn, 2, axis=axis, reduce="sum")(x), fn(mg.tensor(x))
    for k in got:
        np.testing.assert_allclose(got[k].numpy(), want[k].numpy(), rtol=1e-14)


def test_trees_keywords_and_chosen_arguments():
    def fn(batch, scale, *, shift):
        return (batch["a"] + batch["b"]) * scale + shift

    a, b = X, X * 3
    f = mg.microbatch(fn, 3, argnums=0)
    np.testing.assert_allclose(f({"a": a, "b": b}, 2.0, shift=1.0).numpy(), (a + b) * 2 + 1)
    only = mg.microbatch(lambda x: x * 2.0, 4)  # the only argument is the batch
    np.testing.assert_array_equal(mg.jit(only)(X).numpy(), X * 2)


def test_a_loop_in_the_graph_runs_the_chunks():
    g = mg.trace(
        mg.microbatch(loss, np.int64(4), argnums=np.array([1, 2])), *map(mg.Spec.of, (W, X, Y))
    )
    (scan,) = [n for n in g.nodes if n.op.name == "scan"]
    assert scan.attrs["length"] == 4 and scan.attrs["body"].input_specs[1].shape == (3, 3)


MISTAKES = {
    r"argument 1 is float64\[12,3\]; its axis 0 of length 12 .* n=5": lambda: mg.microbatch(loss, 5)(W, X, Y),
    r"argument 1 is float64\[12,3\], which has no axis 2": lambda: mg.microbatch(loss, 2, axis=2)(W, X, Y),
    r"argument 1\['k'\] is float32\[\], which has no axis 0": lambda: mg.microbatch(
        lambda w, x: w, 2
    )(W, {"k": 1.0}),
    r"argnums=3, but the function got 3": lambda: mg.microbatch(loss, 2, argnums=3)(W, X, Y),
    "n=0 is no number of chunks": lambda: mg.microbatch(loss, 0),
    "reduce='max' is none of mean, sum": lambda: mg.microbatch(loss, 2, reduce="max"),
    "is int64, which has no mean": lambda: mg.microbatch(lambda x: mg.sum(x > 0), 2)(X),
    r"a result has shape \(3,\) per chunk, without axis 1": lambda: mg.microbatch(
        lambda x: mg.sum(x, axis=1), 3, axis=1, argnums=0
    )(X.reshape(3, 12)),
    "policy of checkpoint is a function node -> bool, not 'dots'": lambda: mg.checkpoint(loss, "dots"),
}  # fmt: skip


@pytest.mark.parametrize("said", MISTAKES)
def test_mistakes_are_named(said):
    with pytest.raises(ArgumentError, match=rf"test_microbatch.py:\d+: .*{said}"):
        MISTAKES[said]()


def deep(x):
    y = mg.sin(x) * x
    z = mg.where(y > 0, mg.exp(y), y)
    low, high = mg.scan(lambda c, r: (c * 0.5 + r, mg.tanh(c)), z[0], z)
    return mg.sum(mg.softmax(low)) + mg.sum(high * z)


@pytest.mark.parametrize("policy", [
    policies.save_nothing, policies.save_products, policies.save_everything,
    lambda node: node.op.name in ("scan", "sine", "compare"),
])  # fmt: skip
def test_first_and_second_derivatives_do_not_depend_on_what_is_kept(policy):
    x = RNG.normal(size=(3, 3))
    kept = mg.checkpoint(deep, policy=policy)
    np.testing.assert_allclose(kept(x).item(), deep(mg.tensor(x)).item(), rtol=1e-14)
    np.testing.assert_allclose(mg.grad(kept)(x).numpy(), mg.grad(deep)(x).numpy(), rtol=1e-13)
    np.testing.assert_allclose(
        mg.hessian(kept)(x).numpy(), mg.hessian(deep)(x).numpy(), rtol=1e-11, atol=1e-13
    )
    again = mg.checkpoint(kept, policy=policies.save_products)  # one inside another
    np.testing.assert_allclose(mg.grad(again)(x).numpy(), mg.grad(deep)(x).numpy(), rtol=1e-13)


def test_what_is_kept_is_not_computed_again():
    f = lambda x: mg.sum(mg.exp(mg.sin(x)))
    for kept, times in ((("sine",), 1), ((), 2)):
        g = mg.checkpoint(f, lambda node, kept=kept: node.op.name in kept)
        graph = mg.trace(mg.value_and_grad(g), mg.Spec((3, 3))).inline()
        names = [n.op.name for n in graph.nodes]
        assert (names.count("sine"), names.count("exponential")) == (times, 2)


@pytest.mark.parametrize("policy", [policies.save_nothing, policies.save_products])
def test_checkpoint_and_microbatch_under_vmap(policy):
    f = mg.checkpoint(lambda x, w: mg.sum(mg.tanh(mg.sin(x) @ w)), policy=policy)
    x, w = RNG.normal(size=(5, 3, 4)), RNG.normal(size=(4, 4))
    want = np.stack([mg.grad(f)(row, w).numpy() for row in x])
    many = mg.vmap(f, in_axes=(0, None))
    np.testing.assert_allclose(
        mg.vmap(mg.grad(f), in_axes=(0, None))(x, w).numpy(), want, rtol=1e-12
    )
    got = mg.grad(lambda x, w: mg.sum(many(x, w)))(x, w)
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-12)
    squares = mg.vmap(mg.microbatch(lambda v: mg.mean(v * v), 2))
    np.testing.assert_allclose(squares(x[:, 0]).numpy(), (x[:, 0] ** 2).mean(1), rtol=1e-14)


def test_variables_are_read_inside_and_their_gradients_are_exact():
    def model(scope, x, y):
        h = mg.tanh(x @ scope.parameter("w", (3, 4), lambda k, s, d: mg.full(s, 0.3, dtype=d)))
        return mg.mean((h @ scope.parameter("v", (4, 2), 0.5) - y) ** 2)

    def step(scope, x, y, *, n):
        small = mg.microbatch(lambda x, y: model(scope, x, y), n, argnums=(0, 1))
        return scope.value_and_grad(small if n > 1 else lambda x, y: model(scope, x, y))(x, y)

    x, y = X.astype("float32"), Y.astype("float32")
    want, grads = mg.Store().bind(step, n=1)(x, y)
    got, small = mg.Store().bind(step, n=4)(x, y)
    np.testing.assert_allclose(got.item(), want.item(), rtol=1e-6)
    assert small.keys() == grads.keys() == {"w", "v"}
    for path in grads:
        np.testing.assert_allclose(small[path].numpy(), grads[path].numpy(), rtol=1e-5)
