"""Composites found again in what their bodies are made of, and in what people write by hand."""

import math

import monograph as mg
import numpy as np
import pytest
from monograph import ops, transforms
from monograph.graph import Graph
from monograph.op import get
from monograph.rewrite import decompose
from monograph.testing.jobs import recorded
from monograph.testing.oracles import samples_of

FOUND = ("softmax", "log_softmax", "relu", "silu", "gelu", "layer_norm", "rms_norm", "attention")


def names(graph):
    return [n.op.name for n in graph.nodes]


def primitive(graph):
    return decompose(graph, lambda op: op.body is None)[0]


CASES = [
    pytest.param(name, d, sample, id=f"{name}-{d}-{i}")
    for name in FOUND
    for d in ("float32", "float64")
    for i, sample in enumerate(samples_of(get(name), d))
    if all(x.size for x in sample.operands)
]


@pytest.mark.parametrize(("name", "d", "sample"), CASES)
def test_a_composite_taken_apart_is_put_together_again(name, d, sample):
    graph, _ = recorded(get(name), [sample])
    graph = transforms.simplify(Graph(graph.inputs, graph.outputs[:1], name=graph.name))
    apart = primitive(graph)
    assert name not in names(apart)
    again = apart.transform(transforms.composites).verify()
    assert again == graph, str(again)


# ---- by hand

last = {"axis": -1, "keepdims": True}
X, V, S = mg.Spec((3, 8), "float64"), mg.Spec((8,), "float64"), lambda *n: mg.Spec(n, "float64")


def softmax(x):
    e = mg.exp(x - mg.max(x, **last))
    return e / mg.sum(e, **last)


def logsumexp(x):
    top = mg.max(x, **last)
    return mg.log(mg.sum(mg.exp(x - top), **last)) + top


def mean(x):
    return mg.mean(x, **last)


def layer_norm(x, s, b):
    return (x - mean(x)) / mg.sqrt(mg.var(x, **last) + 1e-5) * s + b


def haiku_norm(x, s, b):
    inv = s * ops.rsqrt(mg.var(x, **last) + 1e-5)
    return inv * (x - mean(x)) + b


def heads(x):
    return mg.permute_dims(x, (0, 2, 1, 3))


def turned(x):
    return mg.matrix_transpose(x)


SMALL = {
    "softmax": (softmax, X),
    "softmax, nothing taken off": (lambda x: mg.exp(x) / mg.sum(mg.exp(x), **last), X),
    "softmax, jax.nn": (
        lambda x: (lambda e: e / mg.sum(e, axis=0))(
            mg.exp(x - mg.stop_gradient(mg.maximum(-math.inf, mg.max(x, axis=0, keepdims=True))))
        ),
        X,
    ),
    "log_softmax": (
        lambda x: (lambda s: s - mg.log(mg.sum(mg.exp(s), **last)))(x - mg.max(x, **last)), X,
    ),
    "log_softmax, nothing taken off": (lambda x: x - mg.log(mg.sum(mg.exp(x), **last)), X),
    "log_softmax, logsumexp": (lambda x: x - logsumexp(x), X),
    "log_softmax, log of softmax": (lambda x: mg.log(softmax(x)), X),
    "relu": (lambda x: mg.maximum(0.0, x), X),
    "silu": (lambda x: x / (1.0 + mg.exp(-x)), X),
    "silu, logistic": (lambda x: (1.0 / (mg.exp(-x) + 1.0)) * x, X),
    "gelu, torch": (lambda x: x * 0.5 * (1.0 + mg.erf(x / math.sqrt(2.0))), X),
    "gelu, outer half": (lambda x: 0.5 * (x * (1.0 + mg.erf(x * 0.70710678))), X),
    "gelu, spread out": (lambda x: x * (0.5 + 0.5 * mg.erf(x / 1.4142135)), X),
    "gelu, halved": (lambda x: (x / 2.0) * (mg.erf(0.7071067811 * x) + 1.0), X),
    "gelu, jax.nn": (lambda x: 0.5 * x * ops.erfc(-x * math.sqrt(0.5)), X),
    "gelu, tanh, torch": (
        lambda x: 0.5 * x * (1.0 + mg.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))), X,
    ),
    "gelu, tanh, jax.nn": (
        lambda x: x * (0.5 * (1.0 + mg.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))))),
        X,
    ),
    "gelu, tanh, factored": (
        lambda x: 0.5 * x * (1.0 + mg.tanh(x * 0.7978845608 * (1.0 + 0.044715 * x * x))), X,
    ),
    "layer_norm": (layer_norm, X, V, V),
    "layer_norm, rsqrt of a mean": (
        lambda x, s, b: (x - mean(x)) * ops.rsqrt(mean((x - mean(x)) ** 2) + 1e-5) * s + b, X, V, V,
    ),
    "layer_norm, haiku": (haiku_norm, X, V, V),
    "layer_norm, flax": (
        lambda x, s, b: (x - mean(x))
        * (ops.rsqrt(mg.maximum(0.0, mean(mg.square(x)) - mg.square(mean(x))) + 1e-6) * s) + b,
        X, V, V,
    ),
    "layer_norm, of images": (layer_norm, S(2, 3, 4, 8), V, V),
    "layer_norm, one row": (layer_norm, S(1, 8), V, V),
    "rms_norm": (lambda x, s: x * ops.rsqrt(mean(x * x) + 1e-6) * s, X, V),
    "rms_norm, divided": (lambda x, s: s * (x / mg.sqrt(mean(x**2) + 1e-6)), X, V),
    "rms_norm, a power": (lambda x, s: x * (mean(mg.square(x)) + 1e-6) ** -0.5 * s, X, V),
}  # fmt: skip


