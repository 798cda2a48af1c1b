"""Graphs split across XLA and torch: the unsplit graph's numbers and gradients, without copies."""

import random

import jax
import monograph as mg
import monograph_layers as nn
import monograph_zoo as zoo
import numpy as np
import pytest
import torch
from monograph.errors import ArgumentError, DTypeError, EngineError, GraphError, NonFinite
from monograph.tracing import inline
from monograph.transforms import pipeline

pytestmark = pytest.mark.usefixtures("one_thread")


def device(name):
    return mg.tensor(0.0, device=name).device


def address(x):
    return x.buffer.data_ptr() if x.engine == "torch" else x.buffer.unsafe_buffer_pointer()


def random_cuts(graph, n, seed):
    """Positions that leave operations in each of ``n`` parts."""
    draw = random.Random(seed)
    while True:
        cuts = sorted(draw.sample(range(1, len(graph.nodes)), n - 1))
        try:
            graph.split(cuts)
            return cuts
        except GraphError:
            continue


def size(x):
    return np.abs(x.numpy()).max()


def close(got, want, tolerance, least=1e-6):
    """Within ``tolerance`` of the largest element, or of ``least`` where all are smaller."""
    got, want = (np.asarray(x.numpy(), "float64") for x in (got, want))
    scale = max(np.abs(want).max(), least)
    assert np.abs(got - want).max() <= tolerance * scale


# ---- models


def resnet():
    store = mg.Store(seed=0)

    def loss(scope, images, labels):
        logits = zoo.resnet(scope, images, (1, 2, 1), classes=10)
        return mg.mean(mg.cross_entropy(logits, labels))

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 48, 48, 3)).astype("float32"), rng.integers(0, 10, (2,))
    return store, loss, (x, y)


def transformer():
    store = mg.Store(seed=0)

    def loss(scope, tokens):
        x = nn.embedding(scope / "tokens", tokens, 50, 32)
        for i in range(3):
            block = scope / f"block{i}"
            h = nn.layer_norm(block / "norm1", x)
            x = x + nn.multi_head_attention(block / "attention", h, num_heads=4, key_dim=8)
            h = nn.dense(block / "up", nn.layer_norm(block / "norm2", x), 64, activation=mg.gelu)
            x = x + nn.dense(block / "down", h, 32)
        logits = nn.dense(scope / "logits", x, 50)
        return mg.mean(mg.cross_entropy(logits[:, :-1], tokens[:, 1:]))

    return store, loss, (np.random.default_rng(0).integers(0, 50, (2, 16)),)


MODELS = {"resnet": resnet, "transformer": transformer}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    """A loss as a graph of arguments and variables, numbers for these, values and gradients."""
    store, loss, args = MODELS[request.param]()
    graph = store.bind(loss, "numpy").trace(*args)
    xs = [*args, *(store[p] for p in graph.input_names[len(args) :])]
    chosen = tuple(
        i for i, s in enumerate(graph.input_specs) if s.dtype.is_float and i >= len(args)
    )
    whole = mg.value_and_grad(lambda *xs: inline(graph, xs)[0], chosen).on("xla")(*xs)
    return graph, xs, chosen, whole


@pytest.mark.parametrize("seed", range(3))
def test_models_at_random_cuts_give_the_unsplit_values_and_gradients(model, seed):
    graph, xs, chosen, (want, grads) = model
    parts = 2 + seed
    cuts = random_cuts(graph, parts, seed)
    engines = [("xla", "torch")[(k + seed) % 2] for k in range(parts)]
    run = pipeline(graph, engines, cuts)
    close(run(*xs), want, 1e-5)
    value, got = run.value_and_grad(chosen)(*xs)
    close(value, want, 1e-5)
    assert len(got) == len(grads)
    largest = max(map(size, grads))  # an attention's key bias has none but rounding errors
    for a, b in zip(got, grads):
        close(a, b, 2e-4, least=1e-2 * largest)


def test_balanced_cuts_of_models(model):
    graph, xs, _, (want, _) = model
    run = pipeline(graph)
    assert [d.engine.name for d in run.devices] == ["xla", "torch"]
    shares = [p.graph.cost().flops / graph.cost().flops for p in run.split.parts]
    assert all(0.2 < share < 0.8 for share in shares)
    close(run(*xs), want, 1e-5)


# ---- structure, and what is refused


def test_arguments_and_results_nest_as_the_functions():
    def fn(p, x, *, k):
        h = mg.tanh(x @ p["w"] + p["b"])
        return {"loss": mg.sum(h * k), "h": h, "x": x}

    p = {"w": np.ones((3, 3), "float32"), "b": np.zeros(3, "float32")}
    x = np.ones((2, 3), "float32")
    g = mg.trace(fn, {k: mg.Spec.of(v) for k, v in p.items()}, mg.Spec.of(x), k=mg.Spec(()))
    run = pipeline(g, ["torch", "xla"], [3])
    got, want = run(p, x, k=2.0), mg.jit(fn).on("xla")(p, x, k=2.0)
    assert got.keys() == want.keys()
    for name in want:
        close(got[name], want[name], 1e-6)
    with pytest.raises(ArgumentError, match=r"test_pipeline.py:\d+: fn takes arguments nested as"):
        run(p, x)
    with pytest.raises(ArgumentError, match=r"input 'arg\[1\]' is float64"):
        run(p, x.astype("float64"), k=2.0)


