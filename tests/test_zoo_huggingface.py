"""The zoo's models against transformers' on small configurations: results, gradients, training, folders."""

import monograph as mg
import monograph_zoo as zoo
import numpy as np
import pytest
import torch
from monograph_train import sgd
from monograph_zoo.architectures import ACTIVATIONS
from monograph_zoo.t5s import relative_buckets

transformers = pytest.importorskip("transformers", reason="the reference is transformers")
pytestmark = pytest.mark.usefixtures("one_thread")

ENGINES = ("xla", "torch")
RNG = np.random.default_rng(0)

BERT = dict(
    vocab_size=60, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24,
    max_position_embeddings=12, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
)  # fmt: skip
ROBERTA = {**BERT, "max_position_embeddings": 14, "pad_token_id": 3}
VIT = dict(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24, image_size=12,
    patch_size=4,
)  # fmt: skip
T5 = dict(
    vocab_size=60, d_model=16, d_kv=6, d_ff=24, num_layers=2, num_heads=3,
    relative_attention_num_buckets=8, relative_attention_max_distance=6, dropout_rate=0.0,
)  # fmt: skip
MOBILENET = dict(num_labels=5, classifier_dropout_prob=0.0)
RESNET = dict(embedding_size=8, hidden_sizes=[16, 24], depths=[2, 1], num_labels=5)

# the class in transformers, its configuration's class and what it is given, our inputs
MODELS = {
    "bert": ("BertModel", "BertConfig", BERT, "text"),
    "bert, words": ("BertForMaskedLM", "BertConfig", {**BERT, "hidden_act": "gelu_new"}, "text"),
    "bert, classes": (
        "BertForSequenceClassification", "BertConfig", {**BERT, "num_labels": 3, "hidden_act": "relu"},
        "text",
    ),
    "bert, tokens": ("BertForTokenClassification", "BertConfig", {**BERT, "num_labels": 3}, "text"),
    "bert, answers": ("BertForQuestionAnswering", "BertConfig", BERT, "text"),
    "roberta, words": ("RobertaForMaskedLM", "RobertaConfig", ROBERTA, "text"),
    "roberta, classes": ("XLMRobertaForSequenceClassification", "XLMRobertaConfig", ROBERTA, "text"),
    "vit": ("ViTModel", "ViTConfig", {**VIT, "pooler_output_size": 7}, "images"),
    "vit, classes": (
        "ViTForImageClassification", "ViTConfig", {**VIT, "num_labels": 3, "hidden_act": "quick_gelu"},
        "images",
    ),
    "t5": ("T5EncoderModel", "T5Config", T5, "text without types"),
    "t5, gated": (
        "T5EncoderModel", "T5Config", {**T5, "feed_forward_proj": "gated-gelu"}, "text without types",
    ),
    "resnet": ("ResNetForImageClassification", "ResNetConfig", RESNET, "images"),
    "resnet, basic": (
        "ResNetForImageClassification", "ResNetConfig", {**RESNET, "layer_type": "basic"}, "images",
    ),
    "mobilenet v1": (
        "MobileNetV1ForImageClassification", "MobileNetV1Config", {**MOBILENET, "depth_multiplier": 0.25},
        "larger images",
    ),
    "mobilenet v1, symmetric": (
        "MobileNetV1ForImageClassification", "MobileNetV1Config",
        {**MOBILENET, "depth_multiplier": 0.5, "tf_padding": False}, "larger images",
    ),
    "mobilenet": (
        "MobileNetV2ForImageClassification", "MobileNetV2Config", {**MOBILENET, "depth_multiplier": 0.25},
        "larger images",
    ),
    "mobilenet, symmetric": (
        "MobileNetV2ForImageClassification", "MobileNetV2Config",
        {**MOBILENET, "depth_multiplier": 1.3, "tf_padding": False}, "larger images",
    ),
}  # fmt: skip

# every part of every model once: what the others have besides is compared in its results
TRAINED = (
    "bert",
    "bert, words",
    "roberta, words",
    "vit, classes",
    "t5, gated",
    "resnet",
    "mobilenet",
)


def theirs(what):
    """Their model with random numbers everywhere, so that nothing can be left out."""
    name, config, options, _ = MODELS[what]
    torch.manual_seed(0)
    model = getattr(transformers, name)(getattr(transformers, config)(**options)).eval()
    model.config.architectures = [name]
    gen = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=gen) * 0.1)
        for b, n in ((b, n) for n, b in model.named_buffers() if "running" in n):
            b.uniform_(0.5, 2.0, generator=gen) if "var" in n else b.normal_(0, 0.2, generator=gen)
    return model


def inputs(what):
    """Ours by name: whole, and for the first model of a kind with nothing that may be left out."""
    kind = MODELS[what][3]
    if "images" in kind:
        n = 45 if "larger" in kind else 12
        return [{"pixel_values": RNG.normal(size=(2, n, n, 3)).astype("float32")}]
    ids, types = RNG.integers(0, 60, (3, 9)), RNG.integers(0, 2, (3, 9))
    mask = (np.arange(9) < np.array([[9], [4], [1]])).astype(int)
    mask[0, 2:5] = 0
    ids[:, -1] = 3  # RoBERTa's padding, whose embeddings have no gradient
    whole = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    if "without types" in kind:
        whole.pop("token_type_ids")
    return [whole] if "," in what else [whole, {"input_ids": ids[:, :5]}]


