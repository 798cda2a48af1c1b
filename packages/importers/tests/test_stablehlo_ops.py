"""Operations of StableHLO, values against the interpreter that jaxlib brings."""

import monograph as mg
import numpy as np
import pytest

pytest.importorskip("jaxlib", reason="its parser and interpreter are used")
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo
from monograph_importers.stablehlo import imported, mlir
from monograph_importers.stablehlo.parse import parse


def ask(text, *args):
    """What jaxlib's interpreter says."""
    module = mlir.parsed(text.encode())
    with module.context, ir.Location.unknown():
        given = [ir.DenseElementsAttr.get(np.ascontiguousarray(x)) for x in args]
        return [np.array(x) for x in stablehlo.eval_module(module, given)]


def load(text):
    """Text of our own, read without the child process that files get."""
    return imported(parse(mlir.printed(mlir.parsed(text.encode())), "text"))


RNG = np.random.default_rng(0)
FLOATS = RNG.normal(size=(4, 6)).astype("float32")
INTEGERS = RNG.permutation(24).reshape(4, 6).astype("int32")
ROW = "tensor<6xf32>"
T = "tensor<4x6xf32>"
I = "tensor<4x6xi32>"  # noqa: E741


def region(arguments, body, result, kind="f32"):
    """A region of 0-d values as text."""
    named = ", ".join(f"%{a}: tensor<{kind}>" for a in arguments.split())
    return f"({{ ^bb0({named}): {body} \n stablehlo.return {result} : tensor<{kind}> }})"


# the sum of magnitudes: associative, and no operation that is known by name
ODD = "%m = stablehlo.abs %a : tensor<f32> \n %n = stablehlo.abs %b : tensor<f32> \n %r = stablehlo.add %m, %n : tensor<f32>"