def test_gradients_by_several_arguments_with_more_results_and_through_nothing():
    def fn(p, x, unused):
        a = mg.sin(x * p["a"])
        b = mg.sum(mg.exp(a) * p["b"]) + mg.sum(x)
        return b, (a, b * 2.0)

    p = {"a": np.float32(0.5), "b": np.arange(4, dtype="float32")}
    x, unused = np.linspace(0, 1, 4, dtype="float32"), np.ones(2, "float32")
    g = mg.trace(fn, {k: mg.Spec.of(v) for k, v in p.items()}, mg.Spec.of(x), mg.Spec.of(unused))
    want = mg.value_and_grad(fn, (0, 1, 2), has_aux=True).on("xla")(p, x, unused)
    for cut in range(1, len(g.nodes)):
        run = pipeline(g, ["xla", "torch"], [cut]).value_and_grad((0, 1, 2), has_aux=True)
        got = run(p, x, unused)
        leaves, treedef = mg.tree.flatten(got)
        expected, want_def = mg.tree.flatten(want)
        assert treedef == want_def
        for a, b in zip(leaves, expected):
            close(a, b, 1e-5)
        close(run.split.join().compile("torch")(p, x, unused)[1][1], want[1][1], 1e-5)


def test_mistakes_are_named():
    g = mg.trace(lambda x, i: mg.sum(mg.exp(mg.sin(x))) + i, mg.Spec((3,)), mg.Spec((), "int32"))
    with pytest.raises(ArgumentError, match=r"test_pipeline.py:\d+: main is in 2 parts, but 3"):
        pipeline(g, ["xla", "torch", "xla"], [1])
    with pytest.raises(EngineError, match="nonesuch"):
        pipeline(g, ["xla", "nonesuch"])
    with pytest.raises(GraphError, match="cannot be split so"):
        pipeline(g, ["xla", "torch"], [0])
    run = pipeline(g)
    with pytest.raises(DTypeError, match="gradients exist for floating-point"):
        run.value_and_grad(1)
    with pytest.raises(ArgumentError, match="argnums=2, but main has 2"):
        run.value_and_grad(2)
    vector = pipeline(mg.trace(lambda x: mg.exp(mg.sin(x)), mg.Spec((3,))))
    with pytest.raises(ArgumentError, match="needs a real scalar"):
        vector.value_and_grad()
    with pytest.raises(ArgumentError, match="needs a real scalar and more in a tuple"):
        vector.value_and_grad(has_aux=True)


# ---- memory


