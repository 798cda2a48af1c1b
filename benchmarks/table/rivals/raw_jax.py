"""The models by hand in JAX: functions of a dict of arrays, one jitted step, optax."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .. import cases
from ..cases import Program

DIMS = ("NHWC", "HWIO", "NHWC")


class Weights:
    """Arrays by path, and what a training step makes of the moving ones."""

    def __init__(self, arrays: dict[str, Any], training: bool):
        self.arrays, self.training = arrays, training
        self.moved: dict[str, Any] = {}

    def __getitem__(self, path: str) -> Any:
        return self.arrays[path]

    def __contains__(self, path: str) -> bool:
        return path in self.arrays

    def bias(self, at: str, x: Any) -> Any:
        return x + self[f"{at}/bias"] if f"{at}/bias" in self else x


def dense(w: Weights, at: str, x: Any) -> Any:
    return w.bias(at, x @ w[f"{at}/kernel"])


def conv(w: Weights, at: str, x: Any, strides: int = 1, padding: Any = "SAME") -> Any:
    kernel = w[f"{at}/kernel"]
    y = jax.lax.conv_general_dilated(x, kernel, (strides,) * 2, padding, dimension_numbers=DIMS)
    return w.bias(at, y)


def depthwise(kernel: Any, x: Any, strides: int = 1, padding: Any = "SAME") -> Any:
    kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    return jax.lax.conv_general_dilated(
        x, kernel, (strides,) * 2, padding, dimension_numbers=DIMS,
        feature_group_count=x.shape[-1],
    )  # fmt: skip


def batch_norm(w: Weights, at: str, x: Any, momentum: float = 0.99, epsilon: float = 1e-3) -> Any:
    mean, var = w[f"{at}/moving_mean"], w[f"{at}/moving_variance"]
    if w.training:
        old, (mean, var) = (mean, var), (jnp.mean(x, (0, 1, 2)), jnp.var(x, (0, 1, 2)))
        for kind, before, now in zip(("mean", "variance"), old, (mean, var)):
            now = jax.lax.stop_gradient(now)
            w.moved[f"{at}/moving_{kind}"] = before * momentum + now * (1 - momentum)
    return (x - mean) * (jax.lax.rsqrt(var + epsilon) * w[f"{at}/gamma"]) + w[f"{at}/beta"]


def layer_norm(w: Weights, at: str, x: Any, epsilon: float) -> Any:
    mean, var = jnp.mean(x, -1, keepdims=True), jnp.var(x, -1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(var + epsilon) * w[f"{at}/gamma"] + w[f"{at}/beta"]


def max_pool(x: Any, window: int, strides: int, padding: Any = "VALID") -> Any:
    shapes = (1, window, window, 1), (1, strides, strides, 1)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, *shapes, padding)


def mlp(w: Weights, x: Any) -> Any:
    for at in ("hidden0", "hidden1"):
        x = jax.nn.relu(dense(w, at, x))
    return dense(w, "logits", x)


def cnn(w: Weights, x: Any) -> Any:
    for i in range(3):
        x = jax.nn.relu(batch_norm(w, f"norm{i}", conv(w, f"conv{i}", x)))
        x = max_pool(x, 2, 2) if i < 2 else x
    return dense(w, "logits", x.mean((1, 2)))


def mobilenet(w: Weights, x: Any) -> Any:
    low = ((0, 1), (0, 1))  # Keras's padding where it halves

    def normed(at: str, x: Any) -> Any:
        return jnp.clip(batch_norm(w, f"{at}_bn", x), 0, 6)

    x = normed("conv1", conv(w, "conv1", x, 2, low))
    for i in range(1, 14):
        strides = 2 if i in (2, 4, 6, 12) else 1
        kernel = w[f"conv_dw_{i}/kernel"]
        x = depthwise(kernel, x, strides, low if strides == 2 else "SAME")
        x = normed(f"conv_pw_{i}", conv(w, f"conv_pw_{i}", normed(f"conv_dw_{i}", x)))
    return conv(w, "conv_preds", x.mean((1, 2), keepdims=True)).reshape(len(x), -1)


def xception(w: Weights, x: Any) -> Any:
    def normed(at: str, x: Any, *how: Any) -> Any:
        return batch_norm(w, f"{at}_bn", conv(w, at, x, *how))

    def separable(at: str, x: Any) -> Any:
        x = depthwise(w[f"{at}/depthwise_kernel"], x)
        x = jax.lax.conv_general_dilated(
            x, w[f"{at}/pointwise_kernel"], (1, 1), "SAME", dimension_numbers=DIMS
        )
        return batch_norm(w, f"{at}_bn", x)

    def shrunk(block: int, x: Any) -> Any:
        y = x if block == 2 else jax.nn.relu(x)
        y = separable(f"block{block}_sepconv1", y)
        y = separable(f"block{block}_sepconv2", jax.nn.relu(y))
        return max_pool(y, 3, 2, "SAME") + normed(f"block{block}_shortcut", x, 2)

    x = jax.nn.relu(normed("block1_conv1", x, 2, "VALID"))
    x = jax.nn.relu(normed("block1_conv2", x, 1, "VALID"))
    for block in (2, 3, 4):
        x = shrunk(block, x)
    for block in range(5, 13):
        y = x
        for i in (1, 2, 3):
            y = separable(f"block{block}_sepconv{i}", jax.nn.relu(y))
        x = x + y
    x = shrunk(13, x)
    for i in (1, 2):
        x = jax.nn.relu(separable(f"block14_sepconv{i}", x))
    return dense(w, "predictions", x.mean((1, 2)))


def resnet50(w: Weights, x: Any) -> Any:
    def unit(at: str, x: Any, strides: int = 1, edge: int = 0) -> Any:
        y = conv(w, f"{at}/conv", x, strides, ((edge, edge),) * 2)
        return batch_norm(w, f"{at}/norm", y, 0.9, 1e-5)

    x = jax.nn.relu(unit("stem", x, 2, 3))
    x = max_pool(x, 3, 2, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        for i in range(1, blocks + 1):
            at, strides = f"stage{stage}/block{i}", 2 if stage > 1 and i == 1 else 1
            y = jax.nn.relu(unit(f"{at}/layer1", x))
            y = jax.nn.relu(unit(f"{at}/layer2", y, strides, 1))
            y = unit(f"{at}/layer3", y)
            x = jax.nn.relu(y + (unit(f"{at}/shortcut", x, strides) if i == 1 else x))
    return dense(w, "logits", x.mean((1, 2)))


def attention(w: Weights, at: str, x: Any) -> Any:
    q, k, v = (
        jnp.einsum("btf,fhd->bthd", x, w[f"{at}/{n}/kernel"]) + w[f"{at}/{n}/bias"]
        for n in ("query", "key", "value")
    )
    y = jax.nn.dot_product_attention(q, k, v)
    out = f"{at}/attention_output"
    return jnp.einsum("bthd,hdf->btf", y, w[f"{out}/kernel"]) + w[f"{out}/bias"]


def gelu(x: Any) -> Any:
    return jax.nn.gelu(x, approximate=False)


def vit(w: Weights, x: Any) -> Any:
    start = "vit/embeddings"
    x = conv(w, f"{start}/patch_embeddings/projection", x, 16, "VALID")
    x = x.reshape(len(x), -1, x.shape[-1])
    first = jnp.broadcast_to(w[f"{start}/cls_token"], (len(x), 1, x.shape[-1]))
    x = jnp.concatenate([first, x], 1) + w[f"{start}/position_embeddings"]
    for i in range(cases.VIT["layers"]):
        at = f"vit/encoder/layer/{i}"
        y = layer_norm(w, f"{at}/layernorm_before", x, 1e-12)
        x = x + attention(w, f"{at}/attention/attention", y)
        y = layer_norm(w, f"{at}/layernorm_after", x, 1e-12)
        y = gelu(dense(w, f"{at}/intermediate/dense", y))
        x = x + dense(w, f"{at}/output/dense", y)
    return dense(w, "classifier", layer_norm(w, "vit/layernorm", x, 1e-12)[:, 0])


def bert(w: Weights, ids: Any) -> Any:
    start = "bert/embeddings"
    x = w[f"{start}/word_embeddings/embeddings"][ids]
    x = x + w[f"{start}/token_type_embeddings/embeddings"][0]
    x = x + w[f"{start}/position_embeddings/embeddings"][: ids.shape[1]]
    x = layer_norm(w, f"{start}/LayerNorm", x, 1e-12)
    for i in range(cases.BERT["layers"]):
        at = f"bert/encoder/layer/{i}"
        y = attention(w, f"{at}/attention/self", x)
        x = layer_norm(w, f"{at}/attention/output/LayerNorm", x + y, 1e-12)
        y = dense(w, f"{at}/output/dense", gelu(dense(w, f"{at}/intermediate/dense", x)))
        x = layer_norm(w, f"{at}/output/LayerNorm", x + y, 1e-12)
    return dense(w, "classifier", jnp.tanh(dense(w, "bert/pooler/dense", x[:, 0])))


def gpt(w: Weights, ids: Any, cache: Any, position: Any) -> tuple[Any, Any]:
    """Scores of the next token, and the cache ``[layer][keys, values]`` with these ``ids``."""
    length, heads = ids.shape[1], cases.GPT["heads"]
    places = position + jnp.arange(length)
    words = w["embedding/embeddings"]
    x, new = words[ids] + w["positions/embeddings"][places], []
    seen = jnp.arange(cache[0][0].shape[1]) <= places[:, None]  # [length, keys]
    for i, held in enumerate(cache, start=1):
        at = f"block{i}"
        qkv = dense(w, f"{at}/attention/qkv", layer_norm(w, f"{at}/attention_norm", x, 1e-5))
        q, *kv = (a.reshape(*a.shape[:2], heads, -1) for a in jnp.split(qkv, 3, -1))
        put = functools.partial(jax.lax.dynamic_update_slice, start_indices=(0, position, 0, 0))
        k, v = (put(old, part) for old, part in zip(held, kv))
        y = jax.nn.dot_product_attention(q, k, v, mask=seen)
        x = x + dense(w, f"{at}/attention/output", y.reshape(x.shape))
        y = dense(w, f"{at}/feed_forward/up", layer_norm(w, f"{at}/feed_forward_norm", x, 1e-5))
        x = x + dense(w, f"{at}/feed_forward/down", jax.nn.gelu(y))
        new.append((k, v))
    return layer_norm(w, "norm", x[:, -1], 1e-5) @ words.T, new


def lstm(w: Weights, x: Any) -> Any:
    units = cases.LSTM["units"]
    x = x.swapaxes(0, 1)
    for i in range(cases.LSTM["layers"]):
        at = f"lstm{i}"
        recurrent = w[f"{at}/recurrent_kernel"]

        def advance(state: Any, z: Any, recurrent: Any = recurrent) -> Any:
            h, c = state
            i, f, g, o = jnp.split(z + h @ recurrent, 4, 1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zeros = jnp.zeros((x.shape[1], units))
        _, x = jax.lax.scan(advance, (zeros, zeros), dense(w, at, x))
    return dense(w, "logits", x[-1])


def gnn(w: Weights, graph: Any) -> Any:
    def layer(at: str, x: Any) -> Any:
        # the narrower of input and output is what goes along the edges
        y = x @ w[f"{at}/neighbor/kernel"]
        y = jax.ops.segment_sum(
            y[graph["senders"]], graph["receivers"], len(x), indices_are_sorted=True
        )
        return y + w[f"{at}/neighbor/bias"] + x @ w[f"{at}/root/kernel"]

    return layer("conv1", jax.nn.relu(layer("conv0", graph["x"])))


MODELS: dict[str, Callable] = {
    f.__name__: f for f in (mlp, cnn, mobilenet, xception, resnet50, vit, bert, gpt, lstm, gnn)
}


def optimizer(kind: str) -> optax.GradientTransformation:
    if kind == "sgd":
        return optax.sgd(cases.SGD["rate"], cases.SGD["momentum"])
    a = cases.ADAM
    return optax.adam(a["rate"], a["b1"], a["b2"], a["epsilon"])


def cross_entropy(logits: Any, labels: Any) -> Any:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def build(name: str, mode: str, weights: dict[str, np.ndarray]) -> Program:
    case, model = cases.CASES[name], MODELS[name]
    x, labels = jax.device_put(case.batch(mode))
    arrays = {path: jnp.array(value) for path, value in weights.items()}
    if name == "gpt":
        return generation(arrays, x)
    if mode == "inference":
        call = jax.jit(lambda arrays, x: model(Weights(arrays, False), x))
        return Program(lambda: call(arrays, x), np.asarray)

    update = optimizer(case.optimizer)
    moving = {p: arrays.pop(p) for p in list(arrays) if "/moving_" in p}

    @functools.partial(jax.jit, donate_argnums=0)
    def train(state: Any, x: Any, labels: Any) -> Any:
        params, moving, moments = state

        def loss(params: Any) -> Any:
            w = Weights({**params, **moving}, True)
            return cross_entropy(model(w, x), labels), w.moved

        (value, moved), grads = jax.value_and_grad(loss, has_aux=True)(params)
        changes, moments = update.update(grads, moments, params)
        return (optax.apply_updates(params, changes), moved, moments), value

    state = (arrays, moving, update.init(arrays))

    def step() -> Any:
        nonlocal state
        state, value = train(state, x, labels)
        return value

    return Program(step, np.asarray)


def generation(arrays: dict[str, Any], ids: Any) -> Program:
    heads, width = cases.GPT["heads"], cases.GPT["features"] // cases.GPT["heads"]
    shape = (1, cases.PROMPT + cases.NEW, heads, width)

    def decode(arrays: Any, ids: Any, cache: Any, position: Any) -> Any:
        y, cache = gpt(Weights(arrays, False), ids, cache, position)
        return jnp.argmax(y, -1)[:, None], y, cache, position + ids.shape[1]

    @jax.jit
    def begin(arrays: Any, ids: Any) -> Any:
        zeros = jnp.zeros(shape, jnp.float32)
        return decode(arrays, ids, [(zeros, zeros)] * cases.GPT["layers"], 0)

    go_on = jax.jit(decode, donate_argnums=2)

    def step() -> Any:
        token, y, cache, position = begin(arrays, ids)
        for _ in range(cases.NEW - 1):
            token, y, cache, position = go_on(arrays, token, cache, position)
        return y

    return Program(step, np.asarray)