CASES = {
    "reduce, any region": (f"""
      %i = stablehlo.constant dense<0.0> : tensor<f32>
      %y = "stablehlo.reduce"(%x, %i) {region("a b", ODD, "%r")} {{dimensions = array<i64: 0>}}
        : ({T}, tensor<f32>) -> {ROW}""", ROW, [FLOATS]),
    "reduce, not from its identity": (f"""
      %i = stablehlo.constant dense<3.0> : tensor<f32>
      %y = stablehlo.reduce(%x init: %i) applies stablehlo.add across dimensions = [0] : ({T}, tensor<f32>) -> {ROW}""", ROW, [FLOATS]),
    "reduce of nothing": (f"""
      %i = stablehlo.constant dense<3.0> : tensor<f32>
      %e = stablehlo.slice %x [0:0, 0:6] : ({T}) -> tensor<0x6xf32>
      %y = "stablehlo.reduce"(%e, %i) {region("a b", ODD, "%r")} {{dimensions = array<i64: 0>}}
        : (tensor<0x6xf32>, tensor<f32>) -> {ROW}""", ROW, [FLOATS]),
    "reduce_window, product with dilations": (f"""
      %i = stablehlo.constant dense<1.0> : tensor<f32>
      %y = "stablehlo.reduce_window"(%x, %i) {region("a b", "%r = stablehlo.multiply %a, %b : tensor<f32>", "%r")}
        {{window_dimensions = array<i64: 2, 2>, window_strides = array<i64: 2, 1>, base_dilations = array<i64: 2, 1>,
         window_dilations = array<i64: 1, 2>, padding = dense<[[1, 0], [0, 1]]> : tensor<2x2xi64>}} : ({T}, tensor<f32>) -> tensor<4x5xf32>""",
        "tensor<4x5xf32>", [FLOATS]),
    "reduce_window, maximum": (f"""
      %i = stablehlo.constant dense<0xFF800000> : tensor<f32>
      %y = "stablehlo.reduce_window"(%x, %i) {region("a b", "%r = stablehlo.maximum %b, %a : tensor<f32>", "%r")}
        {{window_dimensions = array<i64: 2, 3>, window_strides = array<i64: 2, 3>}} : ({T}, tensor<f32>) -> tensor<2x2xf32>""",
        "tensor<2x2xf32>", [FLOATS]),
    "map": (f'%y = "stablehlo.map"(%x, %x) {region("a b", ODD, "%r")} {{dimensions = array<i64: 0, 1>}} : ({T}, {T}) -> {T}', T, [FLOATS]),
    "sort by what has no name": (f"""
      %y = "stablehlo.sort"(%x) ({{ ^bb0(%a: tensor<f32>, %b: tensor<f32>):
        %m = stablehlo.abs %a : tensor<f32>
        %n = stablehlo.abs %b : tensor<f32>
        %r = stablehlo.compare LT, %m, %n : (tensor<f32>, tensor<f32>) -> tensor<i1>
        stablehlo.return %r : tensor<i1> }}) {{dimension = 1 : i64, is_stable = true}} : ({T}) -> {T}""", T, [FLOATS]),
    "sort by what only looks like a canonical form": (f"""
      %y = "stablehlo.sort"(%x) ({{ ^bb0(%a: tensor<f32>, %b: tensor<f32>):
        %t = stablehlo.constant dense<{FLOATS[0, 0]:.9e}> : tensor<f32>
        %h = stablehlo.constant dense<100.0> : tensor<f32>
        %m = stablehlo.compare EQ, %a, %t : (tensor<f32>, tensor<f32>) -> tensor<i1>
        %n = stablehlo.compare EQ, %b, %t : (tensor<f32>, tensor<f32>) -> tensor<i1>
        %p = stablehlo.select %m, %h, %a : tensor<i1>, tensor<f32>
        %q = stablehlo.select %n, %h, %b : tensor<i1>, tensor<f32>
        %r = stablehlo.compare LT, %p, %q : (tensor<f32>, tensor<f32>) -> tensor<i1>
        stablehlo.return %r : tensor<i1> }}) {{dimension = 1 : i64}} : ({T}) -> {T}""", T, [FLOATS]),
    "sort, descending": (f"""
      %y = "stablehlo.sort"(%x) ({{ ^bb0(%a: tensor<f32>, %b: tensor<f32>):
        %r = stablehlo.compare LT, %b, %a : (tensor<f32>, tensor<f32>) -> tensor<i1>
        stablehlo.return %r : tensor<i1> }}) {{dimension = 0 : i64}} : ({T}) -> {T}""", T, [FLOATS]),
    "select_and_scatter": (f"""
      %s = stablehlo.constant dense<[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]> : tensor<2x3xf32>
      %i = stablehlo.constant dense<0.0> : tensor<f32>
      %y = "stablehlo.select_and_scatter"(%x, %s, %i) ({{ ^bb0(%a: tensor<f32>, %b: tensor<f32>):
        %r = stablehlo.compare GE, %a, %b : (tensor<f32>, tensor<f32>) -> tensor<i1>
        stablehlo.return %r : tensor<i1> }}, {region("c d", "%t = stablehlo.add %c, %d : tensor<f32>", "%t")[1:-1]})
        {{window_dimensions = array<i64: 2, 2>, window_strides = array<i64: 2, 2>}} : ({T}, tensor<2x3xf32>, tensor<f32>) -> {T}""", T, [FLOATS]),
    "select_and_scatter, any regions": (f"""
      %s = stablehlo.constant dense<[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]> : tensor<2x3xf32>
      %i = stablehlo.constant dense<1.0> : tensor<f32>
      %y = "stablehlo.select_and_scatter"(%x, %s, %i) ({{ ^bb0(%a: tensor<f32>, %b: tensor<f32>):
        %m = stablehlo.abs %a : tensor<f32>
        %n = stablehlo.abs %b : tensor<f32>
        %r = stablehlo.compare GE, %m, %n : (tensor<f32>, tensor<f32>) -> tensor<i1>
        stablehlo.return %r : tensor<i1> }}, {region("c d", "%t = stablehlo.multiply %c, %d : tensor<f32>", "%t")[1:-1]})
        {{window_dimensions = array<i64: 2, 2>, window_strides = array<i64: 2, 2>}} : ({T}, tensor<2x3xf32>, tensor<f32>) -> {T}""", T, [FLOATS]),
    "convolution, groups of examples": ("""
      %y = stablehlo.convolution(%x, %x) dim_numbers = [b, 0, f]x[o, 0, i]->[b, 0, f], window = {}
        {batch_group_count = 2 : i64, feature_group_count = 1 : i64} : (tensor<4x3x2xf32>, tensor<4x3x2xf32>) -> tensor<2x1x4xf32>""",
        "tensor<2x1x4xf32>", [RNG.normal(size=(4, 3, 2)).astype("float32")]),
    "dot_general": ("""
      %y = stablehlo.dot_general %x, %x, batching_dims = [1] x [1], contracting_dims = [0] x [0]
        : (tensor<3x2x4xf32>, tensor<3x2x4xf32>) -> tensor<2x4x4xf32>""", "tensor<2x4x4xf32>", [RNG.normal(size=(3, 2, 4)).astype("float32")]),
    "four bits": (f"""
      %a = stablehlo.convert %x : ({I}) -> tensor<4x6xi4>
      %b = stablehlo.multiply %a, %a : tensor<4x6xi4>
      %c = stablehlo.not %b : tensor<4x6xi4>
      %y = stablehlo.convert %c : (tensor<4x6xi4>) -> {I}""", I, [INTEGERS - 12]),
    "power of integers": (f"%y = stablehlo.power %x, %x : {I}", I, [INTEGERS - 3]),
    "bits in halves": (f"""
      %a = stablehlo.bitcast_convert %x : ({I}) -> tensor<4x6x2xui16>
      %b = stablehlo.reverse %a, dims = [2] : tensor<4x6x2xui16>
      %y = stablehlo.bitcast_convert %b : (tensor<4x6x2xui16>) -> {I}""", I, [INTEGERS * 1_000_003]),
    "reduce_precision": (f"%y = stablehlo.reduce_precision %x, format = e4m2 : {T}", T, [FLOATS * np.float32(200)]),
    "case out of range": (f"""
      %k = stablehlo.constant dense<7> : tensor<i32>
      %i = stablehlo.optimization_barrier %k : tensor<i32>
      %y = "stablehlo.case"(%i) ({{ stablehlo.return %x : {T} }}, {{ %n = stablehlo.negate %x : {T} \n stablehlo.return %n : {T} }})
        : (tensor<i32>) -> {T}""", T, [FLOATS]),
    "a loop that only its data end": (f"""
      %o = stablehlo.constant dense<10.0> : tensor<f32>
      %z = stablehlo.constant dense<0.0> : tensor<f32>
      %y = stablehlo.while(%v = %x) : {T}
        cond {{ %s = stablehlo.reduce(%v init: %z) applies stablehlo.maximum across dimensions = [0, 1] : ({T}, tensor<f32>) -> tensor<f32>
               %c = stablehlo.compare LT, %s, %o : (tensor<f32>, tensor<f32>) -> tensor<i1>
               stablehlo.return %c : tensor<i1> }}
        do {{ %w = stablehlo.add %v, %v : {T} \n stablehlo.return %w : {T} }}""", T, [FLOATS]),
    "tuples": (f"""
      %t = stablehlo.tuple %x, %x : tuple<{T}, {T}>
      %y = stablehlo.get_tuple_element %t[1] : (tuple<{T}, {T}>) -> {T}""", T, [FLOATS]),
}  # fmt: skip


