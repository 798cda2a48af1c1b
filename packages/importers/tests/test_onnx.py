"""ONNX models against onnxruntime and PyTorch: values, gradients, names, control flow, sizes that differ."""

import monograph as mg
import numpy as np
import pytest
from monograph.errors import ArgumentError, MonographError, NonFinite

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
torch = pytest.importorskip("torch")
from onnx import helper as h, numpy_helper, parser  # noqa: E402

ENGINES = ["numpy", "xla", "torch"]


class Graph:
    """A model under construction: ``g("Conv", x, "conv.weight", pads=[1] * 4)`` gives the result's name."""

    def __init__(self, weights, opset=21):
        self.nodes, self.inits, self.opset = [], dict(weights), opset

    def __call__(self, op, *inputs, name="", **attributes):
        names = []
        for x in inputs:
            if isinstance(x, (np.ndarray, list)):
                key = f"const_{len(self.inits)}"
                self.inits[key], x = np.asarray(x), key
            names.append(x)
        out = f"{op}_{len(self.nodes)}"
        self.nodes.append(h.make_node(op, names, [out], name=name or f"/{out}", **attributes))
        return out

    def model(self, inputs, *outputs, functions=()):
        graph = h.make_graph(
            self.nodes, "main", [h.make_tensor_value_info(*i) for i in inputs],
            [h.make_tensor_value_info(o, k, None) for o, k in outputs],
            [numpy_helper.from_array(a, n) for n, a in self.inits.items()],
        )  # fmt: skip
        return h.make_model(graph, opset_imports=[h.make_opsetid("", self.opset)], ir_version=10)


