"""GPT-2 and four layers of Llama against transformers' at full size: random weights, both engines."""

import monograph_zoo as zoo
import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers", reason="the reference is transformers")

pytestmark = pytest.mark.usefixtures("one_thread")


def gpt2():
    """The published one's sizes: 124,439,808 parameters."""
    return transformers.GPT2LMHeadModel(transformers.GPT2Config())


def llama():
    """Four of the 22 layers of TinyLlama, with a quarter of its words: memory."""
    config = transformers.LlamaConfig(
        hidden_size=2048, intermediate_size=5632, num_hidden_layers=4, num_attention_heads=32,
        num_key_value_heads=4, vocab_size=8_000, initializer_range=0.03,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config)


@pytest.mark.parametrize("build, count", [(gpt2, 124_439_808), (llama, 208_947_200)])
def test_logits_are_those_of_transformers(build, count):
    torch.manual_seed(0)
    theirs = build().eval()
    assert theirs.num_parameters() == count
    config = {**theirs.config.to_dict(), "architectures": [type(theirs).__name__]}
    ids = np.random.default_rng(0).integers(0, config["vocab_size"], (2, 24)).astype("int32")
    with torch.no_grad():
        want = theirs(torch.tensor(ids)).logits.numpy()
    assert 0.3 < want.std() < 5 and np.abs(want).max() < 20
    weights = {name: value.numpy() for name, value in theirs.state_dict().items()}
    mine = zoo.huggingface.from_weights(config, weights)
    assert sum(value.size for value in mine.parameters.values()) == count
    for engine in ("torch", "xla"):
        got = mine.on(engine).call(ids).numpy()
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-4)