def arrays_for(graph):
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, 2, s.shape).astype(bool)
        if s.dtype.kind == "bool"
        else rng.normal(size=s.shape)
        for s in graph.input_specs
    ]


def same_numbers(graph, made):
    arrays = arrays_for(graph)
    want, got = (mg.tree.leaves(g.compile("numpy")(*arrays)) for g in (graph, made))
    for a, b in zip(want, got):
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("what", SMALL)
def test_what_people_write_is_one_composite(what):
    fn, *specs = SMALL[what]
    graph = mg.trace(fn, *specs)
    made = graph.transform(transforms.composites).verify()
    assert names(made) == [what.partition(",")[0]]
    assert made.nodes[0].attrs.get("approximate", False) == ("tanh" in what)
    same_numbers(graph, made)


BESIDE = {
    "gelu of a multiple": (lambda x: (lambda y: y * 0.5 * (1 + mg.erf(y / math.sqrt(2))))(x * 3.0), X),
    "gelu of a product": (lambda x, z: (lambda y: y * 0.5 * (1 + mg.erf(y / 2**0.5)))(x * z), X, X),
    "layer_norm without a scale": (lambda x: layer_norm(x, 1.0, 0.0), X),
    "layer_norm without a bias": (lambda x, s: layer_norm(x, s, 0.0), X, V),
    "rms_norm times 1 + s": (lambda x, s: x * ops.rsqrt(mean(x * x) + 1e-6) * (1.0 + s), X, V),
    "softmax of something": (lambda x: softmax(mg.sin(x)) * 2.0, X),
}  # fmt: skip


@pytest.mark.parametrize("what", BESIDE)
def test_composites_within_something_larger_are_found(what):
    fn, *specs = BESIDE[what]
    graph = mg.trace(fn, *specs)
    made = graph.transform(transforms.composites).verify()
    assert what.split()[0] in names(made) and not {"erf", "rsqrt", "sqrt", "exponential"} & set(
        names(made)
    )
    same_numbers(graph, made)