class Cnn(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.c1 = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.bn = torch.nn.BatchNorm2d(8)
        self.c2 = torch.nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.out = torch.nn.Linear(8, 5)
        with torch.no_grad():
            self.bn.running_mean.normal_()
            self.bn.running_var.uniform_(0.5, 2)

    def forward(self, x):
        x = torch.relu(self.bn(self.c1(x)))
        x = torch.nn.functional.max_pool2d(x, 3, 2, 1, ceil_mode=True)
        return self.out(torch.nn.functional.hardswish(self.c2(x)).mean((2, 3)))


def weights_of(module):
    return {k: v.detach().numpy().copy() for k, v in module.state_dict().items() if v.ndim}


def cnn():
    torch.manual_seed(0)
    module = Cnn().eval()
    g = Graph(weights_of(module))
    x = g("Conv", "x", "c1.weight", "c1.bias", strides=[2, 2], auto_pad="NOTSET", pads=[1] * 4)
    bn = ["bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"]
    x = g("Relu", g("BatchNormalization", x, *bn, epsilon=1e-5))
    x = g("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, ceil_mode=1)
    x = g("HardSwish", g("Conv", x, "c2.weight", "c2.bias", pads=[1] * 4, group=4))
    x = g("Flatten", g("GlobalAveragePool", x))
    y = g("Gemm", x, "out.weight", "out.bias", transB=1)
    return module, g.model([("x", 1, ["batch", 3, "height", "width"])], (y, 1))


class Transformer(torch.nn.Module):
    def __init__(self, d=16, heads=4, words=20):
        super().__init__()
        self.d, self.heads = d, heads
        self.embed = torch.nn.Embedding(words, d)
        self.position = torch.nn.Parameter(torch.randn(12, d))
        self.norm, self.qkv = torch.nn.LayerNorm(d), torch.nn.Linear(d, 3 * d)
        self.proj, self.up, self.down = (
            torch.nn.Linear(*s) for s in ((d, d), (d, 2 * d), (2 * d, d))
        )
        self.last = torch.nn.LayerNorm(d)

    def forward(self, ids):
        b, s = ids.shape
        x = self.embed(ids) + self.position[:s]
        q, k, v = self.qkv(self.norm(x)).reshape(b, s, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        x = x + self.proj(
            torch.nn.functional.scaled_dot_product_attention(q, k, v)
            .transpose(1, 2)
            .reshape(b, s, self.d)
        )
        x = x + self.down(torch.nn.functional.gelu(self.up(x)))
        return self.last(x)[:, 0] @ self.embed.weight.T  # tied


def transformer(d=16, heads=4):
    """Written as exporters write it: shapes are computed of shapes."""
    torch.manual_seed(1)
    module = Transformer(d, heads)
    g = Graph(weights_of(module))
    g.inits["scale"] = np.float32(1 / np.sqrt(d / heads))
    b, s = (g("Gather", g("Shape", "ids"), np.array(i), axis=0) for i in (0, 1))
    row = lambda n: g("Unsqueeze", n, [0])
    linear = lambda x, n: g("Add", g("MatMul", x, g("Transpose", f"{n}.weight")), f"{n}.bias")
    x = g("Add", g("Gather", "embed.weight", "ids"), g("Slice", "position", [0], row(s), [0]))
    n = g("LayerNormalization", x, "norm.weight", "norm.bias", axis=-1, epsilon=1e-5)
    shape = g("Concat", row(b), row(s), [3], [heads], [d // heads], axis=0)
    qkv = g("Transpose", g("Reshape", linear(n, "qkv"), shape), perm=[2, 0, 3, 1, 4])
    q, k, v = (g("Gather", qkv, np.array(i), axis=0) for i in range(3))
    scores = g("Mul", g("MatMul", q, g("Transpose", k, perm=[0, 1, 3, 2])), "scale")
    a = g("Transpose", g("MatMul", g("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
    x = g("Add", x, linear(g("Reshape", a, g("Concat", row(b), row(s), [-1], axis=0)), "proj"))
    x = g("Add", x, linear(g("Gelu", linear(x, "up")), "down"))
    x = g("LayerNormalization", x, "last.weight", "last.bias")
    y = g("MatMul", g("Gather", x, np.array(0), axis=1), g("Transpose", "embed.weight"))
    return module, g.model([("ids", 7, ["batch", "sequence"])], (y, 1))


RNG = np.random.default_rng(0)
MODELS = {
    "cnn": (cnn, lambda n: RNG.standard_normal((n, 3, 13 + 2 * n, 12)).astype("float32"), 5),
    "transformer": (transformer, lambda n: RNG.integers(0, 20, (n, 2 + n)), 20),
}


def theirs(model, *xs):
    session = ort.InferenceSession(model.SerializeToString())
    return session.run(None, dict(zip([i.name for i in session.get_inputs()], xs)))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("engine", ENGINES)
def test_values_are_onnxruntimes_for_sizes_that_differ(name, engine):
    make, draw, _ = MODELS[name]
    model = make()[1]
    imported = mg.load(model).on(engine)
    for n in (2, 5):
        x = draw(n)
        np.testing.assert_allclose(
            imported.call(x).numpy(), theirs(model, x)[0], rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("engine", ["xla", "torch"])
def test_fine_tuning_is_pytorchs(name, engine):
    make, draw, classes = MODELS[name]
    module, model = make()
    imported = mg.load(model)

    def step(scope, x, labels):
        def loss():
            return mg.mean(mg.cross_entropy(imported.model(scope / "body", x), labels))

        value, grads = scope.value_and_grad(loss)()
        for path, g in grads.items():
            scope.assign(path, scope.read(path) - 0.1 * g)
        return value

    store = mg.Store()
    call = store.bind(step, engine)
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    x, labels = draw(4), RNG.integers(0, classes, 4)
    for _ in range(5):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(module(torch.tensor(x)), torch.tensor(labels))
        loss.backward()
        optimizer.step()
        np.testing.assert_allclose(call(x, labels).item(), loss.item(), atol=1e-5)
    for key, value in weights_of(module).items():  # statistics too, which stay
        np.testing.assert_allclose(
            store[f"body/{key.replace('.', '/')}"].numpy(), value, atol=1e-5, err_msg=key
        )


def test_what_is_a_parameter_and_what_is_not():
    imported = mg.load(transformer()[1])
    assert {"embed/weight", "qkv/bias", "last/weight"} <= set(imported.parameters)
    assert not any("const" in p or p == "scale" for p in imported.parameters)
    assert str(imported.signature.inputs[0]) == "ids: int64[batch,sequence]"
    graph = imported.trace(batch=3, sequence=4)
    assert graph.input_specs[0].shape == (3, 4)
    stats = mg.load(cnn()[1])
    stats.call(MODELS["cnn"][1](1))
    trained = {p for p in stats.store if stats.store.slots[p].trainable}
    assert trained == set(stats.parameters) - {"bn/running_mean", "bn/running_var"}


def test_an_error_and_the_nan_guard_name_the_node(tmp_path):
    g = Graph({"layer1.w": np.ones((3, 4), "float32")})
    z = g("MatMul", "x", "layer1.w", name="/layer1/MatMul")
    y = g("Log", g("Sub", z, z, name="/layer1/Sub"), name="/head/Log")
    path = tmp_path / "m.onnx"
    path.write_bytes(g.model([("x", 1, ["n", "k"])], (y, 1)).SerializeToString())
    imported = mg.load(path)
    with pytest.raises(
        MonographError, match=r"m\.onnx:1: matmul: .* \(in MatMul, node '/layer1/MatMul'\)"
    ):
        imported.call(np.ones((2, 5), "float32"))
    with mg.nan_guard(), pytest.raises(NonFinite, match=r"m\.onnx:3") as e:
        imported.call(np.zeros((2, 3), "float32"))
    assert "head" in str(e.value)


def parsed(text, inits=()):
    model = parser.parse_model('<ir_version: 10, opset_import: ["" : 21, "own" : 1]>\n' + text)
    model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in inits)
    return model


BRANCHES = parsed("""
main (float[n] x) => (float[n] y) {
    zero = Constant <value = float {0.0}> ()
    total = ReduceSum <keepdims = 0> (x)
    positive = Greater (total, zero)
    y = If (positive) <then_branch = up () => (float[n] a) { a = Mul (x, x) },
                       else_branch = down () => (float[n] b) { b = Neg (x) }>
}""")
COUNTED = parsed("""
main (float[n] x) => (float[n] y, float[m, n] rows) {
    trips = Constant <value = int64 {100}> ()
    go = Constant <value = bool {1}> ()
    y, rows = Loop (trips, go, x) <body = turn (int64 i, bool c, float[n] s) => (bool d, float[n] t, float[n] r) {
        d = Identity (c)
        f = Cast <to = 1> (i)
        hundred = Constant <value = float {100.0}> ()
        part = Div (f, hundred)
        t = Add (s, part)
        r = Mul (t, s)
    }>
}""")
UNTIL = parsed("""
main (float[n] x) => (float[n] y) {
    many = Constant <value = int64 {1000000}> ()
    go = Constant <value = bool {1}> ()
    y = Loop (many, go, x) <body = turn (int64 i, bool c, float[n] s) => (bool d, float[n] t) {
        t = Add (s, s)
        most = ReduceMax <keepdims = 0> (t)
        ten = Constant <value = float {10.0}> ()
        d = Less (most, ten)
    }>
}""")
NEVER = parsed("""
main (float[n] x) => (float[n] y, float[m, n] rows) {
    trips = Constant <value = int64 {0}> ()
    y, rows = Loop (trips, "", x) <body = turn (int64 i, bool c, float[n] s) => (bool d, float[n] t, float[n] r) {
        d = Identity (c)
        t = Add (s, s)
        r = Mul (t, s)
    }>
}""")
GROWN = parsed("""
main (float[n] x) => (float[m] y) {
    many = Constant <value = int64 {9223372036854775807}> ()
    go = Constant <value = bool {1}> ()
    y = Loop (many, go, x) <body = turn (int64 i, bool c, float[k] s) => (bool d, float[l] t) {
        one = Constant <value = int64[1] {1}> ()
        end = Add (i, one)
        zero = Constant <value = int64[1] {0}> ()
        head = Slice (s, zero, end)
        t = Concat <axis = 0> (s, head)
        three = Constant <value = int64 {3}> ()
        d = Less (i, three)
    }>
}""")
SCANNED = parsed("""
main (float[k, n] x) => (float[n] last, float[k, n] sums) {
    zero = Constant <value = float {0.0}> ()
    shape = Shape <start = 1> (x)
    first = Expand (zero, shape)
    last, sums = Scan (first, x) <num_scan_inputs = 1, scan_input_directions = [1],
        body = turn (float[n] s, float[n] r) => (float[n] t, float[n] u) { t = Add (s, r)  u = Mul (t, t) }>
}""")
OWN = parsed("""
main (float[n] x) => (float[n] y) { z = own.Twice <by = 3.0> (x)  y = own.Twice <by = 0.5> (z) }
<domain: "own", opset_import: ["" : 21]>
Twice <by> (a) => (b) { c = Constant <value_float: float = @by> ()  d = Mul (a, c)  b = Add (d, a) }""")


@pytest.mark.parametrize(
    "model",
    [BRANCHES, COUNTED, UNTIL, GROWN, SCANNED, OWN],
    ids=["if", "for", "while", "grown", "scan", "function"],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_control_flow_and_functions(model, engine):
    imported = mg.load(model).on(engine)
    for scale in (1.0, -1.0):
        x = scale * np.linspace(0.5, 1.5, 3, dtype="float32")
        x = np.stack([x, 2 * x]) if model is SCANNED else x
        x = np.abs(x) if model is UNTIL else x
        out = imported.call(x)
        outs = out if isinstance(out, tuple) else (out,)
        for a, b in zip(outs, theirs(model, x), strict=True):
            np.testing.assert_allclose(a.numpy(), b, rtol=1e-5)


def test_a_loop_without_a_turn_gives_nothing_of_the_right_shape():
    x = np.ones(3, "float32")
    y, rows = mg.load(NEVER).call(x)  # onnxruntime says (0, 0)
    assert y.tolist() == x.tolist() and rows.shape == (0, 3)


def test_weights_in_branches_are_trained_and_transformed():
    model = parsed("""
main (float[2] x, bool up) => (float[2] y) {
    y = If (up) <then_branch = a () => (float[2] p) { w = Constant <value = float[2] {1.0, 2.0}> ()  p = Mul (x, w) },
                else_branch = b () => (float[2] q) { v = Constant <value = float[2] {3.0, 4.0}> ()  q = Mul (x, v) }>
}""")
    imported = mg.load(model)
    assert set(imported.parameters) == {"w", "v"}

    def f(scope, x, up):
        doubled = scope.mapped(lambda s, name, value: 2 * value)
        loss, grads = scope.value_and_grad(lambda: mg.sum(imported.model(doubled, x, up)))()
        return loss, grads

    loss, grads = mg.Store().bind(f)(np.ones(2, "float32"), np.array(False))
    assert loss.item() == 14 and grads["v"].tolist() == [2, 2] and grads["w"].tolist() == [0, 0]


@pytest.mark.parametrize("engine", ["xla", "torch"])
def test_gradients_go_through_control_flow(engine):
    for model, want in ((BRANCHES, lambda x: 2 * x), (SCANNED, None), (OWN, lambda x: 6 + 0 * x)):
        imported = mg.load(model)
        x = np.linspace(0.5, 1.5, 3, dtype="float32")
        x = np.stack([x, 2 * x]) if want is None else x

        def loss(v, imported=imported):
            out = imported.run(None, v)
            return mg.sum(out[1] if isinstance(out, tuple) else out)

        got = mg.jit(mg.grad(loss)).on(engine)(x).numpy()
        if want is None:
            v = torch.tensor(x, requires_grad=True)
            (torch.cumsum(v.flip(0), 0) ** 2).sum().backward()
            np.testing.assert_allclose(got, v.grad.numpy(), rtol=1e-5)
        else:
            np.testing.assert_allclose(got, want(x), rtol=1e-5)


def test_inputs_that_decide_shapes():
    g = Graph({"w": np.arange(6, dtype="float32")})
    y = g("Reshape", g("Mul", "x", "w"), g("Concat", "rows", [-1], axis=0))
    model = g.model([("x", 1, [6]), ("rows", 7, [1])], (y, 1))
    x = np.arange(6, dtype="float32")
    by_value = mg.load(model)
    assert not by_value.unsupported
    for rows in (2, 3):
        out = by_value.on("torch").call(x, rows=np.array([rows]))
        assert out.tolist() == (x * x).reshape(rows, -1).tolist()
    assert list(by_value.store) == ["w"]
    with pytest.raises(ArgumentError, match="rows is missing"):
        by_value.call(x)
    with pytest.raises(ArgumentError, match="'Concat_1' decides a shape and depends on data"):
        by_value.trace(mg.Spec((6,)), mg.Spec((1,), "int64"))
    fixed = mg.load(model, constants={"rows": [3]})
    assert [i.name for i in fixed.signature.inputs] == ["x"]
    assert fixed.call(x).shape == (3, 2)
    with pytest.raises(ArgumentError, match="has no input ids to give"):
        mg.load(model, constants={"ids": [3]})


def test_data_that_decides_a_shape_is_listed():
    g = Graph({})
    model = g.model([("x", 1, [2, 3])], (g("NonZero", "x"), 7))
    (lack,) = mg.load(model).unsupported
    assert "a shape depends on the data of the input 'x'" in str(lack)
    x = np.array([[0, 1, 2], [3, 0, 0]], "float32")
    assert mg.load(model, constants={"x": x}).call().tolist() == np.array(np.nonzero(x)).tolist()


def test_weights_of_four_bits():
    import ml_dtypes

    w = RNG.integers(-8, 8, (6, 5)).astype(ml_dtypes.int4)
    g = Graph(
        {
            "w": w,
            "scale": RNG.random((3, 5), dtype="float32"),
            "zero": RNG.integers(-8, 8, (3, 5)).astype(ml_dtypes.int4),
        }
    )
    y = g("MatMul", "x", g("DequantizeLinear", "w", "scale", "zero", axis=0, block_size=2))
    model = g.model([("x", 1, ["n", 6])], (y, 1))
    imported = mg.load(model)
    x = RNG.standard_normal((4, 6)).astype("float32")
    zero = np.repeat(g.inits["zero"].astype("float32"), 2, 0)
    want = x @ ((w.astype("float32") - zero) * np.repeat(g.inits["scale"], 2, 0))
    np.testing.assert_allclose(imported.call(x).numpy(), want, rtol=1e-4, atol=1e-5)
    assert list(imported.parameters) == ["scale"]