def program(name):
    body, result, args = CASES[name]
    kinds = {"float32": "f32", "int32": "i32"}
    given = "x".join(map(str, args[0].shape)) + "x" + kinds[args[0].dtype.name]
    return (
        f"func.func @main(%x: tensor<{given}>) -> {result} {{\n{body}\n return %y : {result}\n}}",
        args,
    )


@pytest.mark.parametrize("name", CASES)
def test_as_jaxlib(name):
    text, args = program(name)
    loaded = load(text)
    assert not loaded.unsupported
    (want,) = ask(text, *args)
    for engine in ("numpy", "xla", "torch"):
        got = loaded.on(engine).call(*args).numpy()
        assert got.dtype == want.dtype
        # product order and fused multiply-adds differ
        np.testing.assert_allclose(got, want, rtol=2e-6, atol=2e-6, err_msg=engine)


WIDER = f"""
func.func @main(%x: {T}) -> tensor<6xf64> {{
  %i = stablehlo.constant dense<0.0> : tensor<f32>
  %y = "stablehlo.reduce"(%x, %i) ({{ ^bb0(%a: tensor<f64>, %b: tensor<f64>):
    %r = stablehlo.add %a, %b : tensor<f64>
    stablehlo.return %r : tensor<f64> }}) {{dimensions = array<i64: 0>}} : ({T}, tensor<f32>) -> tensor<6xf64>
  return %y : tensor<6xf64>
}}"""


