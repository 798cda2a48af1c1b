"""Generation against transformers' ``generate``: token for token, and what is drawn from."""

import functools

import monograph as mg
import monograph_zoo as zoo
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from monograph.errors import ArgumentError, StorageError
from monograph_zoo.sampling import Sampling

transformers = pytest.importorskip("transformers", reason="the reference is transformers")

ENGINES = ("xla", "torch")
VOCABULARY, STOP = 30, 2
SEEDS = {"gpt2": 1, "llama": 0}  # of weights that let some sequences end early

pytestmark = pytest.mark.usefixtures("one_thread")


@functools.cache
def model(kind):
    """A tiny one with weights so large that its words vary."""
    torch.manual_seed(SEEDS[kind])
    ends = dict(vocab_size=VOCABULARY, bos_token_id=1, eos_token_id=STOP, initializer_range=0.5)
    if kind == "gpt2":
        config = transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=64, **ends)
        return transformers.GPT2LMHeadModel(config).eval()
    config = transformers.LlamaConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, **ends,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


@functools.cache
def generator(kind, engine):
    return zoo.Generator(imported(kind), engine=engine)


@functools.cache
def imported(kind):
    theirs = model(kind)
    config = {**theirs.config.to_dict(), "architectures": [type(theirs).__name__]}
    weights = {k: v.numpy() for k, v in theirs.state_dict().items()}
    return zoo.huggingface.from_weights(config, weights)


def prompts(seed, rows=4):
    """Rows of different lengths, padded at the front."""
    rng = np.random.default_rng(seed)
    ids, mask = rng.integers(3, VOCABULARY, (rows, 7)), np.ones((rows, 7), "int64")
    mask[1, :3] = mask[2, :5] = 0
    return np.where(mask, ids, 0), mask


def reference(kind, ids, mask, **options):
    out = model(kind).generate(
        torch.tensor(ids), attention_mask=torch.tensor(mask), do_sample=False, pad_token_id=STOP,
        **options,
    )  # fmt: skip
    return out.numpy()


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_greedy_tokens_are_those_of_transformers(kind):
    ended = []
    for seed in range(3):
        ids, mask = prompts(seed)
        want = reference(kind, ids, mask, max_new_tokens=16)
        for engine in ENGINES:
            got = generator(kind, engine)(ids, 16, attention_mask=mask)
            np.testing.assert_array_equal(got, want)
        ended += list((want[:, 7:] == STOP).any(axis=1))
    assert any(ended) and not all(ended), "some sequences must end early, some not"


BEAMS = {
    "plain": ("gpt2", "xla", {}, {}),
    "early": ("gpt2", "torch", *({"early_stopping": True, "length_penalty": 0.0},) * 2),
    "two ends": ("gpt2", "torch", {"eos_token_id": [STOP, 5]}, {"stop": [STOP, 5]}),
    "grouped queries": ("llama", "torch", {}, {}),
    "long ones": ("llama", "xla", {"length_penalty": 2.0}, {"length_penalty": 2.0}),
}


@pytest.mark.parametrize("case", BEAMS)
def test_beams_are_those_of_transformers(case):
    kind, engine, theirs, ours = BEAMS[case]
    ended = []
    for seed in range(4):
        ids, mask = prompts(seed)
        want = reference(kind, ids, mask, max_new_tokens=10, num_beams=3, **theirs)
        got = generator(kind, engine)(ids, 10, attention_mask=mask, beams=3, **ours)
        np.testing.assert_array_equal(got, want)
        ended += list(np.isin(want[:, 7:], ours.get("stop", STOP)).any(axis=1))
    assert any(ended) or kind == "llama", "some must end early"


def test_more_steps_than_the_first_cache_had_room_for():
    """Another length of cache: other shapes, the same tokens."""
    ids, mask = prompts(5, 3)
    want = generator("llama", "numpy")(ids, 6, attention_mask=mask)
    for length in (13, 100):
        got = generator("llama", "numpy")(ids, 6, attention_mask=mask, cache_length=length)
        np.testing.assert_array_equal(got, want)


SCORES = st.lists(
    st.integers(-40, 40).map(lambda n: n / 8), min_size=4, max_size=12, unique=True
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    SCORES, st.one_of(st.none(), st.floats(0.25, 4.0)), st.one_of(st.none(), st.integers(1, 20)),
    st.one_of(st.none(), st.floats(0.05, 1.0)),
)  # fmt: skip
def test_what_is_drawn_from_is_what_transformers_draws_from(scores, temperature, top_k, top_p):
    """Probabilities after every option, against transformers' own processors in their order."""
    scores = np.array([scores, scores[::-1]], "float32")
    want = torch.tensor(scores)
    for value, processor in (
        (temperature, "TemperatureLogitsWarper"), (top_k, "TopKLogitsWarper"),
        (top_p, "TopPLogitsWarper"),
    ):  # fmt: skip
        if value is not None:
            want = getattr(transformers, processor)(value)(None, want)
    with mg.engine("numpy"):
        got = mg.softmax(Sampling(temperature, top_k, top_p).filtered(mg.tensor(scores))).numpy()
    np.testing.assert_allclose(got, torch.softmax(want, -1).numpy(), atol=1e-6)


