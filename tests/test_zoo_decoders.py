"""GPT-2 and decoders of Llama's kind against Hugging Face's transformers: tiny ones with random weights."""

import monograph as mg
import monograph_zoo as zoo
import numpy as np
import pytest
import torch
from monograph.errors import ArgumentError, FileFormatError, ShapeError, UnsupportedModel
from monograph_train import sgd

transformers = pytest.importorskip("transformers", reason="the reference is transformers")

ENGINES = ("xla", "torch")

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = dict(
    vocab_size=40, hidden_size=24, intermediate_size=40, num_hidden_layers=3,
    num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=64,
    initializer_range=0.3, pad_token_id=0, bos_token_id=1, eos_token_id=2,
)  # fmt: skip
GPT2 = dict(
    vocab_size=40, n_embd=24, n_layer=2, n_head=4, n_positions=64, initializer_range=0.3,
    bos_token_id=1, eos_token_id=2,
)  # fmt: skip
LLAMA_3 = dict(
    rope_type="llama3", rope_theta=500.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=16,
)  # fmt: skip
YARN = dict(
    rope_type="yarn", rope_theta=500.0, factor=4.0, original_max_position_embeddings=16,
    beta_fast=4.0,
)  # fmt: skip
MIXED = ["sliding_attention", "full_attention", "sliding_attention"]

CASES = {
    "gpt2": ("GPT2", GPT2),
    "gpt2 untied, another activation": (
        "GPT2", GPT2 | dict(tie_word_embeddings=False, activation_function="relu", n_inner=30)
    ),
    "llama": ("Llama", SIZES),
    "llama tied, with biases": (
        "Llama", SIZES | dict(tie_word_embeddings=True, attention_bias=True, mlp_bias=True)
    ),
    "llama 3": ("Llama", SIZES | dict(rope_parameters=LLAMA_3)),
    "llama, linear": (
        "Llama",
        SIZES | dict(rope_parameters=dict(rope_type="linear", rope_theta=100.0, factor=3.0)),
    ),
    "llama, yarn": ("Llama", SIZES | dict(rope_parameters=YARN)),
    "mistral": ("Mistral", SIZES | dict(sliding_window=4)),
    "qwen 2": ("Qwen2", SIZES),
    "qwen 2, with a window": (
        "Qwen2", SIZES | dict(use_sliding_window=True, sliding_window=3, max_window_layers=1)
    ),
    "qwen 3": ("Qwen3", SIZES),
    "gemma": ("Gemma", SIZES),
    "gemma 2": (
        "Gemma2",
        SIZES | dict(
            sliding_window=4, layer_types=MIXED, attn_logit_softcapping=2.0,
            final_logit_softcapping=3.0, query_pre_attn_scalar=5,
        ),
    ),
    "gemma 3": ("Gemma3", SIZES | dict(sliding_window=4, layer_types=MIXED)),
}  # fmt: skip


def theirs(case, seed=0, head=True):
    """A model with weights that are all random, norms and biases too."""
    kind, options = CASES[case]
    config = getattr(transformers, f"{kind}{'Text' * (kind == 'Gemma3')}Config")(**options)
    config._attn_implementation = "eager"
    name = {"GPT2": ("Model", "LMHeadModel")}.get(kind, ("Model", "ForCausalLM"))[head]
    torch.manual_seed(seed)
    text = "Text" * (kind == "Gemma3" and not head)
    model = getattr(transformers, f"{kind}{text}{name}")(config)
    with torch.no_grad():
        for path, p in model.named_parameters():
            if p.ndim == 1:
                center = 0.8 if "norm" in path or "ln_" in path else 0.0
                p.normal_(center if path.endswith("weight") else 0.0, 0.2)
    return model.eval()


def ours(model):
    """The same model here, by its configuration and weights."""
    config = {**model.config.to_dict(), "architectures": [type(model).__name__]}
    state = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    return zoo.huggingface.from_weights(config, state)


def ids(*shape, seed=0):
    return np.random.default_rng(seed).integers(3, 40, shape).astype("int32")


def check(got, want, atol=1e-4):
    assert 0.3 < want.std() < 20, "a comparison that says something"
    np.testing.assert_allclose(got, want, rtol=0, atol=atol)


