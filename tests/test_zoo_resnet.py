"""ResNets against Hugging Face's and haiku's: random weights and batch statistics.

No weights are downloaded: configurations give the architecture, seeds the numbers.
"""

import jax
import monograph as mg
import monograph_zoo as zoo
import numpy as np
import pytest
import torch
from monograph_train import sgd

hk = pytest.importorskip("haiku", reason="a reference is haiku")
transformers = pytest.importorskip("transformers", reason="a reference is transformers")

ENGINES = ("xla", "torch")


pytestmark = pytest.mark.usefixtures("one_thread")


def hugging_face(classes, dtype=torch.float32, blocks=(3, 4, 6, 3)):
    """A ResNet with normalisation that is no identity, so that nothing can be left out."""
    torch.manual_seed(0)
    config = transformers.ResNetConfig(num_labels=classes, depths=list(blocks))
    model = transformers.ResNetForImageClassification(config)
    gen = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for m in model.modules():
            if isinstance(m, torch.nn.BatchNorm2d):
                m.weight.uniform_(0.2, 0.6, generator=gen)
                m.bias.normal_(0, 0.2, generator=gen)
                m.running_mean.normal_(0, 0.2, generator=gen)
                m.running_var.uniform_(0.5, 2.0, generator=gen)
    return model.to(dtype)


def ours(model, state=None):
    """A model's variables, or those of another state of it, by our paths."""
    config = {**model.config.to_dict(), "architectures": [type(model).__name__]}
    return zoo.huggingface.from_weights(config, state or model.state_dict()).parameters


def images(*shape):
    return np.random.default_rng(0).normal(size=(*shape, 3)).astype("float32")


def channels_first(x):
    return torch.tensor(x).movedim(-1, 1).contiguous()


def loaded(arrays, dtype="float32"):
    store = mg.Store()
    zoo.load(store, {path: value.astype(dtype) for path, value in arrays.items()})
    return store


def check_logits(got, want):
    """Within 1e-4 of logits that are neither zero nor huge: about 50 layers' float32 roundings."""
    assert 0.1 < want.std() < 10 and np.abs(want).max() < 50
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4)


def haiku(classes):
    """Haiku's ResNet50 as a compiled function, and random numbers for its parameters and state."""

    def build(x, is_training):
        return hk.nets.ResNet50(classes, resnet_v2=False)(x, is_training)

    model, rng = hk.without_apply_rng(hk.transform_with_state(build)), np.random.default_rng(1)
    init = lambda: model.init(jax.random.key(0), images(1, 32, 32), True)

    def number(module, name, like):
        if name == "scale" or "var_ema" in module:
            return rng.uniform(*((0.2, 0.6) if name == "scale" else (0.5, 2.0)), like.shape)
        fan_in = like.size // like.shape[-1] if name == "w" else 50
        return rng.normal(0, np.sqrt(2 / fan_in), like.shape)

    params, state = (
        {m: {n: number(m, n, v).astype(v.dtype) for n, v in d.items()} for m, d in tree.items()}
        for tree in jax.eval_shape(init)
    )
    return jax.jit(lambda p, s, x: model.apply(p, s, x, False)[0]), params, state


def test_logits_are_those_of_haiku():
    apply, params, state = haiku(1000)
    x = images(2, 224, 224)
    want = np.asarray(apply(params, state, x))
    arrays = zoo.from_haiku.resnet(params, state)
    store = loaded(arrays)
    for engine in ENGINES:
        call = store.bind(zoo.resnet50, engine, padding="same", unbiased=False)
        check_logits(call(x).numpy(), want)
    assert set(store) == set(arrays), "the model asks for what the converter gives"


def trained_by_pytorch(x, labels, rate, dtype, blocks):
    """The variables, by our paths, before and after one step per batch."""
    model = hugging_face(10, dtype, blocks).train()
    first = {k: v.clone() for k, v in model.state_dict().items()}
    update = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    for batch, y in zip(x, labels):
        update.zero_grad()
        logits = model(channels_first(batch).to(dtype)).logits
        torch.nn.functional.cross_entropy(logits, torch.tensor(y)).backward()
        update.step()
    return [ours(model, s) for s in (first, model.state_dict())]


def trained_by_us(engine, arrays, x, labels, rate, dtype, blocks):
    store, update = loaded(arrays, dtype), sgd(rate, momentum=0.9)

    def step(scope, batch, y):
        def loss():
            logits = zoo.resnet(scope, batch, blocks, classes=10, training=True)
            return mg.mean(mg.cross_entropy(logits, y))

        value, grads = scope.value_and_grad(loss)()
        update(scope, grads)
        return value

    bound = store.bind(step, engine)
    for batch, y in zip(x, labels):
        bound(batch.astype(dtype), y)
    return {path: store[path].numpy() for path in arrays}


