"""Modules of haiku, Flax and Equinox: results, states and five steps of fine-tuning as theirs."""

import monograph as mg
import numpy as np
import pytest
from monograph_importers.jax import from_haiku, load
from monograph_train import optimizers

jax, jnp = pytest.importorskip("jax"), pytest.importorskip("jax.numpy")
optax = pytest.importorskip("optax")

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(2, 8, 8, 3)).astype("float32")
ROWS = RNG.normal(size=(6, 3)).astype("float32")


def same(got, want, tolerance=1e-5):
    for a, b in zip(mg.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(
            a.numpy() if hasattr(a, "numpy") else a, b, rtol=tolerance, atol=tolerance
        )


def five_steps(imported, x, target, engine):
    """Losses and variables of five steps of Adam."""
    store = mg.Store()
    update = optimizers.adam(1e-2)

    def step(scope, x, target):
        def loss():
            return mg.mean((imported.model(scope, x) - target) ** 2)

        value, grads = scope.value_and_grad(loss)()
        update(scope, grads)
        return value

    with mg.engine(engine):
        bound = store.bind(step)
        losses = [bound(x, target).item() for _ in range(5)]
    return losses, {p: store[p].numpy() for p in imported.parameters}


def five_of_optax(loss, params):
    """The same by optax; ``loss(params, state) -> (value, state)``."""
    rule = optax.adam(1e-2)
    held, losses = rule.init(params[0]), []
    params, state = params

    @jax.jit
    def step(params, state, held):
        (value, state), grads = jax.value_and_grad(loss, has_aux=True)(params, state)
        change, held = rule.update(grads, held, params)
        return value, optax.apply_updates(params, change), state, held

    for _ in range(5):
        value, params, state, held = step(params, state, held)
        losses.append(float(value))
    return losses, params, state


def test_haiku_resnet():
    hk = pytest.importorskip("haiku")

    def network(x, is_training):
        net = hk.nets.ResNet([1, 1, 1, 1], 5, bottleneck=False, channels_per_group=(4, 4, 8, 8))
        return net(x, is_training)

    transformed = hk.transform_with_state(network)
    x = RNG.normal(size=(2, 16, 16, 3)).astype("float32")
    shapes = jax.eval_shape(lambda x: transformed.init(jax.random.key(0), x, True), x)
    draw = lambda s: RNG.uniform(0.1, 0.5, s.shape).astype(s.dtype)
    params, state = jax.tree.map(draw, shapes)
    quick = {"xla_backend_optimization_level": 0}  # a short compilation
    apply = jax.jit(transformed.apply, static_argnums=4, compiler_options=quick)

    trained = from_haiku(transformed, params, state, example=(x,), static={"is_training": True})
    assert {"res_net/initial_conv/w", "res_net/logits/b"} <= trained.parameters.keys()
    out, after = apply(params, state, None, x, True)
    same(trained.on("torch").call(x), out, 1e-4)
    assert "res_net/logits/b" in trained.store.trainable
    mean = after["res_net/~/initial_batchnorm/~/mean_ema"]["average"]
    same(trained.store["res_net/initial_batchnorm/mean_ema/average"], mean)

    fixed = from_haiku(
        transformed,
        params,
        after,
        example=(x,),
        static={"is_training": False},
        axes={"x0": {0: "n"}},
    )
    want = apply(params, after, None, x[:1], False)[0]
    for engine in ("xla", "torch"):
        same(fixed.on(engine).call(x[:1]), want, 1e-4)


def test_flax_nnx():
    nnx = pytest.importorskip("flax.nnx")

    class Block(nnx.Module):
        def __init__(self, rngs):
            self.embed = nnx.Conv(3, 4, (3, 3), rngs=rngs)
            self.norm = nnx.BatchNorm(4, rngs=rngs)
            self.attention = nnx.MultiHeadAttention(2, 4, decode=False, rngs=rngs)
            self.out = nnx.List([nnx.Linear(4, 4, rngs=rngs)])
            self.drop = nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, x):
            x = self.norm(self.embed(x)).reshape(x.shape[0], -1, 4)
            x = x + self.drop(self.attention(x))
            for layer in self.out:
                x = layer(x)
            return x.mean(1)

    block = Block(nnx.Rngs(0))
    imported = load(block, example=(IMAGES,))
    assert {
        "embed/kernel",
        "attention/query/kernel",
        "out/0/bias",
        "norm/mean",
    } <= imported.parameters.keys()
    for _ in range(2):  # statistics and random streams move on, as in Flax
        same(imported.call(IMAGES), block(IMAGES))
    same(imported.store["norm/mean"], block.norm.mean[...])
    assert "norm/mean" not in imported.store.trainable
    block.eval()
    fixed = load(block, example=(IMAGES,), axes={"x": {0: "batch"}})
    same(fixed.on("torch").call(IMAGES[:1]), block(IMAGES)[:1])