DTYPES = [
    "bool", "int8", "int64", "uint16", "uint64", "float16", "bfloat16", "float32", "float64",
    "complex64", "complex128", "float8_e4m3fn",
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("giver, taker", [("xla", "torch"), ("torch", "xla")])
def test_a_borrowed_buffer_is_the_same_memory(giver, taker, dtype):
    x = mg.tensor(np.arange(256).reshape(4, 64) % 2, device=giver)
    x = mg.jit(lambda x: mg.astype(x, dtype), engine=giver)(x)
    there = device(taker)
    lent = mg.Tensor(there.engine.borrow(x, there), x.spec, there)
    assert address(lent) == address(x)
    assert lent.numpy().tobytes() == x.numpy().tobytes() and lent.numpy().dtype == x.numpy().dtype
    results = mg.jit(lambda y: (y, mg.flip(y), mg.reshape(y, (64, 4))), engine=taker)(lent)
    assert results[0].numpy().tobytes() == results[2].numpy().tobytes() == x.numpy().tobytes()
    assert all(address(y) != address(x) for y in results), "results have memory of their own"


def test_what_cannot_be_shared_is_copied():
    xla, here = device("xla"), device("torch")
    base = torch.arange(65.0)
    for view in (base[1:], base[::2], base[:64].reshape(8, 8).T, base[:1].expand(4),
                 (torch.ones(3, dtype=torch.complex64) * 1j).conj()):  # fmt: skip
        x = mg.Tensor(
            view, mg.Spec(tuple(view.shape), str(view.dtype).removeprefix("torch.")), here
        )
        lent = mg.Tensor(xla.engine.borrow(x, xla), x.spec, xla)
        np.testing.assert_array_equal(lent.numpy(), view.resolve_conj().numpy())
        got = mg.jit(lambda x: x * 2, engine="xla")(lent)
        np.testing.assert_array_equal(got.numpy(), view.resolve_conj().numpy() * 2)
    plain = mg.tensor([1.0, 2.0], device="numpy")
    for name in ("xla", "torch"):
        there = device(name)
        lent = mg.Tensor(there.engine.borrow(plain, there), plain.spec, there)
        assert lent.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("engines", [("xla", "torch"), ("torch", "xla")])
def test_a_pipeline_hands_over_the_memory_itself(engines, monkeypatch):
    g = mg.trace(lambda x: (y := mg.sin(x), mg.exp(y)), mg.Spec((32, 32)))
    run = pipeline(g, engines, [1])
    seen = []
    stage = run.stages[1]
    execute = stage.executable
    stage.executable = lambda *buffers: seen.append(buffers[0]) or execute(*buffers)
    y, _ = run(np.ones((32, 32), "float32"))
    assert address(mg.Tensor(seen[0], y.spec, stage.device)) == address(y)


def overwriting(x, y):
    """Operations that torch's generated code writes in place when an operand dies."""
    a = x * 2.0 + y
    b = mg.exp(a) - 1.0
    c = b.at[0].set(0.0)
    return mg.scan(lambda c, _: (c * 1.5 + 1.0, mg.sum(c)), c, length=3)


@pytest.mark.parametrize("engines", [("xla", "torch", "xla"), ("torch", "xla", "torch")])
def test_nothing_is_written_through_what_is_borrowed(engines):
    def fn(x):
        first = mg.sin(x)
        last, sums = overwriting(first, x)
        return first, last, sums, mg.reshape(last, (64,)), first * last

    g = mg.trace(fn, mg.Spec((8, 8)))
    x = np.random.default_rng(0).normal(size=(8, 8)).astype("float32")
    want = [y.numpy() for y in mg.jit(fn).on("numpy")(x)]
    scan = next(n for n in g.nodes if n.op.name == "scan")
    sine = next(n for n in g.nodes if n.op.name == "sine")
    run = pipeline(g, engines, [sine, [scan, sine]])
    given = mg.tensor(x, device=engines[1])
    for _ in range(3):
        got = run(given)
        for a, b in zip(got, want):
            np.testing.assert_allclose(a.numpy(), b, rtol=1e-5, atol=1e-5)
        assert given.numpy().tobytes() == x.tobytes()
        assert len({address(y) for y in got}) == len(got)


@pytest.mark.parametrize("engine", ["xla", "torch"])
def test_an_argument_may_be_donated_elsewhere_right_after_the_call(engine):
    """The call returns when nothing reads lent memory any more."""
    other = {"xla": "torch", "torch": "xla"}[engine]
    heavy = lambda x: mg.sum(mg.scan(lambda c, _: (mg.tanh(c @ x), None), x, length=20)[0])
    run = pipeline(mg.trace(lambda x: mg.exp(heavy(x) * 1e-3), mg.Spec((200, 200))), [other] * 2)
    update = mg.jit(lambda x: x * 0.0, engine=engine, donate_argnums=0)
    numbers = np.random.default_rng(0).normal(size=(200, 200)).astype("float32")
    want = run(numbers).item()
    for _ in range(5):
        x = mg.tensor(numbers, device=engine)
        got = run(x)
        update(x)
        assert got.item() == want


def test_the_gradient_computes_each_part_but_the_last_again_and_keeps_hand_overs_only():
    def fn(x, w):
        for _ in range(4):
            x = mg.sin(mg.tanh(x @ w))
        return mg.sum(x)

    g = mg.trace(fn, mg.Spec((8, 8)), mg.Spec((8, 8)))
    tanhs = [n for n in g.nodes if n.op.name == "sine"][:2]
    parts = g.split(tanhs).value_and_grad(1)
    assert parts.origins == (0, 1, 2, 1, 0)
    counts = [sum(n.op.name == "tanh" for n in p.graph.nodes) for p in parts.parts]
    assert counts == [1, 1, 2, 1, 1]
    assert all(len(parts.parts[k].graph.outputs) == 1 for k in (0, 1))
    names = [p.graph.input_names for p in parts.parts[3:]]
    assert all("cotangent" in n for n in names)


def test_engines_in_one_process_do_not_disturb_each_others_settings():
    before = jax.config.jax_enable_x64
    run = pipeline(mg.trace(lambda x: mg.exp(mg.sin(x)), mg.Spec((3,), "float64")))
    assert run(np.zeros(3)).numpy().dtype == "float64"
    assert jax.config.jax_enable_x64 == before


def test_a_nan_guard_watches_the_parts_of_a_pipeline_and_their_gradients():
    g = mg.trace(lambda x: mg.sum(mg.sin(mg.sqrt(x)) * 2.0), mg.Spec((2,)))
    run = pipeline(g, ["xla", "torch"])
    line = rf"^{__file__}:\d+: "
    with mg.nan_guard():
        assert run(np.ones(2, "float32")).engine == "torch"
        with pytest.raises(NonFinite, match=line + "sqrt made 2 NaN"):
            run(np.full(2, -1, "float32"))
        with pytest.raises(NonFinite, match=line + r"divide made 2 \+Inf"):
            run.value_and_grad()(np.zeros(2, "float32"))
