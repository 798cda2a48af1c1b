"""Small models of transformers with random weights: logits, gradients and five steps of fine-tuning."""

from __future__ import annotations

import functools

import monograph as mg
import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", reason="the reference is transformers")

TEXT = {"vocab_size": 50}
IDS = torch.tensor(np.random.default_rng(0).integers(0, 50, (2, 7)))
PIXELS = torch.tensor(np.random.default_rng(1).standard_normal((2, 3, 32, 32), "float32"))
SEQUENCE, BATCH = {0: "batch", 1: "sequence"}, {0: "batch"}


class Lstm(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = torch.nn.LSTM(5, 4, 2, batch_first=True, bidirectional=True)
        self.gru, self.head = torch.nn.GRU(8, 4, batch_first=True), torch.nn.Linear(4, 3)

    def forward(self, x):
        out, (h, c) = self.rnn(x)
        return self.head(self.gru(out)[0]) + h.sum() + c.mean()


def _of(model, config, **how):
    return lambda: getattr(transformers, model)(getattr(transformers, config)(**how))


# a model, its inputs and the axes that are of any length
MODELS = {
    "resnet": (
        _of("ResNetForImageClassification", "ResNetConfig", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1]),
        {"pixel_values": PIXELS}, {"pixel_values": BATCH},
    ),
    "vit": (
        _of("ViTForImageClassification", "ViTConfig", hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=32, image_size=32, patch_size=16),
        {"pixel_values": PIXELS}, {"pixel_values": BATCH},
    ),
    "bert": (
        _of("BertForSequenceClassification", "BertConfig", hidden_size=16, num_hidden_layers=2,
            num_attention_heads=2, intermediate_size=32, **TEXT),
        {"input_ids": IDS, "attention_mask": (IDS > 5).long()}, {"input_ids": SEQUENCE, "attention_mask": SEQUENCE},
    ),
    "gpt2": (
        _of("GPT2LMHeadModel", "GPT2Config", n_embd=16, n_layer=2, n_head=2, n_positions=32, use_cache=False,
            bos_token_id=1, eos_token_id=1, **TEXT),
        {"input_ids": IDS}, {"input_ids": SEQUENCE},
    ),
    "llama": (
        _of("LlamaForCausalLM", "LlamaConfig", hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, intermediate_size=32, use_cache=False, **TEXT),
        {"input_ids": IDS}, {"input_ids": SEQUENCE},
    ),
    "t5": (
        _of("T5EncoderModel", "T5Config", d_model=16, d_kv=8, num_layers=2, num_heads=2, d_ff=32, **TEXT),
        {"input_ids": IDS}, {"input_ids": SEQUENCE},
    ),
    "lstm": (Lstm, {"x": PIXELS[0, :2, :6, :5]}, {"x": BATCH}),
}  # fmt: skip


def first(out):
    """The logits of what either gives."""
    return (
        out
        if hasattr(out, "shape")
        else next(iter(out.values()))
        if isinstance(out, dict)
        else out[0]
    )


@functools.cache
def loaded(name):
    torch.manual_seed(0)
    make, inputs, dynamic = MODELS[name]
    module = make().eval()
    return module, inputs, mg.load(module, kwargs=inputs, dynamic=dynamic)


def numpy(inputs):
    return {k: v.numpy() for k, v in inputs.items()}


@pytest.mark.parametrize("name", MODELS)
def test_logits(name):
    module, inputs, imported = loaded(name)
    assert not imported.unsupported
    for engine in ("xla", "torch"):
        with torch.no_grad():
            want = first(module(**inputs)).numpy()
        got = np.asarray(first(imported.on(engine).call(**numpy(inputs))))
        np.testing.assert_allclose(got, want, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_logits_for_other_sizes(name):
    module, inputs, imported = loaded(name)
    longer = {k: torch.cat([v, v[:1]]) for k, v in inputs.items()}
    if "sequence" in imported.signature.sizes:
        longer = {k: torch.cat([v, v[:, :4]], 1) for k, v in longer.items()}
    with torch.no_grad():
        want = first(module(**longer)).numpy()
    got = np.asarray(first(imported.on("torch").call(**numpy(longer))))
    np.testing.assert_allclose(got, want, atol=1e-5, rtol=1e-4)


STEPS = [*[(name, "torch") for name in MODELS], ("bert", "xla"), ("gpt2", "xla")]


@pytest.mark.parametrize(("name", "engine"), STEPS)
def test_five_steps_of_fine_tuning_track_torchs(name, engine):
    _, inputs, imported = loaded(name)
    module = MODELS[name][0]().eval()
    module.load_state_dict(loaded(name)[0].state_dict())
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.1)

    def step(scope, *args):
        def loss(scope, *args):
            y = first(imported.model(scope, *args))
            return mg.mean((y - 0.5) ** 2)

        value, grads = scope.value_and_grad(loss)(scope, *args)
        for path, g in grads.items():
            scope.assign(path, scope.read(path) - 0.1 * g)
        return value, grads

    store = mg.Store()
    ours = store.bind(step, engine)
    for turn in range(5):
        optimizer.zero_grad()
        want = ((first(module(**inputs)) - 0.5) ** 2).mean()
        want.backward()
        value, grads = ours(*[v.numpy() for v in inputs.values()])
        np.testing.assert_allclose(value.item(), want.item(), rtol=1e-4, atol=1e-4)
        if turn == 0:
            named = dict(module.named_parameters())
            for path, g in grads.items():
                there = named[path.replace("/", ".")].grad.numpy()
                np.testing.assert_allclose(np.asarray(g), there, rtol=1e-4, atol=1e-4, err_msg=path)
        optimizer.step()
    state = module.state_dict()
    for path in store.trainable:
        want = state[path.replace("/", ".")].numpy()
        np.testing.assert_allclose(
            np.asarray(store[path]), want, rtol=1e-4, atol=1e-4, err_msg=path
        )
