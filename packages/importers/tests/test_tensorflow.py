"""SavedModels of TensorFlow's own operations, which its compiler brings to StableHLO: ``nox -s tensorflow``."""

import os
import subprocess
import sys
from pathlib import Path

import monograph as mg
import numpy as np
import pytest
from monograph.errors import FileFormatError, UnsupportedModel
from monograph_importers import savedmodel

tf = pytest.importorskip("tensorflow", reason="it makes the models and compiles them")

BESIDE = Path(__file__).parent / "savedmodel"
ENGINES = "numpy", "xla"


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def taking(*specs):
    """A method as a graph with these inputs; without autograph, which rewrites Python."""
    return tf.function(
        input_signature=[tf.TensorSpec(s, d, name=n) for n, s, d in specs], autograph=False
    )


def saved(module, folder):
    tf.saved_model.save(module, str(folder), signatures=module.__call__)
    return mg.load(folder)


def close(got, want):
    assert got.keys() == want.keys()
    for name, y in want.items():
        np.testing.assert_allclose(got[name].numpy(), y.numpy(), rtol=1e-5, atol=1e-5)


def fresh(code, **more):
    """Run in a process of its own; what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, env={**os.environ, **more},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


class Network(tf.Module):
    """A convolution, a product, a branch and a loop."""

    def __init__(self):
        self.kernel = tf.Variable(numbers(3, 3, 2, 4), name="conv/kernel")
        self.bias = tf.Variable(numbers(4, seed=1), name="conv/bias")
        self.weight = tf.Variable(numbers(4, 3, seed=2), name="head/weight")
        self.turns = tf.Variable(3, name="turns", trainable=False)

    @taking(("image", (None, 8, 8, 2), tf.float32), ("double", (), tf.bool))
    def __call__(self, image, double):
        x = tf.nn.relu(tf.nn.conv2d(image, self.kernel, 1, "SAME") + self.bias)
        x = tf.reduce_mean(tf.nn.max_pool2d(x, 2, 2, "VALID"), (1, 2))
        x = tf.cond(double, lambda: 2 * x, lambda: x)
        more = lambda i, x: (i + 1, tf.tanh(x) + x)
        _, x = tf.while_loop(lambda i, x: i < self.turns, more, (tf.constant(0), x))
        return {"logits": x @ self.weight, "features": x}


def test_convolutions_branches_and_loops(tmp_path):
    made = Network()
    model = saved(made, tmp_path / "m")
    lacks = {u.op for u in savedmodel.load(tmp_path / "m", tensorflow=False).unsupported}
    assert {"Conv2D", "MatMul", "While", "Tanh"} <= lacks  # the last of them in the loop
    assert str(model.signature) == (
        "(double: bool[], image: float32[image0,8,8,2]) -> (features, logits)"
    )
    for engine in ENGINES:
        for n, double in ((1, True), (3, False), (3, True)):
            image = numbers(n, 8, 8, 2, seed=n)
            got = model.on(engine).call(image=image, double=np.array(double))
            close(got, made(image, tf.constant(double)))


def test_variables_have_their_names(tmp_path):
    made = Network()
    model = saved(made, tmp_path / "m")
    assert {n: a.shape for n, a in model.parameters.items()} == {
        "conv/kernel": (3, 3, 2, 4), "conv/bias": (4,), "head/weight": (4, 3), "turns": (),
    }  # fmt: skip
    np.testing.assert_array_equal(model.parameters["head/weight"], made.weight.numpy())
    model.call(np.array(True), numbers(1, 8, 8, 2))
    assert "turns" not in model.store.trainable and "conv/bias" in model.store.trainable


class Namesakes(tf.Module):
    """Variables of one name in a list and in a dict, one of no name, and a constant among them."""

    def __init__(self):
        self.parts = [tf.Variable(numbers(3, seed=n), name="part") for n in range(2)]
        self.constant = tf.constant(numbers(3, seed=5))
        self.table = {"scale": tf.Variable(2.0, name="part")}
        self.offset = tf.Variable(numbers(3, seed=6))

    @taking(("x", (None, 3), tf.float32))
    def __call__(self, x):
        y = x * self.parts[0] + self.parts[1] * self.constant
        return {"y": y * self.table["scale"] - self.offset}


def test_variables_of_one_name_go_by_their_places(tmp_path):
    made = Namesakes()
    model = saved(made, tmp_path / "m")
    assert sorted(model.parameters) == ["Variable", "parts/0", "parts/1", "table/scale"]
    for engine in ENGINES:
        close(model.on(engine).call(numbers(2, 3)), made(numbers(2, 3)))


class Counter(tf.Module):
    """It writes two of three variables, by turns that the program does not have in their order."""

    def __init__(self):
        self.scale = tf.Variable(2.0, name="scale")
        self.calls = tf.Variable(0.0, name="calls", trainable=False)
        self.mean = tf.Variable([1.0, 2.0, 3.0], name="mean", trainable=False)

    @taking(("x", (None, 3), tf.float32))
    def __call__(self, x):
        self.mean.assign(0.9 * self.mean + 0.1 * tf.reduce_mean(x, 0))
        self.calls.assign_add(1.0)
        return {"y": self.scale * x + self.calls - self.mean, "calls": self.calls + 0.0}


@pytest.mark.parametrize("engine", ENGINES)
def test_what_a_graph_assigns_is_assigned(engine, tmp_path):
    made = Counter()
    model = saved(made, tmp_path / "m").on(engine)
    lacks = savedmodel.load(tmp_path / "m", tensorflow=False).unsupported
    assert "AssignAddVariableOp" in {u.op for u in lacks}
    for n in range(3):
        close(model.call(numbers(2, 3, seed=n)), made(numbers(2, 3, seed=n)))
    assert model.store["calls"].numpy() == 3  # once a call, though there are two results
    np.testing.assert_allclose(model.store["mean"].numpy(), made.mean.numpy(), rtol=1e-6)
    assert model.store["scale"].numpy() == 2


class Classifier(tf.Module):
    def __init__(self):
        self.kernel = tf.Variable(numbers(3, 3, 1, 4), name="kernel")
        self.weight = tf.Variable(numbers(4, 3, seed=1), name="weight")

    @taking(("x", (None, 6, 6, 1), tf.float32))
    def __call__(self, x):
        x = tf.nn.gelu(tf.nn.conv2d(x, self.kernel, 2, "SAME"))
        return {"y": tf.nn.log_softmax(tf.reduce_max(x, (1, 2)) @ self.weight)}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_step_of_fine_tuning(engine, tmp_path):
    made, x = Classifier(), numbers(5, 6, 6, 1, seed=3)
    model = saved(made, tmp_path / "m")

    def step(scope, x):
        loss = lambda: -mg.mean(model.model(scope / "body", x)["y"][:, 0])
        return scope.value_and_grad(loss)()

    store = mg.Store()
    loss, slopes = store.bind(step, engine)(x)
    with tf.GradientTape() as tape:
        want = -tf.reduce_mean(made(x)["y"][:, 0])
    np.testing.assert_allclose(loss.numpy(), want.numpy(), rtol=1e-5)
    variables = [made.kernel, made.weight]
    for v, slope in zip(variables, tape.gradient(want, variables)):
        path = f"body/{v.name.removesuffix(':0')}"
        np.testing.assert_allclose(slopes[path].numpy(), slope.numpy(), rtol=1e-4, atol=1e-5)
        store[path] = store[path].numpy() - 0.1 * slopes[path].numpy()
        v.assign_sub(0.1 * slope)
    after, _ = store.bind(step, engine)(x)
    np.testing.assert_allclose(after.numpy(), -made(x)["y"].numpy()[:, 0].mean(), rtol=1e-5)
    assert after.numpy() < loss.numpy()


def test_it_is_written_and_read_again_without_tensorflow(tmp_path):
    made, x = Classifier(), numbers(2, 6, 6, 1)
    saved(made, tmp_path / "m").save(tmp_path / "m.monograph")
    np.save(tmp_path / "x.npy", x)
    code = """
        import sys, numpy as np, monograph as mg
        y = mg.load("m.monograph").on("numpy").call(np.load("x.npy"))["y"]
        assert "tensorflow" not in sys.modules
        np.save("y.npy", y.numpy())
    """
    fresh(f"import os; os.chdir({str(tmp_path)!r})\n" + code.replace("\n        ", "\n"))
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), made(x)["y"].numpy(), rtol=1e-5)


class Texts(tf.Module):
    """Operations that only TensorFlow's own kernels have, one of them in a branch."""

    @taking(("x", (None,), tf.float32))
    def __call__(self, x):
        text = tf.strings.as_string(tf.tanh(x))
        length = lambda: tf.cast(tf.strings.length(text), tf.float32)
        return {"y": tf.cond(x[0] > 0, length, lambda: tf.strings.to_number(text))}