def test_flax_nnx_shares_tied_weights():
    nnx = pytest.importorskip("flax.nnx")

    class Tied(nnx.Module):
        def __init__(self, rngs):
            self.a = self.b = nnx.Linear(3, 3, rngs=rngs)

        def __call__(self, x):
            return self.b(self.a(x))

    imported = load(Tied(nnx.Rngs(0)), example=(ROWS,))
    assert sorted(imported.parameters) == ["a/bias", "a/kernel"]


def test_flax_linen_tracks_optax():
    linen = pytest.importorskip("flax.linen")

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x, train=True):
            x = linen.Conv(4, (3, 3), strides=2, use_bias=False)(x)
            x = linen.relu(linen.BatchNorm(use_running_average=not train)(x))
            return linen.Dense(2)(x.mean((1, 2)))

    net, target = Net(), RNG.normal(size=(2, 2)).astype("float32")
    variables = jax.jit(net.init)(jax.random.key(0), IMAGES)

    def loss(params, stats):
        y, new = net.apply(
            {"params": params, "batch_stats": stats}, IMAGES, mutable=["batch_stats"]
        )
        return ((y - target) ** 2).mean(), new["batch_stats"]

    want, params, stats = five_of_optax(loss, (variables["params"], variables["batch_stats"]))
    imported = load((net, variables), example=(IMAGES,), static={"train": True})
    for engine in ("xla", "torch"):
        got, now = five_steps(imported, IMAGES, target, engine)
        np.testing.assert_allclose(got, want, rtol=1e-4)
        same(now["Conv_0/kernel"], params["Conv_0"]["kernel"], 1e-4)
        same(now["batch_stats/BatchNorm_0/mean"], stats["BatchNorm_0"]["mean"], 1e-4)


def test_equinox_tracks_optax():
    eqx = pytest.importorskip("equinox")
    mlp = eqx.nn.MLP(3, 2, 8, 2, key=jax.random.key(0))
    target = RNG.normal(size=(6, 2)).astype("float32")
    arrays, rest = eqx.partition(mlp, eqx.is_array)

    def call(arrays, x):
        return jax.vmap(eqx.combine(arrays, rest))(x)

    want, params, _ = five_of_optax(
        lambda p, s: (((call(p, ROWS) - target) ** 2).mean(), s), (arrays, 0)
    )
    imported = load(call, example=(arrays, ROWS), parameters=0)
    for engine in ("xla", "torch"):
        got, now = five_steps(imported, ROWS, target, engine)
        np.testing.assert_allclose(got, want, rtol=1e-4)
        same(now["layers/1/weight"], params.layers[1].weight, 1e-4)


def test_equinox_modules():
    eqx = pytest.importorskip("equinox")

    class Tied(eqx.Module):
        shared: eqx.nn.Shared

        def __init__(self):
            a, b = jax.random.split(jax.random.key(0))
            pair = eqx.nn.Embedding(5, 4, key=a), eqx.nn.Linear(4, 5, use_bias=False, key=b)
            self.shared = eqx.nn.Shared(pair, lambda t: t[1].weight, lambda t: t[0].weight)

        def __call__(self, word):
            embed, project = self.shared()
            return project(embed(word))

    imported = load(Tied(), example=(np.int32(2),))
    assert len(imported.parameters) == 1
    same(imported.call(np.int32(3)), Tied()(jnp.int32(3)))

    class Counts(eqx.Module):
        index: eqx.nn.StateIndex
        layer: eqx.nn.Conv1d

        def __init__(self):
            self.index = eqx.nn.StateIndex(jnp.zeros(()))
            self.layer = eqx.nn.Conv1d(3, 2, 2, key=jax.random.key(0))

        def __call__(self, x, state):
            seen = state.get(self.index) + 1
            return self.layer(x) * seen, state.set(self.index, seen)

    module, state = eqx.nn.make_with_state(Counts)()
    imported = load((module, state), example=(ROWS.T,))
    one = module(ROWS.T, state)[0]
    same(imported.call(ROWS.T), one)
    same(imported.call(ROWS.T), 2 * one)


@pytest.mark.parametrize("source", ["haiku", "linen"])
def test_a_module_without_its_variables(source):
    if source == "haiku":
        made = pytest.importorskip("haiku").transform(lambda x: x)
    else:
        made = pytest.importorskip("flax.linen").Dense(2)
    with pytest.raises(mg.errors.ArgumentError, match=r"give \("):
        load(made, example=(ROWS,))