def test_tokens_are_drawn_by_their_probabilities():
    """Frequencies of 4,000 first tokens: a chi-square below its 99.99th percentile."""
    gen, ids = generator("gpt2", "xla"), np.array([[4, 9, 7]])
    many = np.repeat(ids, 4000, axis=0)
    got = gen(many, 1, temperature=2.0, top_k=6, seed=3)[:, -1]
    with torch.no_grad():
        scores = model("gpt2")(torch.tensor(ids)).logits[:, -1]
    for processor in (transformers.TemperatureLogitsWarper(2.0), transformers.TopKLogitsWarper(6)):
        scores = processor(None, scores)
    expected = 4000 * torch.softmax(scores[0], -1).numpy()
    counts = np.bincount(got, minlength=VOCABULARY)
    assert not counts[expected == 0].any()
    kept = expected > 0
    assert ((counts - expected)[kept] ** 2 / expected[kept]).sum() < 25.7  # 5 degrees of freedom


def test_draws_are_the_same_on_every_engine_and_differ_by_seed():
    ids, mask = prompts(1)
    drawn = {
        (engine, seed): generator("llama", engine)(
            ids, 8, attention_mask=mask, temperature=1.5, top_p=0.9, seed=seed
        )
        for engine in ENGINES for seed in (0, 1)
    }  # fmt: skip
    for seed in (0, 1):
        np.testing.assert_array_equal(drawn["xla", seed], drawn["torch", seed])
    assert (drawn["xla", 0] != drawn["xla", 1]).any()
    assert len(np.unique(drawn["xla", 0][:, 7:])) > 4


def test_a_stream_tells_the_tokens_as_they_come():
    ids, mask = prompts(0)
    gen, told = generator("gpt2", "torch"), []
    whole = gen(ids, 16, attention_mask=mask, stream=told.append)
    np.testing.assert_array_equal(np.stack(told, axis=1), whole[:, 7:])
    first = next(gen.stream(ids, 16, attention_mask=mask))
    np.testing.assert_array_equal(first, whole[:, 7])


def test_steps_are_compiled_once():
    gen = zoo.Generator(imported("gpt2"), engine="xla")
    traced = []
    plain = gen._decoder
    gen._decoder = lambda *args, **kwargs: traced.append(1) or plain(*args, **kwargs)
    for length, new in ((3, 4), (9, 30), (16, 2)):
        gen(np.full((1, length), 7), new)
    assert len(traced) == 2, "one prefill, one step, for all lengths that round up alike"


def test_lists_of_different_lengths_and_a_model_of_ones_own():
    options = dict(vocabulary=20, context=40, features=8, layers=1, heads=2)
    store = mg.Store(seed=1)
    gen = zoo.Generator(functools.partial(zoo.gpt2, **options), store, "numpy")
    both = gen([[3, 4, 5], [6]], 3)
    assert both.dtype == np.int32 and both[1, :2].tolist() == [0, 0]
    np.testing.assert_array_equal(both[0], gen([[3, 4, 5]], 3)[0])
    np.testing.assert_array_equal(both[1, 2:], gen([[6]], 3)[0])


def test_all_mistakes_are_named_at_once():
    gen, ids = generator("gpt2", "xla"), np.array([[4, 5, 6]])
    with pytest.raises(ArgumentError) as e:
        gen(np.array([[4, 99, -1]]), 0, temperature=0.0, top_k=0, top_p=1.5, beams=2, stop=77)
    for words in (
        "tokens -1, 99 of the prompt are not in 0..29", "max_new_tokens=0 must be at least 1",
        "temperature=0.0 must be above 0", "top_k=0 must be at least 1",
        "top_p=1.5 must be above 0 and at most 1", "no temperature, top_k or top_p with them",
        "token 77 of stop or pad is not in 0..29",
    ):  # fmt: skip
        assert words in str(e.value)
    for words, call in (
        ("holds less than the prompt's 3 tokens and 5", lambda: gen(ids, 5, cache_length=7)),
        ("3 tokens and 62 new ones are more than the model's 64", lambda: gen(ids, 62)),
        ("at least one token, got shape", lambda: gen(np.zeros((2, 0), int))),
        ("ends in padding; pad at the front", lambda: gen(ids, attention_mask=[[1, 1, 0]])),
        ("must have the prompt's shape", lambda: gen(ids, attention_mask=[[1, 1]])),
        ("text, or integers", lambda: gen(np.ones((2, 2)))),
        ("text, or integers", lambda: gen(np.arange(3))),
        ("no stream with beams", lambda: gen(ids, beams=2, stream=print)),
        ("beams=0 must be at least 1", lambda: gen(ids, beams=0)),
        ("stop='no' must be a token or several", lambda: gen(ids, stop="no")),
        ("needs the store of its variables", lambda: zoo.Generator(zoo.gpt2)),
        ("only decoders with their head", lambda: zoo.Generator(zoo.bert, mg.Store())),
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=words):
            call()
    with pytest.raises(StorageError, match="read from no folder, so there is no tokenizer"):
        gen("Once")
    mine = zoo.Generator(functools.partial(zoo.gpt2, layers=1), mg.Store())
    with pytest.raises(ArgumentError, match="a prompt of text needs a tokenizer"):
        mine(["Once"])