def test_reduce_in_the_dtype_of_its_region():  # the interpreter fails at it
    got = load(WIDER).call(FLOATS).numpy()
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, FLOATS.astype("float64").sum(0), rtol=1e-15)


SCATTER = f"""
func.func @main(%x: {T}) -> {T} {{
  %k = stablehlo.constant dense<[[1], [1], [3], [9]]> : tensor<4x1xi32>
  %y = "stablehlo.scatter"(%x, %k, %x) {region("a b", "%r = stablehlo.subtract %b, %a : tensor<f32>", "%r")}
    {{scatter_dimension_numbers = #stablehlo.scatter<update_window_dims = [1], inserted_window_dims = [0],
      scatter_dims_to_operand_dims = [0], index_vector_dim = 1>}} : ({T}, tensor<4x1xi32>, {T}) -> {T}
  return %y : {T}
}}"""


def test_scatter_with_a_region_of_its_own():  # one after another; the interpreter keeps the last only
    want = FLOATS.copy()
    for row, update in zip((1, 1, 3), FLOATS):  # and the fourth lies outside
        want[row] = update - want[row]
    for engine in ("numpy", "xla", "torch"):
        np.testing.assert_allclose(load(SCATTER).on(engine).call(FLOATS).numpy(), want, rtol=1e-6)


CONVOLUTION = """
func.func @main(%x: tensor<2x4x5x4xf32>, %w: tensor<2x2x1x8xf32>) -> tensor<8x6x2x4xf32> {
  %y = stablehlo.convolution(%x, %w) dim_numbers = [b, 0, 1, f]x[0, 1, i, o]->[f, 0, b, 1],
    window = {stride = [1, 2], pad = [[1, 0], [2, 1]], lhs_dilate = [2, 1], rhs_dilate = [2, 1], reverse = [true, false]}
    {batch_group_count = 1 : i64, feature_group_count = 4 : i64} : (tensor<2x4x5x4xf32>, tensor<2x2x1x8xf32>) -> tensor<8x6x2x4xf32>
  return %y : tensor<8x6x2x4xf32>
}"""


def test_convolution():  # the interpreter fails at dilations with groups
    lax = pytest.importorskip("jax.lax")
    x = RNG.normal(size=(2, 4, 5, 4)).astype("float32")
    w = RNG.normal(size=(2, 2, 1, 8)).astype("float32")
    want = lax.conv_general_dilated(
        x, w[::-1], (1, 2), ((1, 0), (2, 1)), (2, 1), (2, 1), ("NHWC", "HWIO", "CHNW"), 4
    )
    for engine in ("numpy", "xla", "torch"):
        got = load(CONVOLUTION).on(engine).call(x, w).numpy()
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


RAGGED = """
func.func @main(%a: tensor<5x3xf32>, %b: tensor<2x3x4xf32>, %n: tensor<2xi32>) -> tensor<5x4xf32> {
  %y = "chlo.ragged_dot"(%a, %b, %n) {ragged_dot_dimension_numbers = #chlo.ragged_dot<lhs_batching_dimensions = [],
    rhs_batching_dimensions = [], lhs_contracting_dimensions = [1], rhs_contracting_dimensions = [1],
    lhs_ragged_dimensions = [0], rhs_group_dimensions = [0]>} : (tensor<5x3xf32>, tensor<2x3x4xf32>, tensor<2xi32>) -> tensor<5x4xf32>
  return %y : tensor<5x4xf32>
}"""


