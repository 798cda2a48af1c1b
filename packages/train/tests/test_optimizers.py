"""Optimizers and their wrappers: 20 steps against torch.optim and optax, on every engine."""

import math
import types
import warnings

import monograph as mg
import numpy as np
import pytest
from monograph.errors import ArgumentError, VariableError
from monograph_train import losses, optimizers as o, schedules, wrappers as w

torch = pytest.importorskip("torch", reason="torch.optim is the reference")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    optax = pytest.importorskip("optax", reason="the reference for what torch lacks")

ENGINES = ("numpy", "xla", "torch")
SHAPES = {"scalar": (), "block/bias": (3,), "block/kernel": (4, 3), "conv/kernel": (2, 3, 4)}
STEPS = 20
rng = np.random.default_rng(0)
FIRST = {p: rng.normal(size=s).astype("float32") for p, s in SHAPES.items()}
GRADS = [{p: rng.normal(size=s).astype("float32") for p, s in SHAPES.items()} for _ in range(STEPS)]


def start(first=FIRST):
    store = mg.Store()
    for path, value in first.items():
        store.add(path, value)
    return store


def train(optimizer, engine="numpy", grads=GRADS, store=None):
    store = start() if store is None else store

    def step(scope, grads):
        optimizer(scope / "optimizer", grads)
        return ()

    call = store.bind(step, engine)
    for g in grads:
        call(g)
    return store


def in_dtype(values, dtype):
    return {p: v.astype(dtype) for p, v in values.items()}


def check(ours, want, dtype="float32"):
    # float32: two sides that round differently part by 2e-6 in 20 steps; float64 shows the rules alike,
    # up to the learning rate, which is float32
    tolerance = {"float32": 2e-6, "float64": 2e-7}[dtype]
    grads = [in_dtype(g, dtype) for g in GRADS]
    for engine in ENGINES:
        store = train(ours, engine, grads, start(in_dtype(FIRST, dtype)))
        for path in SHAPES:
            np.testing.assert_allclose(
                store[path].numpy(), want[path], rtol=tolerance, atol=tolerance,
                err_msg=f"{engine} {path}",
            )  # fmt: skip


def by_torch(make, schedule=None, before=lambda params: None, dtype="float32"):
    first = in_dtype(FIRST, dtype)
    params = {p: torch.tensor(x, requires_grad=True) for p, x in first.items()}
    optimizer = make(list(params.values()))
    follow = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule) if schedule else None
    for grads in GRADS:
        for path, p in params.items():
            p.grad = torch.tensor(grads[path].astype(dtype))
        before(list(params.values()))
        optimizer.step()
        if follow:
            follow.step()
    return {path: p.detach().numpy() for path, p in params.items()}


def by_optax(transformation):
    import jax

    params = {p: jax.numpy.asarray(x) for p, x in FIRST.items()}
    state = transformation.init(params)
    for grads in GRADS:
        updates, state = transformation.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return {p: np.asarray(x) for p, x in params.items()}


