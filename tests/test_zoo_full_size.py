"""Published sizes against transformers, on both engines: random weights, logits within 1e-4.

No weights are downloaded: configurations give the architecture, seeds the numbers.
"""

import monograph_zoo as zoo
import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers", reason="the reference is transformers")
pytestmark = pytest.mark.usefixtures("one_thread")

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(1, 224, 224, 3)).astype("float32")
WORDS = RNG.integers(0, 30_522, (1, 24)).astype("int32")

# the class in transformers, options of its configuration, trainable parameters, the input
MODELS = {
    "ResNet-50": ("ResNetForImageClassification", {"num_labels": 1000}, 25_557_032, IMAGE),
    "ViT-B/16": ("ViTForImageClassification", {"num_labels": 1000}, 86_567_656, IMAGE),
    "BERT-base": ("BertForMaskedLM", {}, 109_514_298, WORDS),
}


def theirs(name, options):
    """With normalisation and biases that are no identity, so that nothing can be left out."""
    torch.manual_seed(0)
    model = getattr(transformers, name)
    model = model(model.config_class(**options)).eval()
    model.config.architectures = [name]
    gen = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for m in model.modules():
            if isinstance(m, torch.nn.BatchNorm2d):
                m.weight.uniform_(0.2, 0.6, generator=gen)
                m.running_mean.normal_(0, 0.2, generator=gen)
                m.running_var.uniform_(0.5, 2.0, generator=gen)
            elif isinstance(m, torch.nn.LayerNorm):
                m.weight.uniform_(0.5, 1.5, generator=gen)
        for n, p in model.named_parameters():
            if n.endswith("bias"):
                p.normal_(0, 0.1, generator=gen)
    return model


@pytest.mark.parametrize("what", MODELS)
def test_logits_are_those_of_transformers(what):
    name, options, count, x = MODELS[what]
    model = theirs(name, options)
    with torch.no_grad():
        t = torch.tensor(x)
        want = model(t.movedim(-1, 1) if x.ndim == 4 else t.long()).logits.numpy()
    assert 0.1 < want.std() < 10 and np.abs(want).max() < 50
    ours = zoo.huggingface.from_weights(model.config.to_dict(), model.state_dict())
    for engine in ("torch", "xla"):
        # up to some fifty layers' float32 roundings
        np.testing.assert_allclose(ours.on(engine).call(x).numpy(), want, rtol=0, atol=1e-4)
    assert sum(ours.store.spec(path).size for path in ours.store.trainable) == count