def test_what_no_compiler_knows_is_listed_at_once(tmp_path):
    model = saved(Texts(), tmp_path / "texts")
    assert {u.op for u in model.unsupported} == {"AsString", "StringLength", "StringToNumber"}
    assert all(u.where.startswith("texts: ") for u in model.unsupported)
    with pytest.raises(
        UnsupportedModel, match=r"(?s)AsString.*StringLength|StringLength.*AsString"
    ):
        model.call(np.ones(2, "float32"))


class Narrow(tf.Module):
    """An image must have three rows at least, an example of two is none."""

    @taking(("x", (None, None, 4, 1), tf.float32))
    def __call__(self, x):
        return {"y": tf.nn.conv2d(x, numbers(3, 3, 1, 2), 1, "VALID")}


def test_lengths_that_the_model_does_not_take(tmp_path):
    made = Narrow()
    model = saved(made, tmp_path / "m")
    x = numbers(2, 5, 4, 1)
    close(model.call(x), made(x))
    with pytest.raises(
        FileFormatError, match=r"cannot compile 'serving_default' for shapes \(\(2, 2, 4, 1\)"
    ):
        model.call(x[:, :2])


class Several(tf.Module):
    @taking(("left", (None, 2), tf.float32), ("right", (2,), tf.int32))
    def add(self, left, right):
        return {"sum": left + tf.cast(right, tf.float32)}

    @taking(("x", (None,), tf.float64))
    def square(self, x):
        return {"y": x * x}