def test_ragged_dot():
    a, b = RNG.normal(size=(5, 3)).astype("float32"), RNG.normal(size=(2, 3, 4)).astype("float32")
    want = np.concatenate([a[:1] @ b[0], a[1:4] @ b[1], np.zeros((1, 4))])
    for engine in ("xla", "torch"):
        got = load(RAGGED).on(engine).call(a, b, np.array([1, 3], "int32")).numpy()
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


TOTAL = """
func.func @main(%x: tensor<6xf32>) -> tensor<6xf32> {
  %y = "stablehlo.sort"(%x) ({ ^bb0(%a: tensor<f32>, %b: tensor<f32>):
    %r = stablehlo.compare LT, %a, %b, TOTALORDER : (tensor<f32>, tensor<f32>) -> tensor<i1>
    stablehlo.return %r : tensor<i1> }) {dimension = 0 : i64} : (tensor<6xf32>) -> tensor<6xf32>
  return %y : tensor<6xf32>
}"""


def test_total_order():  # IEEE 754's; the interpreter compares as ever
    got = load(TOTAL).call(np.array([0.0, np.nan, -0.0, np.inf, -np.nan, -1.0], "float32"))
    np.testing.assert_array_equal(got.numpy(), [-np.nan, -1.0, -0.0, 0.0, np.inf, np.nan])
    assert np.signbit(got.numpy()).tolist() == [True, True, True, False, False, False]


BATCH_NORM = """
func.func @main(%x: tensor<2x3x4xf32>, %s: tensor<4xf32>, %o: tensor<4xf32>, %g: tensor<2x3x4xf32>)
    -> (tensor<2x3x4xf32>, tensor<2x3x4xf32>, tensor<4xf32>, tensor<4xf32>) {
  %y:3 = "stablehlo.batch_norm_training"(%x, %s, %o) {epsilon = 0.1 : f32, feature_index = 2 : i64}
    : (tensor<2x3x4xf32>, tensor<4xf32>, tensor<4xf32>) -> (tensor<2x3x4xf32>, tensor<4xf32>, tensor<4xf32>)
  %d:3 = "stablehlo.batch_norm_grad"(%x, %s, %y#1, %y#2, %g) {epsilon = 0.1 : f32, feature_index = 2 : i64}
    : (tensor<2x3x4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<2x3x4xf32>)
    -> (tensor<2x3x4xf32>, tensor<4xf32>, tensor<4xf32>)
  return %y#0, %d#0, %d#1, %d#2 : tensor<2x3x4xf32>, tensor<2x3x4xf32>, tensor<4xf32>, tensor<4xf32>
}"""


def test_batch_normalisation_against_its_own_gradient():
    jax = pytest.importorskip("jax")
    x, g = RNG.normal(size=(2, 2, 3, 4)).astype("float32")
    s, o = RNG.normal(size=(2, 4)).astype("float32")

    def norm(x, s, o):
        m, v = x.mean((0, 1)), x.var((0, 1))
        return (x - m) / (v + 0.1) ** 0.5 * s + o

    want, pull = jax.vjp(norm, x, s, o)
    for a, b in zip(load(BATCH_NORM).call(x, s, o, g), (want, *pull(g))):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-4, atol=1e-5)


def test_gradient_through_a_region_of_its_own():
    jax = pytest.importorskip("jax")
    text, (x,) = program("reduce, any region")
    loaded = load(text)
    got = mg.grad(lambda x: mg.sum(loaded.run(None, x) ** 2))(mg.tensor(x))
    want = jax.grad(lambda x: (abs(x).sum(0) ** 2).sum())(x)
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-5)


def test_every_operation_of_the_dialect_is_known_or_has_a_reason():
    from monograph_importers.stablehlo import control, rules

    names = {
        v.OPERATION_NAME
        for v in vars(stablehlo).values()
        if isinstance(getattr(v, "OPERATION_NAME", None), str)
    }
    assert len(names) > 110
    known = rules.RULES.keys() | control.REASONS.keys() | rules.RETURNS
    assert sorted(names - known) == []
