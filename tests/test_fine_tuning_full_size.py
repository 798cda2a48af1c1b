"""Five steps of SGD at full size, by hand-written models and by the PyTorch importer, against PyTorch.

``MONOGRAPH_FULL_SIZE=1`` runs them (some ten minutes and 5 GB); small models are in
test_zoo_huggingface.py, test_zoo_decoders.py and the importers' test_pytorch_models.py.
"""

import os

import monograph as mg
import monograph_zoo as zoo
import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", reason="the reference is transformers")
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not os.environ.get("MONOGRAPH_FULL_SIZE"), reason="MONOGRAPH_FULL_SIZE=1 runs it"),
]  # fmt: skip

RNG = np.random.default_rng(0)
RATE, STEPS = 0.1, 5
TEXT = RNG.integers(0, 1000, (2, 16))
LLAMA = dict(
    hidden_size=2048, intermediate_size=5632, num_hidden_layers=4, num_attention_heads=32,
    num_key_value_heads=4,
)  # fmt: skip

# the class in transformers, its configuration, what it is given
MODELS = {
    "bert": ("BertModel", dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0), TEXT),
    "gpt2": ("GPT2LMHeadModel", dict(use_cache=False), TEXT),
    "llama": ("LlamaForCausalLM", dict(use_cache=False, **LLAMA), TEXT),
    "vit": ("ViTForImageClassification", dict(num_labels=1000), RNG.normal(size=(2, 224, 224, 3))),
    "resnet": ("ResNetForImageClassification", dict(num_labels=1000), RNG.normal(size=(2, 96, 96, 3))),
}  # fmt: skip


def theirs(name):
    kind, options, x = MODELS[name]
    torch.manual_seed(0)
    kind = getattr(transformers, kind)
    model = kind(kind.config_class(**options)).eval()
    model.config.architectures = [kind.__name__]
    for m in model.modules():  # or fifty layers of random weights give numbers in the hundreds
        if isinstance(m, torch.nn.BatchNorm2d):
            m.weight.data.uniform_(0.2, 0.6)
            m.running_var.uniform_(0.5, 2.0)
    images = x.ndim == 4
    x = x.astype("float32") if images else x
    given = torch.tensor(x).movedim(-1, 1).contiguous() if images else torch.tensor(x)
    return model, {"pixel_values" if images else "input_ids": given}, x


def result(out):
    return out if hasattr(out, "shape") else out.get("logits", out.get("last_hidden_state"))


def trained(model, given):
    """Losses of five steps of PyTorch's, which change the model."""
    losses, optimizer = [], torch.optim.SGD(model.parameters(), lr=RATE)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = ((result(model(**given)) - 0.5) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def ours(route, model, given, x):
    """The model by that route, our input, and their state by our paths."""
    if route == "zoo":
        config = model.config.to_dict()
        state = {n: v.clone().numpy() for n, v in model.state_dict().items()}
        paths = lambda state: zoo.huggingface.from_weights(config, state).parameters
        return zoo.huggingface.from_weights(config, state), x, paths
    imported = mg.load(model, kwargs={n: v.clone() for n, v in given.items()})
    imported.call(next(iter(given.values())).numpy())  # now the variables are copies
    paths = lambda state: {n.replace(".", "/"): v for n, v in state.items()}
    return imported, next(iter(given.values())).numpy(), paths


@pytest.mark.parametrize("route", ["zoo", "importer"])
@pytest.mark.parametrize("engine", ["xla", "torch"])
@pytest.mark.parametrize("name", MODELS)
def test_five_steps_track_pytorchs(name, engine, route):
    model, given, x = theirs(name)
    mine, value, paths = ours(route, model, given, x)

    def step(scope, value):
        def loss():
            return mg.mean((result(mine.model(scope, value)) - 0.5) ** 2)

        y, slopes = scope.value_and_grad(loss)()
        for path, slope in slopes.items():
            scope.assign(path, scope.read(path) - RATE * slope)
        return y

    store = mg.Store()
    run = store.bind(step, engine)
    got = [run(value).item() for _ in range(STEPS)]
    np.testing.assert_allclose(got, trained(model, given), rtol=1e-4)
    want = paths({n: v.numpy() for n, v in model.state_dict().items()})
    for path in store.trainable:
        np.testing.assert_allclose(store[path].numpy(), want[path], atol=1e-4, err_msg=path)