def test_signatures(tmp_path):
    made = Several()
    tf.saved_model.save(made, str(tmp_path / "m"), {"add": made.add, "square": made.square})
    left, right = numbers(3, 2), np.array([1, 2], "int32")
    model = mg.load(tmp_path / "m", signature="add")
    close(model.call(right=right, left=left), made.add(left, right))
    x = np.linspace(-1, 1, 5)
    close(mg.load(tmp_path / "m", signature="square").on("numpy").call(x), made.square(x))


def test_stablehlo_through_tensorflow_too():
    ours, theirs = mg.load(BESIDE / "model"), mg.load(BESIDE / "model", tensorflow=True)
    assert theirs.parameters.keys() == ours.parameters.keys()
    np.testing.assert_allclose(
        theirs.call(numbers(4, 3))["y"].numpy(), ours.call(numbers(4, 3))["y"].numpy(), rtol=1e-5
    )


def test_stablehlo_needs_no_tensorflow_where_there_is_one():
    code = f"import sys, monograph as mg; mg.load({str(BESIDE / 'model')!r}); print('tensorflow' in sys.modules)"
    assert fresh(code).strip() == "False"


def test_the_model_beside_is_made_by_the_program_beside(tmp_path):
    code = f"import runpy, sys; sys.argv[1:] = [{str(tmp_path / 'm')!r}]; runpy.run_path({str(BESIDE / 'make.py')!r})"
    fresh(code)
    new, old = mg.load(tmp_path / "m"), mg.load(BESIDE / "model")
    assert new.parameters.keys() == old.parameters.keys()
    close(new.call(numbers(2, 3)), old.call(numbers(2, 3)))


def layers_of(keras):
    """A model with what changes in training, shared by both generations of Keras."""
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Reshape((6, 24), name="rows")(x)
    x = keras.layers.LSTM(5, name="lstm")(x)
    return keras.Model(image, keras.layers.Dense(3, activation="softmax", name="head")(x))


def test_keras_2(tmp_path):
    keras = pytest.importorskip("tf_keras", reason="Keras 2, which writes SavedModels by itself")
    made = layers_of(keras)
    made.save(tmp_path / "m", save_format="tf")
    model = mg.load(tmp_path / "m")
    assert not model.unsupported
    assert {"conv/kernel", "norm/moving_mean", "head/bias"} <= model.parameters.keys()
    x = numbers(3, 8, 8, 1)
    for engine in ENGINES:
        (y,) = model.on(engine).call(x).values()
        np.testing.assert_allclose(y.numpy(), made(x).numpy(), rtol=1e-5, atol=1e-6)


def test_keras_3(tmp_path):
    """In a process where Keras has TensorFlow below it, whatever it has elsewhere."""
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import keras, numpy as np
from test_tensorflow import layers_of, numbers
made = layers_of(keras)
made.export({str(tmp_path / "m")!r}, verbose=False)
np.save({str(tmp_path / "y.npy")!r}, made(numbers(3, 8, 8, 1)))
"""
    fresh(code, KERAS_BACKEND="tensorflow")
    model = mg.load(tmp_path / "m")
    assert len(model.parameters) == 2 + 4 + 3 + 2
    (y,) = model.call(numbers(3, 8, 8, 1)).values()
    np.testing.assert_allclose(y.numpy(), np.load(tmp_path / "y.npy"), rtol=1e-5, atol=1e-6)