@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_transformers(case):
    """Rows with padding before, whose positions are told, and behind."""
    model, x, mask = theirs(case), ids(3, 9), np.ones((3, 9), "int32")
    mask[1, :4] = mask[2, 7:] = 0
    places = np.maximum(mask.cumsum(1) - 1, 0).astype("int32")
    want = logits(model, x, attention_mask=torch.tensor(mask), position_ids=torch.tensor(places))
    mine = ours(model)
    for engine in ENGINES:
        got = mine.on(engine).call(x, mask, places).numpy()
        check(got[mask == 1], want[mask == 1])


def logits(model, x, **more):
    with torch.no_grad():
        return model(torch.tensor(x), **more).logits.numpy()


@pytest.mark.parametrize("case", ["gpt2", "llama", "gemma 3"])
def test_models_without_the_head(case):
    model, x = theirs(case, head=False), ids(2, 5)
    with torch.no_grad():
        want = model(torch.tensor(x)).last_hidden_state.numpy()
    check(ours(model).on("torch").call(x).numpy(), want)


@pytest.mark.parametrize("case", ["gpt2", "gemma 2"])
def test_five_steps_of_fine_tuning_are_pytorchs(case):
    """Gradients, and where five steps of gradient descent end; the loss is of every next token."""
    model, x = theirs(case).train(), ids(5, 2, 8, seed=1)
    for m in model.modules():
        if isinstance(m, torch.nn.Dropout):
            m.p = 0.0
    mine, rate = ours(model), 2.0**-6
    grads = {}
    descent = torch.optim.SGD(model.parameters(), lr=rate)
    losses = []
    for batch in x:
        descent.zero_grad()
        loss = model(torch.tensor(batch), labels=torch.tensor(batch).long()).loss
        loss.backward()
        losses.append(loss.item())
        grads = grads or {n: p.grad.clone() for n, p in model.named_parameters()}
        descent.step()
    want = ours(model).parameters
    first = ours(_with(model, grads)).parameters

    def step(scope, batch, update):
        def loss():
            logits = mine.model(scope, batch)[:, :-1]
            return mg.mean(mg.cross_entropy(logits, batch[:, 1:]))

        value, by = scope.value_and_grad(loss)()
        update(scope, by)
        return value, by

    for engine in ENGINES:
        store = mg.Store()
        bound = store.bind(step, engine, update=sgd(rate))
        out = [bound(batch) for batch in x]
        np.testing.assert_allclose([float(value.item()) for value, _ in out], losses, atol=1e-4)
        for path, g in out[0][1].items():
            np.testing.assert_allclose(g.numpy(), first[path], rtol=1e-3, atol=1e-4, err_msg=path)
        for path, value in want.items():
            np.testing.assert_allclose(store[path].numpy(), value, atol=1e-4, err_msg=path)