def apart_after(steps, engine, dtype, blocks, seed=0):
    """How far each array ends from PyTorch's in float64, as a part of what it moved."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(5, 4, 40, 40, 3)).astype("float32")
    x, labels = x[:steps], rng.integers(0, 10, (5, 4))[:steps]
    # the optimizer keeps it in float32, which holds it exactly; one step may be a large one
    rate = 2.0 ** (-12 if dtype == "float64" else -8 if steps > 1 else 0)
    first, exact = trained_by_pytorch(x, labels, rate, torch.float64, blocks)
    assert min(np.abs(exact[p] - first[p]).max() for p in exact) > 1e-7, "all must move"
    got = trained_by_us(engine, first, x, labels, rate, dtype, blocks)
    size = lambda v: np.linalg.norm(v.astype("float64"))
    return {p: size(got[p] - exact[p]) / size(exact[p] - first[p]) for p in exact}


@pytest.mark.parametrize("engine", ENGINES)
def test_five_training_steps_end_where_pytorchs_do(engine):
    """Parameters and batch statistics after five steps of gradient descent with momentum.

    ResNet-50 is so deep and these batches so small that a difference grows ten thousand times in five
    steps: float32 ends 40% off in PyTorch too. So it is compared in float64.
    """
    apart = apart_after(5, engine, "float64", (3, 4, 6, 3))
    assert max(apart.values()) < 1e-9, max(apart, key=apart.get)


@pytest.mark.parametrize("engine", ENGINES)
def test_steps_of_a_shallow_one_in_float32(engine):
    """Roundings come to 3e-6 after a step, and, with those of the changes that it stores, to 0.1% after five.

    Now and then a rounding decides which of two pixels a pool takes, or whether relu lets one through: some
    arrays then move otherwise, in PyTorch too, by 0.2% in one step and 2% to 11% in five.
    """
    for seed in range(3):
        first = apart_after(1, engine, "float32", (1,) * 4, seed)
        assert np.median([*first.values()]) < 1e-5 and max(first.values()) < 2e-2, first
        last = apart_after(5, engine, "float32", (1,) * 4, seed)
        assert max(last.values()) < 0.3, max(last, key=last.get)


def test_features_without_the_top_and_mistaken_padding():
    store = mg.Store(seed=0)
    call = store.bind(zoo.resnet, "numpy", blocks=(1, 1), include_top=False)
    assert call(images(1, 32, 32)).shape == (1, 4, 4, 512)
    with pytest.raises(mg.errors.ArgumentError, match="padding='valid' is neither"):
        mg.Store().bind(zoo.resnet50, "numpy", padding="valid")(images(1, 32, 32))


def resnet20_in_torch(state, x):
    """The model by its formula, with functions of PyTorch."""
    f = torch.nn.functional
    w = {name.removeprefix("module."): value for name, value in state.items()}

    def unit(x, conv, norm, stride=1):
        x = f.conv2d(x, w[f"{conv}.weight"], stride=stride, padding=1)
        kinds = ("running_mean", "running_var", "weight", "bias")
        return f.batch_norm(x, *[w[f"{norm}.{k}"] for k in kinds])

    x = f.relu(unit(x, "conv1", "bn1"))
    for i in (1, 2, 3):
        for j in (0, 1, 2):
            at, stride = f"layer{i}.{j}", 2 if i > 1 and j == 0 else 1
            y = f.relu(unit(x, f"{at}.conv1", f"{at}.bn1", stride))
            y = unit(y, f"{at}.conv2", f"{at}.bn2")
            if stride == 2:
                n = x.shape[1] // 2
                x = f.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, n, n))
            x = f.relu(x + y)
    return f.linear(x.mean((2, 3)), w["linear.weight"], w["linear.bias"])


def test_the_published_resnet20_loads_strictly(shared_data):
    """Idelbayev's, of which 91.78% of CIFAR-10's test images are told apart."""
    path = shared_data / "resnet_cifar" / "resnet20-12fca82f.th"
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    config = {"architectures": ["ResNetCifar"], "depth": 20}
    ours, x = zoo.huggingface.from_weights(config, state), images(4, 32, 32)
    with torch.no_grad():
        want = resnet20_in_torch(state, channels_first(x)).numpy()
    for engine in ENGINES:
        check_logits(ours.on(engine).call(x).numpy(), want)
    weights = ours.store.trainable
    assert sum(ours.store.spec(path).size for path in weights) == 269_722

    renamed = {k.replace("layer3.2.bn2.bias", "layer3.2.bn2.beta"): v for k, v in state.items()}
    renamed["module.linear.weight"] = torch.zeros(10, 32)
    with pytest.raises(mg.errors.FileFormatError) as e:
        zoo.huggingface.from_weights(config, renamed)
    for problem in (
        "layer3.2.bn2.bias is missing", "layer3.2.bn2.beta is unused",
        "linear.weight has shape (10, 32), expected (10, 64)",
    ):  # fmt: skip
        assert problem in str(e.value)
    with pytest.raises(mg.errors.ArgumentError, match="depth=19 is none of 8, 14"):
        mg.Store().bind(zoo.resnet_cifar, "numpy", depth=19)(x)