t = torch.optim
TORCH = {
    "sgd": (lambda: o.sgd(0.1), lambda p: t.SGD(p, 0.1)),
    "sgd-momentum": (lambda: o.sgd(0.1, 0.9), lambda p: t.SGD(p, 0.1, 0.9)),
    "sgd-nesterov-decay": (
        lambda: o.sgd(0.1, 0.9, True, weight_decay=0.05),
        lambda p: t.SGD(p, 0.1, 0.9, nesterov=True, weight_decay=0.05),
    ),
    "adam": (lambda: o.adam(0.05), lambda p: t.Adam(p, 0.05)),
    "adam-decay": (
        lambda: o.adam(0.05, 0.8, 0.95, 1e-3, weight_decay=0.1),
        lambda p: t.Adam(p, 0.05, (0.8, 0.95), 1e-3, weight_decay=0.1),
    ),
    "adamw": (lambda: o.adamw(0.05), lambda p: t.AdamW(p, 0.05)),
    "adamw-decay": (
        lambda: o.adamw(0.05, weight_decay=0.3), lambda p: t.AdamW(p, 0.05, weight_decay=0.3)
    ),
    "adamax": (
        lambda: o.adamax(0.05, weight_decay=0.1), lambda p: t.Adamax(p, 0.05, weight_decay=0.1)
    ),
    "nadam": (lambda: o.nadam(0.05), lambda p: t.NAdam(p, 0.05)),
    "nadam-decay": (
        lambda: o.nadam(0.05, weight_decay=0.1, momentum_decay=0.1),
        lambda p: t.NAdam(p, 0.05, weight_decay=0.1, momentum_decay=0.1),
    ),
    "rmsprop": (lambda: o.rmsprop(0.01), lambda p: t.RMSprop(p, 0.01)),
    "rmsprop-all": (
        lambda: o.rmsprop(0.01, 0.9, 1e-2, 0.9, centered=True, weight_decay=0.1),
        lambda p: t.RMSprop(p, 0.01, 0.9, 1e-2, 0.1, 0.9, centered=True),
    ),
    "adagrad": (
        lambda: o.adagrad(0.1, 0.1, weight_decay=0.1),
        lambda p: t.Adagrad(p, 0.1, initial_accumulator_value=0.1, weight_decay=0.1),
    ),
    "adadelta": (
        lambda: o.adadelta(0.5, weight_decay=0.1), lambda p: t.Adadelta(p, 0.5, weight_decay=0.1)
    ),
    "adafactor": (lambda: o.adafactor(), lambda p: t.Adafactor(p)),
    "adafactor-all": (
        lambda: o.adafactor(0.5, -0.6, 1e-4, 1e-2, 1.2, weight_decay=0.1),
        lambda p: t.Adafactor(p, 0.5, -0.6, (1e-4, 1e-2), 1.2, 0.1),
    ),
}  # fmt: skip
OPTAX = {
    "lion": (lambda: o.lion(0.01, weight_decay=0.1), lambda: optax.lion(0.01, weight_decay=0.1)),
    "lamb": (lambda: o.lamb(0.05, weight_decay=0.1), lambda: optax.lamb(0.05, weight_decay=0.1)),
    "clip_by_value": (
        lambda: w.clip_by_value(o.sgd(0.1), 0.5),
        lambda: optax.chain(optax.clip(0.5), optax.sgd(0.1)),
    ),
    "clip_by_norm": (
        lambda: w.clip_by_norm(o.sgd(0.1), 1.2),
        lambda: optax.chain(per_tensor(1.2), optax.sgd(0.1)),
    ),
    "clip_by_global_norm": (
        lambda: w.clip_by_global_norm(o.sgd(0.1), 2.0),
        lambda: optax.chain(optax.clip_by_global_norm(2.0), optax.sgd(0.1)),
    ),
}


def per_tensor(limit):
    import jax

    def clip(updates, state, params=None):
        shorter = lambda g: g * np.minimum(1.0, limit / np.sqrt((np.asarray(g) ** 2).sum()))
        return jax.tree.map(shorter, updates), state

    return optax.GradientTransformation(lambda params: (), clip)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ours, theirs", TORCH.values(), ids=TORCH)
def test_twenty_steps_are_those_of_torch(ours, theirs, dtype):
    check(ours(), by_torch(theirs, dtype=dtype), dtype)


@pytest.mark.parametrize("ours, theirs", OPTAX.values(), ids=OPTAX)
def test_twenty_steps_are_those_of_optax(ours, theirs):
    check(ours(), by_optax(theirs()))


@pytest.mark.parametrize("name", ["sgd", "adamw", "rmsprop"])
def test_a_schedule_counts_updates_from_zero(name):
    schedule = schedules.cosine_decay(0.1, decay_steps=15, alpha=0.1)
    factor = lambda n: 0.9 * 0.5 * (1 + math.cos(math.pi * min(n, 15) / 15)) + 0.1
    theirs = {"sgd": t.SGD, "adamw": t.AdamW, "rmsprop": t.RMSprop}[name]
    check(getattr(o, name)(schedule), by_torch(lambda p: theirs(p, 0.1), factor))


@pytest.mark.parametrize("make, op", [(o.adamw, "adam_update"), (o.sgd, "sgd_update")])
def test_all_parameters_are_updated_by_one_node(make, op):
    store = start()
    graph = store.bind(lambda scope, g: make()(scope / "optimizer", g)).trace(GRADS[0])
    assert [node.op.name for node in graph.nodes].count(op) == 1