Q, K = S(2, 5, 4, 8), S(2, 6, 4, 8)
ATTENTION = {
    "heads third": (
        lambda q, k, v: mg.einsum(
            "bhqk,bkhd->bqhd", softmax(mg.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(8)), v
        ),
        Q, K, K,
    ),
    "heads second": (
        lambda q, k, v: softmax(q @ turned(k) * 8**-0.5) @ v, S(2, 4, 5, 8), S(2, 4, 6, 8), S(2, 4, 6, 3)
    ),
    "heads moved and back": (
        lambda q, k, v: heads(softmax(heads(q) @ turned(heads(k)) / 8**0.5) @ heads(v)), Q, K, K,
    ),
    "scaled query": (lambda q, k, v: softmax((q * 0.3) @ turned(k)) @ v, *[S(2, 4, 5, 8)] * 3),
    "added mask": (
        lambda q, k, v, m: softmax(q @ turned(k) * 0.3 + m) @ v, *[S(2, 4, 5, 8)] * 3, S(2, 1, 1, 5)
    ),
    "mask per query and key": (
        lambda q, k, v, m: softmax(m + q @ turned(k)) @ v, *[S(2, 4, 5, 8)] * 3, S(5, 5)
    ),
    "mask of heads": (
        lambda q, k, v, m: softmax(m[:, None] + q @ turned(k)) @ v, *[S(2, 4, 5, 8)] * 3, S(2, 5, 5)
    ),
    "causal by position": (
        lambda q, k, v: softmax(
            mg.where(mg.arange(5)[:, None] >= mg.arange(5)[None], q @ turned(k), -math.inf)
        ) @ v,
        *[S(2, 4, 5, 8)] * 3,
    ),
    "causal by a triangle": (
        lambda q, k, v: softmax(mg.where(np.tril(np.ones((5, 5), bool)), q @ turned(k), -1e9)) @ v,
        *[S(2, 4, 5, 8)] * 3,
    ),
    "no heads": (lambda q, k, v: softmax(q @ turned(k) * 0.2) @ v, S(4, 5, 8), S(4, 6, 8), S(4, 6, 3)),
    "no batch": (lambda q, k, v: softmax(q @ turned(k) * 0.2) @ v, S(5, 8), S(6, 8), S(6, 3)),
    "no batch, masked": (
        lambda q, k, v, m: softmax(q @ turned(k) * 0.2 + m) @ v, S(5, 8), S(6, 8), S(6, 3), S(5, 6)
    ),
    "heads in groups": (
        lambda q, k, v: softmax(q @ turned(mg.repeat(k, 3, axis=1)) * 0.2) @ mg.repeat(v, 3, axis=1),
        S(2, 6, 5, 8), S(2, 2, 7, 8), S(2, 2, 7, 3),
    ),
    "heads in groups, heads third": (
        lambda q, k, v: mg.einsum(
            "bhqk,bkhd->bqhd",
            softmax(mg.einsum("bqhd,bkhd->bhqk", q, mg.repeat(k, 2, axis=2))), mg.repeat(v, 2, axis=2),
        ),
        Q, S(2, 6, 2, 8), S(2, 6, 2, 3),
    ),
    "keys first": (
        lambda q, k, v: mg.einsum("bkq,bkd->bdq", turned(softmax(turned(k @ turned(q)))), v),
        S(4, 5, 8), S(4, 6, 8), S(4, 6, 3),
    ),
}  # fmt: skip


# the softmax of "keys first" is between two transposes, which layout takes away
AS_WRITTEN = [(what, ()) for what in ATTENTION if what != "keys first"]
LAYOUT_FIRST = [(what, transforms.layout) for what in ATTENTION]


@pytest.mark.parametrize(("what", "first"), AS_WRITTEN + LAYOUT_FIRST)
def test_attention_in_many_layouts(what, first):
    fn, *specs = ATTENTION[what]
    graph = mg.trace(fn, *specs)
    made = graph.transform(first, transforms.composites, transforms.layout).verify()
    left = set(names(made))
    assert "attention" in left
    assert left <= {"attention", "transpose", "reshape", "constant", "broadcast_in_dim"}
    (node,) = [n for n in made.nodes if n.op.name == "attention"]
    assert node.attrs["is_causal"] == ("causal" in what)
    assert len(node.inputs) == (4 if "mask" in what else 3)
    assert [x.shape[2] for x in node.inputs[1:3]] == [2, 2] or "groups" not in what
    same_numbers(graph, made)