def _with(model, arrays):
    """The model with other numbers in its parameters."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(arrays[name])
    return model


@pytest.mark.parametrize("case", ["gpt2", "qwen 3", "gemma 3", "gpt2 untied, another activation"])
def test_saved_models_are_read_back_by_transformers_and_by_us(case, tmp_path):
    model, x = theirs(case), ids(2, 6)
    model.save_pretrained(tmp_path / "theirs")
    mine = zoo.from_pretrained(tmp_path / "theirs")
    want = mine.call(x).numpy()
    zoo.save_pretrained(mine, tmp_path / "ours")
    again = type(model).from_pretrained(tmp_path / "ours").eval()
    check(logits(again, x), want)
    np.testing.assert_array_equal(zoo.from_pretrained(tmp_path / "ours").call(x).numpy(), want)


def test_names_and_settings_of_older_files():
    """OpenAI's GPT-2 has no prefix and holds its masks; Llama 2's rotary scaling has other words."""
    model, x = theirs("gpt2"), ids(2, 6)
    state = {k.removeprefix("transformer."): v.numpy() for k, v in model.state_dict().items()}
    state |= {"h.0.attn.bias": np.ones((1, 1, 64, 64)), "h.0.attn.masked_bias": np.float32(-1e4)}
    config = {**model.config.to_dict(), "architectures": ["GPT2LMHeadModel"]}
    want = logits(model, x)
    check(zoo.huggingface.from_weights(config, state).call(x).numpy(), want)
    model = theirs("llama, linear")
    config = {**model.config.to_dict(), "architectures": ["LlamaForCausalLM"], "rope_theta": 100.0}
    config["rope_scaling"] = {"type": "linear", "factor": 3.0}
    del config["rope_parameters"]
    state = {k: v.numpy() for k, v in model.state_dict().items()}
    want = logits(model, x)
    check(zoo.huggingface.from_weights(config, state).call(x).numpy(), want)


@pytest.mark.parametrize("case", ["gpt2", "llama", "gemma 3", "mistral"])
def test_reading_in_pieces_with_a_cache_is_reading_at_once(case):
    model, x = theirs(case), ids(2, 12)
    mine = ours(model)
    mask = np.ones((2, 12), "int32")
    mask[1, :3] = 0

    def pieces(scope, x, mask):
        scope = scope.starting(mine.parameters)
        cache, out = 16, []
        for a, b in ((0, 5), (5, 6), (6, 12)):
            y, cache = mine.run(scope.shared("x"), x[:, a:b], mask[:, a:b], cache=cache)
            out.append(y)
        return mg.concat(out, axis=1)

    store = mg.Store()
    for path, value in mine.parameters.items():
        store.add(f"x/{path}", value)
    want = logits(model, x, attention_mask=torch.tensor(mask))
    check(store.bind(pieces, "numpy")(x, mask).numpy()[mask == 1], want[mask == 1])


def test_mistakes_are_named():
    config = {**theirs("llama").config.to_dict(), "architectures": ["LlamaForCausalLM"]}
    scaled = lambda **rope: zoo.huggingface.from_weights({**config, "rope_parameters": rope})
    with pytest.raises(FileFormatError, match="rope_type='spiral' is none of default, linear"):
        scaled(rope_type="spiral")
    with pytest.raises(FileFormatError, match="rope_type='yarn' needs factor, original_max"):
        scaled(rope_type="yarn")
    with pytest.raises(FileFormatError, match="high_freq_factor=1 must be above low_freq_factor=1"):
        scaled(**LLAMA_3 | dict(high_freq_factor=1, low_freq_factor=1))
    for value in (0, "a", float("nan"), True):
        with pytest.raises(FileFormatError, match=f"factor={value!r} must be a number above 0"):
            scaled(rope_type="linear", factor=value)
    with pytest.raises(FileFormatError, match="a head of 1,073,741,824 features is wider"):
        zoo.huggingface.from_weights({**config, "head_dim": 2**30}, {})
    with pytest.raises(UnsupportedModel, match="use_bidirectional_attention=True"):
        zoo.huggingface.from_weights({**config, "use_bidirectional_attention": True})
    gemma = {**theirs("gemma 3").config.to_dict(), "architectures": ["Gemma3ForCausalLM"]}
    with pytest.raises(FileFormatError, match="window: layer_types must give"):
        zoo.huggingface.from_weights({**gemma, "layer_types": ["full_attention"]})
    with pytest.raises(FileFormatError, match="sliding_window='no' must be at least 1"):
        zoo.huggingface.from_weights({**gemma, "sliding_window": "no"})
    sizes = dict(vocabulary=9, features=8, layers=2, heads=2, inner=8)
    with pytest.raises(ArgumentError, match="window has 3 entries for 2 layers"):
        mg.Store().bind(zoo.llama, "numpy", window=[1, 2, 3], **sizes)(ids(1, 2))
    with pytest.raises(ShapeError, match=r"integers \[batch, length\], got int32\[2\]"):
        mg.Store().bind(zoo.llama, "numpy", **sizes)(ids(2))
    with pytest.raises(ShapeError, match="5 tokens in a cache of 4"):
        mg.Store().bind(zoo.llama, "numpy", cache=4, **sizes)(ids(1, 5))
    small = dict(vocabulary=9, context=4, features=8, layers=1, heads=2)
    with pytest.raises(ShapeError, match="5 tokens, but the model has 4 positions"):
        mg.Store().bind(zoo.gpt2, "numpy", **small)(ids(1, 5))