def test_the_global_norm_of_torch():
    clip = lambda params: torch.nn.utils.clip_grad_norm_(params, 1.0)
    want = by_torch(lambda p: t.SGD(p, 0.1), before=clip)
    check(w.clip_by_global_norm(o.sgd(0.1), 1.0), want)
    grads = {p: mg.tensor(g) for p, g in GRADS[0].items()}
    exact = math.sqrt(sum((g.astype("float64") ** 2).sum() for g in GRADS[0].values()))
    assert w.global_norm(grads).item() == pytest.approx(exact)


def test_gradients_of_zero_are_clipped_without_nan():
    zeros = [{p: np.zeros(s, "float32") for p, s in SHAPES.items()}]
    for wrapper in (w.clip_by_global_norm, w.clip_by_norm):
        store = train(wrapper(o.lamb(0.1), 1.0), grads=zeros)
        for path in SHAPES:
            np.testing.assert_array_equal(store[path].numpy(), FIRST[path])


def test_steady_gradients_leave_a_deviation_of_zero_and_no_nan():
    store = train(o.rmsprop(alpha=0.6, epsilon=1e-3, centered=True), grads=[GRADS[0]] * 60)
    assert all(np.isfinite(store[p].numpy()).all() for p in SHAPES)


def test_a_learning_rate_in_the_store_can_be_changed():
    store = train(o.sgd(schedules.adjustable(0.1)), grads=GRADS[:1])
    assert store["optimizer/learning_rate"].item() == np.float32(0.1)
    call = store.bind(lambda scope, g: o.sgd(schedules.adjustable(0.1))(scope / "optimizer", g))
    before = store["scalar"].item()
    store["optimizer/learning_rate"] = 0.5
    call(GRADS[0])
    assert store["scalar"].item() == pytest.approx(before - 0.5 * GRADS[0]["scalar"].item())


def test_groups_train_each_parameter_with_the_first_that_matches():
    members = [("*/bias", o.sgd(0.1)), ("conv/*", w.frozen()), ("*", o.adamw(0.05))]
    for engine in ENGINES:
        store = train(w.groups(members), engine)
        sgd, adamw = train(o.sgd(0.1), engine), train(o.adamw(0.05), engine)
        want = {"block/bias": sgd, "block/kernel": adamw, "scalar": adamw}
        for path, alone in want.items():  # another program: XLA fuses it, and so rounds, otherwise
            np.testing.assert_allclose(store[path].numpy(), alone[path].numpy(), rtol=1e-6)
        np.testing.assert_array_equal(store["conv/kernel"].numpy(), FIRST["conv/kernel"])
        assert not [p for p in store if "group1" in p]
        assert "optimizer/group2/block/kernel/m" in store


def test_groups_say_which_parameters_they_miss():
    with pytest.raises(ArgumentError, match=r"matches conv/kernel, scalar; add a group"):
        train(w.groups([("block/*", o.sgd(0.1))]))
    with pytest.raises(ArgumentError, match=r"the group 'blok/\*' matches none of"):
        train(w.groups([("blok/*", o.sgd(0.1)), ("*", o.sgd(0.1))]))


@pytest.mark.parametrize("make", [lambda: o.sgd(0.1, 0.9), lambda: o.adamw(0.05)])
@pytest.mark.parametrize("engine", ENGINES)
def test_accumulated_small_batches_are_one_large_batch(engine, make):
    k = 4
    large = [
        {p: np.mean([g[p] for g in GRADS[i : i + k]], axis=0) for p in SHAPES}
        for i in range(0, STEPS, k)
    ]
    schedule = schedules.exponential_decay(0.1, 1, 0.5)
    for optimizer in (make, lambda: o.sgd(schedule)):
        got = train(w.accumulate(optimizer(), k), engine)
        want = train(optimizer(), engine, large)
        for path in want:
            np.testing.assert_allclose(
                got[path].numpy(), want[path].numpy(), rtol=2e-6, atol=1e-6, err_msg=path
            )


@pytest.mark.parametrize("engine", ENGINES)
def test_calls_in_between_change_nothing_but_the_sums(engine):
    optimizer = w.accumulate(w.average(o.adamw(0.05)), 3)
    store = train(optimizer, engine, GRADS[:3])
    before = store.numpy()
    train(optimizer, engine, GRADS[3:5], store)
    after = store.numpy()
    changed = {p for p in after if (after[p] != before[p]).any()}
    assert changed == {"optimizer/accumulated", *(f"optimizer/{p}/sum" for p in SHAPES)}
    train(optimizer, engine, GRADS[5:6], store)
    after = store.numpy()
    assert after["optimizer/step"] == 2 and after["optimizer/accumulated"] == 0
    assert all((after[p] != before[p]).all() for p in SHAPES)
    assert all((after[f"optimizer/{p}/sum"] == 0).all() for p in SHAPES)