def in_torch(named):
    return {
        n: torch.tensor(x).movedim(-1, 1) if n == "pixel_values" else torch.tensor(x)
        for n, x in named.items()
    }


def results(out):
    """Arrays by their names in transformers, of theirs or ours."""
    if isinstance(out, mg.Array):
        return {"": out}
    return {k: v for k, v in out.items() if v is not None and not isinstance(v, tuple)}


def by_ours(model, state):
    """Their arrays, such as gradients, by our paths."""
    return zoo.huggingface.from_weights(model.config.to_dict(), state).parameters


def gradients(model):
    """A state dict of gradients; batch statistics, which have none, are as they are."""
    found = {n: p.grad for n, p in model.named_parameters(remove_duplicate=False)}
    return {n: v if found.get(n) is None else found[n] for n, v in model.state_dict().items()}


@pytest.mark.parametrize("what", MODELS)
def test_results_are_theirs_and_folders_lead_there_and_back(what, tmp_path):
    model = theirs(what)
    model.save_pretrained(tmp_path / "theirs")
    ours = mg.load(tmp_path / "theirs")
    zoo.save_pretrained(ours, tmp_path / "ours")
    again, seen = type(model).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(seen.values()), seen
    for named in inputs(what):
        with torch.no_grad():
            want, back = (results(m(**in_torch(named))) for m in (model, again.eval()))
        for engine in ENGINES:
            got = results(ours.on(engine).call(**named))
            assert len(got) == len(want) == len(ours.signature.outputs)
            for name in ours.signature.outputs:
                x, y = got.get(name, got.get("")), want[name]
                assert 0.01 < y.std() < 100
                np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=0, atol=1e-4)
        assert all(torch.equal(want[k], back[k]) for k in want), "what we wrote is what we read"


@pytest.mark.parametrize("what", TRAINED)
def test_gradients_and_five_steps_of_training_are_theirs(what):
    """Batch statistics and all: every gradient of the first step, every variable after five.

    Of MobileNet with the statistics that are kept: of 52 layers that each divide by the deviation of a
    few numbers no gradient is left that float32 can tell.
    """
    training = what != "mobilenet"
    model = theirs(what).train(training)
    config, named = model.config.to_dict(), inputs(what)[0]
    first = {k: v.clone() for k, v in model.state_dict().items()}
    weights = {k: torch.randn(y.shape) for k, y in results(model(**in_torch(named))).items()}
    model.load_state_dict(first)  # that call moved statistics
    rate, want_grads = 0.01, None
    update = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    for _ in range(5):
        update.zero_grad()
        ys = results(model(**in_torch(named)))
        sum((y * weights[k]).mean() for k, y in ys.items()).backward()
        if want_grads is None:
            want_grads = by_ours(model, gradients(model))
        update.step()
    want = by_ours(model, model.state_dict())

    def train(scope, imported, step, scales, named):
        def loss():
            ys = results(imported.model(scope, **named)).values()
            return sum(mg.mean(y * s) for y, s in zip(ys, scales))

        grads = scope.value_and_grad(loss)()[1]
        step(scope, grads)
        return grads

    for engine in ENGINES if training else ["torch"]:  # XLA compiles 52 layers for long
        ours = zoo.huggingface.from_weights(config, first).with_options(training=training)
        store, step = mg.Store(), sgd(rate, momentum=0.9)
        call = store.bind(lambda scope, *args: train(scope, ours, step, *args), engine)  # noqa: B023
        args = [w.numpy() for w in weights.values()], named
        for path, g in call(*args).items():
            np.testing.assert_allclose(
                g.numpy(), want_grads[path], rtol=1e-3, atol=1e-5, err_msg=path
            )
        for _ in range(4):
            call(*args)
        for path, value in want.items():
            np.testing.assert_allclose(store[path].numpy(), value, rtol=0, atol=1e-4, err_msg=path)
        assert max(np.abs(want[p] - v).max() for p, v in ours.parameters.items()) > 1e-3, "it moved"


@pytest.mark.parametrize("buckets, farthest", [(32, 128), (8, 6), (64, 300)])
def test_distances_fall_into_t5s_buckets(buckets, farthest):
    theirs = transformers.models.t5.modeling_t5.T5Attention._relative_position_bucket
    ahead = torch.arange(700)[None, :] - torch.arange(650)[:, None]
    want = theirs(ahead, num_buckets=buckets, max_distance=farthest).numpy()
    assert (relative_buckets(650, 700, buckets, farthest) == want).all()


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_are_those_of_the_same_names(name):
    x = np.linspace(-8, 8, 101, dtype="float32")
    want = transformers.activations.ACT2FN[name](torch.tensor(x)).numpy()
    got = mg.jit(ACTIVATIONS[name]).on("numpy")(x).numpy()
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
