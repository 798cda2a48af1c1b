"""Models of transformers at full size, random weights, through torch.export and a ``.pt2`` file.

One runs always; ``MONOGRAPH_FULL_SIZE=1`` runs them all (about two minutes and 4 GB).
"""

import os
import subprocess
import sys

import monograph as mg
import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", reason="the reference is transformers")

pytestmark = pytest.mark.usefixtures("one_thread")

ALWAYS = {"bert"}
IDS = {"input_ids": torch.tensor(np.random.default_rng(0).integers(0, 1000, (2, 16)))}
PIXELS = {
    "pixel_values": torch.tensor(
        np.random.default_rng(0).standard_normal((2, 3, 224, 224), "float32")
    )
}
LLAMA = {"num_hidden_layers": 4, "hidden_size": 1024, "intermediate_size": 2816, "num_attention_heads": 16, "num_key_value_heads": 4}  # fmt: skip

# a model, its configuration, inputs, and how many millions of numbers it has
MODELS = {
    "bert": ("BertModel", "BertConfig", {}, IDS, 109),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", {"use_cache": False}, IDS, 124),
    "llama": ("LlamaForCausalLM", "LlamaConfig", {"use_cache": False, **LLAMA}, IDS, 111),
    "resnet": ("ResNetForImageClassification", "ResNetConfig", {"num_labels": 1000}, PIXELS, 25),
    "vit": ("ViTForImageClassification", "ViTConfig", {"num_labels": 1000}, PIXELS, 86),
}


@pytest.mark.parametrize("name", MODELS)
def test_logits_at_full_size(name, tmp_path):
    if name not in ALWAYS and not os.environ.get("MONOGRAPH_FULL_SIZE"):
        pytest.skip("MONOGRAPH_FULL_SIZE=1 runs it")
    model, config, how, inputs, millions = MODELS[name]
    torch.manual_seed(0)
    module = getattr(transformers, model)(getattr(transformers, config)(**how)).eval()
    with torch.no_grad():
        want = next(iter(module(**inputs).values())).numpy()
    torch.export.save(torch.export.export(module, (), inputs), tmp_path / "model.pt2")
    imported = mg.load(tmp_path / "model.pt2")
    trained = sum(imported.parameters[p].size for p in _trainable(imported))
    assert trained // 10**6 == millions
    for engine in ("xla", "torch"):
        out = imported.on(engine).call(*[v.numpy() for v in inputs.values()])
        first = out[imported.signature.outputs[0]]
        np.testing.assert_allclose(np.asarray(first), want, rtol=0, atol=1e-4)
    _check_memory(tmp_path / "model.pt2", sum(a.nbytes for a in imported.parameters.values()))


def _trainable(imported):
    store = mg.Store()
    store.bind(imported.model).trace(*imported.signature.specs())
    return store.trainable


def _check_memory(path, weights):
    """Loading maps the file: the whole process stays within 1.2 times the weights."""
    if not os.path.exists("/proc/self/status"):
        return
    code = f"""
import re, monograph as mg
mg.load({str(path)!r})
print(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
"""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(run.stdout) * 1024 < 1.2 * weights