@pytest.mark.parametrize("engine", ENGINES)
def test_averages_follow_the_parameters_and_swap_for_evaluation(engine):
    store, want = start(), None
    optimizer = w.average(o.sgd(0.1), 0.8)
    for grads in GRADS[:6]:
        train(optimizer, engine, [grads], store)
        now = {p: store[p].numpy().astype("float64") for p in SHAPES}
        want = now if want is None else {p: 0.8 * want[p] + 0.2 * now[p] for p in SHAPES}
    got = w.averaged(store)
    assert set(got) == set(SHAPES)
    trained = {p: store[p].numpy() for p in SHAPES}
    with pytest.raises(ZeroDivisionError), w.swapped(store):
        for path in SHAPES:
            np.testing.assert_allclose(got[path].numpy(), want[path], rtol=1e-6, atol=1e-6)
            np.testing.assert_array_equal(store[path].numpy(), got[path].numpy())
        raise ZeroDivisionError
    for path in SHAPES:
        np.testing.assert_array_equal(store[path].numpy(), trained[path])
    with pytest.raises(VariableError, match="no averages under 'elsewhere'"):
        w.averaged(store, "elsewhere")


def test_lookahead_and_centralize():
    got = train(w.lookahead(o.sgd(0.1), steps=5, alpha=0.3))
    slow = fast = {p: x.astype("float64") for p, x in FIRST.items()}
    for i, grads in enumerate(GRADS):
        fast = {p: fast[p] - 0.1 * grads[p] for p in SHAPES}
        if i % 5 == 4:
            slow = fast = {p: slow[p] + 0.3 * (fast[p] - slow[p]) for p in SHAPES}
    for path in SHAPES:
        np.testing.assert_allclose(got[path].numpy(), fast[path], rtol=1e-6, atol=1e-6)
    got = train(w.centralize(o.sgd(1.0)), grads=GRADS[:1])
    for path, shape in SHAPES.items():
        g = GRADS[0][path]
        g = g - g.mean(axis=tuple(range(len(shape) - 1)), keepdims=True) if len(shape) > 1 else g
        np.testing.assert_allclose(got[path].numpy(), FIRST[path] - g, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adamw", "rmsprop", "adafactor"])
def test_parameters_of_16_bits_are_updated_in_float32(name):
    pytest.importorskip("monograph_dtypes", reason="brings the 16-bit floats")
    dtype = mg.dtypes.dtype("bfloat16").numpy
    store = start({p: x.astype(dtype) for p, x in FIRST.items()})
    store.add("other", np.ones(2, "float32"))
    grads = {p: x.astype(dtype) for p, x in GRADS[0].items()} | {"other": np.ones(2, "float32")}
    optimizer = getattr(o, name)(0.1)
    store = train(optimizer, grads=[grads], store=store)
    assert store.spec("scalar").dtype.name == "bfloat16"
    kept = [p for p in store if p.startswith("optimizer/block")]
    assert all(store.spec(p).dtype == mg.float32 for p in kept)
    wide = {p: x.astype("float32") for p, x in store.numpy().items()}
    exact = start({p: x.astype(dtype).astype("float32") for p, x in FIRST.items()})
    narrow = {p: grads[p].astype("float32") for p in SHAPES}
    train(optimizer, grads=[narrow], store=exact)
    for path in SHAPES:
        np.testing.assert_array_equal(
            wide[path], exact[path].numpy().astype(dtype).astype("float32")
        )


def test_a_copy_of_the_store_continues_as_the_store_does():
    made = [getattr(o, name)() for name in o.__all__]
    made.append(w.accumulate(w.average(w.lookahead(w.clip_by_norm(o.adamw(), 1.0), 2)), 3))
    for optimizer in made:
        whole = train(optimizer, grads=GRADS[:10])
        half = train(optimizer, grads=GRADS[:5]).copy()
        assert list(train(optimizer, grads=GRADS[5:10], store=half)) == list(whole)
        for path in whole:
            np.testing.assert_array_equal(half[path].numpy(), whole[path].numpy())


@pytest.mark.parametrize("engine", ENGINES)
def test_a_policy_of_bfloat16_trains_through_all_wrappers(engine):
    pytest.importorskip("monograph_dtypes", reason="brings the 16-bit floats")
    rate = schedules.warmup(schedules.cosine_decay(0.05, 100), 5)
    members = [("*/w", o.adamw(rate)), ("*", o.sgd(rate, 0.9))]
    optimizer = w.accumulate(w.average(w.clip_by_global_norm(w.groups(members), 1.0)), 2)
    policy = types.SimpleNamespace(param="float32", compute="bfloat16", output=None)

    def step(scope, x, y):
        def loss():
            layer = scope.with_policy(policy) / "layer"
            out = mg.astype(x, "bfloat16") @ layer.parameter("w", (3, 1), 0.1)
            out = out + layer.parameter("b", (1,), 0.0)
            return mg.mean(losses.mean_squared_error(y, out))

        value, grads = scope.value_and_grad(loss)()
        optimizer(scope / "optimizer", grads)
        return value

    x = rng.normal(size=(16, 3)).astype("float32")
    y = (x @ np.array([[1.0], [-2.0], [0.5]]) + 0.3).astype("float32")
    store = mg.Store()
    call = store.bind(step, engine)
    seen = [call(x, y).item() for _ in range(120)]
    assert seen[0] == seen[1] and seen[-1] < 0.3 * seen[0]
    assert store.spec("layer/w").dtype == mg.float32
    assert set(w.averaged(store)) == {"layer/w", "layer/b"}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_step_that_overflows_is_not_accumulated(engine):
    dtypes = pytest.importorskip("monograph_dtypes", reason="brings loss scaling")
    scaling, optimizer = dtypes.DynamicLossScale(), w.accumulate(w.average(o.adamw(0.02)), 2)

    def step(scope, x):
        def forward():
            y = mg.astype(scope.parameter("w", (3,), 0.5), "float16") * x
            return scaling.scale(scope, mg.mean(mg.astype(y, "float32") ** 2))

        _, grads = scope.value_and_grad(forward)()
        return scaling.apply(scope, grads, lambda g: optimizer(scope / "optimizer", g))

    store = mg.Store()
    call = store.bind(step, engine)
    x = np.array([1.0, 2.0, 0.5], "float16")
    assert call(x).item()
    before = {p: v for p, v in store.numpy().items() if p.startswith(("optimizer", "w"))}
    assert not call(np.full(3, 6e4, "float16")).item()
    for path, value in before.items():
        np.testing.assert_array_equal(store[path].numpy(), value)
    assert call(x).item() and store["optimizer/step"].item() == 1


def test_float64_parameters_stay():
    store = start({p: x.astype("float64") for p, x in FIRST.items()})
    grads = [{p: x.astype("float64") for p, x in g.items()} for g in GRADS]
    for optimizer in (o.adam(0.05), o.rmsprop(), o.adafactor(), o.lamb(), o.nadam()):
        for engine in ENGINES:
            train(optimizer, engine, grads[:2], store.copy())


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: o.sgd(-0.1), "learning_rate=-0.1 must be finite and at least 0"),
        (lambda: o.adam(float("nan")), "learning_rate=nan"),
        (lambda: o.adam(beta1=1.0), "beta1=1.0 must be at least 0 and below 1"),
        (lambda: o.adamw(beta2=-0.1), "beta2=-0.1"),
        (lambda: o.adamw(weight_decay=-1), "weight_decay=-1"),
        (lambda: o.rmsprop(alpha=1.5), "alpha=1.5"),
        (lambda: o.adadelta(rho=1.0), "rho=1.0"),
        (lambda: w.average(o.sgd(), 1.0), "decay=1.0"),
        (lambda: w.accumulate(o.sgd(), 0), "steps=0"),
        (lambda: w.clip_by_global_norm(o.sgd(), -1.0), "limit=-1.0"),
        (lambda: train(o.sgd(), grads=[{}]), "no gradients"),
        (lambda: train(o.lion(), grads=[{}]), "no gradients"),
    ],
)  # fmt: skip
def test_bad_options_are_named(make, says):
    with pytest.raises(ArgumentError, match=says):
        make()