def test_a_bool_mask_hides_what_it_says():
    fn = lambda q, k, v, m: softmax(mg.where(m, q @ turned(k), -1e30)) @ v
    graph = mg.trace(fn, *[S(2, 4, 5, 8)] * 3, mg.Spec((2, 1, 5, 5), "bool"))
    made = graph.transform(transforms.composites)
    assert "attention" in names(made)
    q, k, v, m = arrays_for(graph)
    m[..., 0] = True  # a query that sees nothing gets zeros, where a softmax averages over all
    np.testing.assert_allclose(*[g.compile("numpy")(q, k, v, m).numpy() for g in (graph, made)])


NEARLY = {
    "another constant": lambda x, y: 0.5 * x * (1.0 + mg.tanh(0.79 * (x + 0.044715 * x**3))),
    "two arrays": lambda x, y: 0.5 * y * (1.0 + mg.erf(x / math.sqrt(2.0))),
    "not halved": lambda x, y: x * (1.0 + mg.erf(x / math.sqrt(2.0))),
    "two plus": lambda x, y: 0.5 * x * (2.0 + mg.erf(x / math.sqrt(2.0))),
    "another sum": lambda x, y: mg.exp(x) / mg.sum(mg.exp(y), **last),
    "sum over another axis": lambda x, y: mg.exp(y) / mg.sum(mg.exp(x).T, axis=0, keepdims=True)[0, 0],
    "over everything": lambda x, y: mg.exp(x) / mg.sum(mg.exp(x)),
    "unbiased variance": lambda x, y: (x - mean(x)) / mg.sqrt(mg.var(x, correction=1, **last) + 1e-5),
    "another mean": lambda x, y: (x - mean(y)) / mg.sqrt(mg.var(x, **last) + 1e-5),
    "another mean, squared": lambda x, y: (x - mean(x))
    * ops.rsqrt(mean(x * x) - mean(y) * mean(y) + 1e1),
    "not centred": lambda x, y: x * ops.rsqrt(mean(x * x) - mean(x) * mean(x) + 1e-5),
    "normed along columns": lambda x, y: x / mg.sqrt(mg.mean(x * x, axis=0) + 1e-5),
    "columns of a square": lambda x, y: softmax(x @ x.T).T @ y,
}  # fmt: skip


@pytest.mark.parametrize("what", NEARLY)
def test_what_is_nearly_a_composite_is_none(what):
    graph = mg.trace(NEARLY[what], X, S(3, 8))
    made = graph.transform(transforms.composites)
    assert not set(FOUND) - {"softmax"} & set(names(made))
    same_numbers(graph, made)


def test_a_value_squared_again_and_again_is_not_taken_apart_into_all_its_factors():
    def squares(x):
        for _ in range(60):  # 2 ** 60 of them
            x = x * x
        return x

    graph = mg.trace(squares, S(3))
    assert graph.transform(transforms.composites) == graph


def test_the_unbiased_variance_of_long_rows_is_no_layer_norm():
    # 1 / (n - 1) and 1 / n agree in 4 digits, the results only in those too
    graph = mg.trace(NEARLY["unbiased variance"], S(2, 20_000), S(2, 20_000))
    assert "layer_norm" not in names(graph.transform(transforms.composites))
    graph = mg.trace(lambda x: layer_norm(x, 1.0, 0.0), S(2, 20_000))
    assert "layer_norm" in names(graph.transform(transforms.composites))


def test_gradients_of_what_was_recognised_are_those_of_what_was_written():
    def loss(fn):
        def of(x, s, b):
            y = mg.trace(fn, x, s, b).transform(transforms.composites)
            return mg.sum(mg.tracing.inline(y, [x, s, b])[0] ** 3)

        return of

    rng = np.random.default_rng(0)
    x, s, b = rng.normal(size=(3, 8)), rng.normal(size=8), rng.normal(size=8)
    for fn in (layer_norm, lambda x, s, b: softmax(x * s + b)):
        want = mg.grad(lambda *a, fn=fn: mg.sum(fn(*a) ** 3), (0, 1, 2))(x, s, b)
        got = mg.grad(loss(fn), (0, 1, 2))(x, s, b)
        for a, c in zip(want, got):
            np.testing.assert_allclose(c.numpy(), a.numpy(), rtol=1e-7, atol=1e-9)
