"""Recognised composites against PyTorch's own, on every engine; 16-bit floats; models."""

import math

import monograph as mg
import numpy as np
import pytest
from monograph import ops, transforms
from monograph.graph import Graph
from monograph.op import get
from monograph.rewrite import decompose
from monograph.testing.distance import distance
from monograph.testing.jobs import recorded
from monograph.testing.oracles import samples_of

torch = pytest.importorskip("torch", reason="the reference")
F = torch.nn.functional

last = {"axis": -1, "keepdims": True}


def softmax(x):
    e = mg.exp(x - mg.max(x, **last))
    return e / mg.sum(e, **last)


def centred(x):
    return x - mg.mean(x, **last)


def attention(q, k, v):
    q, k, v = (mg.permute_dims(x, (0, 2, 1, 3)) for x in (q, k, v))
    scores = q @ mg.matrix_transpose(k) / math.sqrt(q.shape[-1])
    seen = mg.arange(q.shape[2])[:, None] >= mg.arange(k.shape[2])[None]
    return mg.permute_dims(softmax(mg.where(seen, scores, -math.inf)) @ v, (0, 2, 1, 3))


def torch_attention(q, k, v):
    heads = [x.transpose(1, 2) for x in (q, k, v)]
    return F.scaled_dot_product_attention(*heads, is_causal=True).transpose(1, 2)


X, V = (4, 16), (16,)
# composite -> (by hand, PyTorch's own, shapes)
FORMS = {
    "softmax": (softmax, lambda x: F.softmax(x, -1), X),
    "log_softmax": (lambda x: mg.log(softmax(x)), lambda x: F.log_softmax(x, -1), X),
    "silu": (lambda x: x / (1.0 + mg.exp(-x)), F.silu, X),
    "gelu": (lambda x: 0.5 * x * ops.erfc(-x * math.sqrt(0.5)), F.gelu, X),
    "gelu by tanh": (
        lambda x: 0.5 * x * (1.0 + mg.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        lambda x: F.gelu(x, approximate="tanh"),
        X,
    ),
    "layer_norm": (
        lambda x, s, b: centred(x) / mg.sqrt(mg.mean(centred(x) ** 2, **last) + 1e-5) * s + b,
        lambda x, s, b: F.layer_norm(x, (16,), s, b, 1e-5),
        X, V, V,
    ),
    "rms_norm": (
        lambda x, s: x * ops.rsqrt(mg.mean(x * x, **last) + 1e-6) * s,
        lambda x, s: F.rms_norm(x, (16,), s, 1e-6),
        X, V,
    ),
    "attention": (attention, torch_attention, *[(2, 6, 3, 8)] * 3),
}  # fmt: skip


@pytest.mark.parametrize("engine", ["numpy", "xla", "torch"])
@pytest.mark.parametrize("what", FORMS)
def test_what_is_recognised_computes_what_pytorch_has(what, engine):
    fn, reference, *shapes = FORMS[what]
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s).astype("float32") for s in shapes]
    made = mg.trace(fn, *arrays).transform(transforms.composites)
    assert what.split()[0] in {n.op.name for n in made.nodes}
    got = made.compile(engine)(*arrays).numpy()
    want = reference(*map(torch.from_numpy, arrays)).numpy()
    assert distance(got, want, mg.float32) <= get(what.split()[0]).ulps


HALF = ("softmax", "log_softmax", "relu", "silu", "gelu", "layer_norm", "rms_norm", "attention")


@pytest.mark.parametrize("d", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", HALF)
def test_conversions_around_a_composite_go_into_it(name, d):
    for sample in samples_of(get(name), d):
        if not all(x.size for x in sample.operands):
            continue
        graph, _ = recorded(get(name), [sample])
        graph = transforms.simplify(Graph(graph.inputs, graph.outputs[:1], name=graph.name))
        apart = decompose(graph, lambda op: op.body is None)[0]
        again = apart.transform(transforms.composites).verify()
        assert again == graph, str(again)


@pytest.mark.parametrize("d", ["float16", "bfloat16", "float8_e4m3fn"])
def test_exact_passes_keep_the_bits_of_narrow_floats(d):
    d = mg.dtypes.dtype(d)
    x = np.arange(256, dtype="uint8").view("int8").astype("float32").astype(d.numpy)

    def fn(x):
        wide = ops.convert(ops.convert(x, dtype="float32"), dtype=x.dtype)
        if d.kind == "float8":
            return wide
        return (wide * 1.0 - 0.0) / 1.0 + (-0.0), ops.convert(ops.convert(x, dtype="bool"), dtype=d)

    graph = mg.trace(fn, x)
    made = graph.transform(transforms.DEFAULT).verify()
    for a, b in zip(*[mg.tree.leaves(g.compile("numpy")(x)) for g in (graph, made)]):
        assert a.numpy().tobytes() == b.numpy().tobytes()
