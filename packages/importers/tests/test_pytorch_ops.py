"""Each rule against the op of torch itself: values, dtypes, shapes, signs of zero."""

from __future__ import annotations

import itertools
import math

import monograph as mg
import numpy as np
import pytest

torch = pytest.importorskip("torch")
aten = torch.ops.aten

from monograph_importers.pytorch.decompose import overload  # noqa: E402
from monograph_importers.pytorch.interpret import constant  # noqa: E402
from monograph_importers.pytorch.rules import WRITES, find  # noqa: E402

RNG = np.random.default_rng(0)


def normal(*shape, dtype="float32"):
    return torch.tensor(RNG.standard_normal(shape).astype(dtype))


def whole(*shape, low=-4, high=5, dtype="int64"):
    return torch.tensor(RNG.integers(low, high, shape).astype(dtype))


V = normal(5)
SQUARE = (lambda a: a @ a.mT + torch.eye(3))(normal(2, 3, 3))
F = normal(3, 4)
G = normal(3, 4)
P = F.abs() + 0.5
U = torch.tensor(RNG.uniform(-0.95, 0.95, (3, 4)).astype("float32"))
INT = whole(3, 4)
N = whole(3, 4, low=1, high=5)
B = F > 0
C = normal(2, 3, 4)
X = normal(2, 4, 5, 6)  # an image
D3 = normal(1, 2, 4, 4, 5)
ODD = torch.tensor([0.0, -0.0, 1.5, -1.5, 2.5, -2.5, 0.5, -0.5, math.inf, -math.inf, math.nan, 3.0])
Z = torch.complex(F, G)
M = torch.complex(G, F)
W = normal(6, 4, 3, 2)  # a kernel
TABLE = normal(7, 3)

FLOATS = [F, F.double(), ODD, INT, INT.to(torch.int8), B]
UNARY = {
    "abs": [F, ODD, INT, Z], "acos": [U, U.double()], "acosh": [P + 1], "asin": [U], "asinh": FLOATS,
    "atan": FLOATS, "atanh": [U], "bitwise_not": [INT, B, INT.to(torch.uint8)], "ceil": [F, ODD, INT],
    "cos": [F, INT], "cosh": [F], "erf": [F, ODD, INT], "erfc": [F], "exp": FLOATS, "exp2": [F, INT],
    "expm1": [F, INT], "floor": [F, ODD, INT], "isinf": FLOATS, "isnan": FLOATS, "log": [P, N, ODD],
    "log10": [P, N], "log1p": [P, N], "log2": [P, N], "logical_not": FLOATS, "neg": [F, ODD, INT],
    "reciprocal": [F, INT + 9, ODD], "relu": [F, ODD, INT], "round": [F, ODD, INT], "rsqrt": [P, N],
    "sigmoid": [F, ODD, INT], "sign": [F, ODD, INT], "sin": [F, INT], "sinh": [F], "sqrt": [P, N, ODD],
    "tan": [F, INT], "tanh": [F, ODD, INT], "trunc": [F, ODD, INT], "square": [F, INT], "erfinv": [U],
    "frac": [F], "silu": [F], "mish": [F * 9], "hardswish": [F * 3], "hardsigmoid": [F * 3],
    "selu": [F], "softplus": [F * 20], "relu6": [F * 5], "elu": [F], "gelu": [F, F.double()],
    "leaky_relu": [F], "hardtanh": [F], "celu": [F], "digamma": [P], "lgamma": [P], "isfinite": [ODD, INT],
    "positive": [F], "sgn": [F, ODD],
}  # fmt: skip
ARRAYS = [F, F.double(), INT, N.to(torch.int8), N.to(torch.uint8), B, F[0, 0].double(), N[0, 0]]
NUMBERS = [2, -3, 2.5, True]
BINARY = {
    "add": "fib", "sub": "fi", "mul": "fib", "div": "fib", "fmod": "fi", "remainder": "fi",
    "atan2": "fib", "maximum": "fib", "minimum": "fib", "bitwise_and": "ib", "bitwise_or": "ib",
    "bitwise_xor": "ib", "logical_and": "fib", "logical_or": "fib", "logical_xor": "fib", "eq": "fib",
    "ne": "fib", "lt": "fib", "le": "fib", "gt": "fib", "ge": "fib", "floor_divide": "fi",
}  # fmt: skip
NOT_ZERO = ("div", "fmod", "remainder", "floor_divide")


def kind(x):
    if isinstance(x, torch.Tensor):
        return "f" if x.is_floating_point() else "b" if x.dtype == torch.bool else "i"
    return "b" if x is True else "f" if isinstance(x, float) else "i"


def unary():
    for name, xs in UNARY.items():
        for x in xs:
            yield f"aten.{name}.default", (x,), {}


def binary():
    for name, kinds in BINARY.items():
        pairs = itertools.product(
            ARRAYS, [G, G.double(), N, N.to(torch.int8), B.T.reshape(3, 4), *NUMBERS]
        )
        for a, b in pairs:
            if kind(a) in kinds and kind(b) in kinds and not (name in NOT_ZERO and kind(b) == "b"):
                is_array = isinstance(b, torch.Tensor)
                which = "Tensor" if is_array else "Scalar"
                default = name in (
                    "atan2",
                    "maximum",
                    "minimum",
                    "floor_divide",
                ) or name.startswith("logical")
                if default and not is_array:
                    continue
                yield f"aten.{name}.{'default' if default else which}", (a, b), {}


def places(*shape, high):
    return whole(*shape, low=0, high=high)


def cells(gates, features, given, kept, biases):
    """Weights of two layers of two cells; a cell that gives fewer than it keeps projects."""
    out = []
    for width in (features, 2 * given):
        for _ in range(2):
            out += [
                normal(gates, width),
                normal(gates, given),
                *[normal(gates) for _ in range(2 * biases)],
            ]
            out += [normal(given, kept)] * (given < kept)
    return out


INDEX = places(3, 2, high=4)
OTHERS = [
    ("add.Tensor", (F, G), {"alpha": 2}), ("add.Tensor", (INT, N), {"alpha": 3}),
    ("sub.Tensor", (F, G), {"alpha": 0.5}), ("rsub.Scalar", (F, 2), {}),
    *[("div.Tensor_mode", (a, b), {"rounding_mode": m}) for m in ("floor", "trunc", None)
      for a, b in ((F, G), (INT, N), (INT, -N), (F * 9, 2.0 * G), (ODD, torch.tensor(-2.0)), (F, torch.tensor(math.inf)), (ODD, torch.tensor(0.0)))],
    *[("div.Scalar_mode", (a, 3), {"rounding_mode": m}) for m in ("floor", "trunc") for a in (F, INT)],
    ("fmod.Scalar", (ODD, -2.0), {}), ("remainder.Scalar", (ODD, -2.0), {}),
    ("pow.Tensor_Tensor", (P, G), {}), ("pow.Tensor_Tensor", (INT, N), {}), ("pow.Tensor_Scalar", (P, 2.5), {}),
    ("pow.Tensor_Scalar", (INT, 3), {}), ("pow.Tensor_Scalar", (INT, 0.5), {}), ("pow.Scalar", (2, G), {}),
    ("pow.Scalar", (2, N), {}), ("pow.Tensor_Scalar", (P, 0.5), {}), ("pow.Tensor_Scalar", (P, -1), {}),
    ("clamp.default", (F, -0.5, 0.5), {}), ("clamp.default", (INT, None, 2), {}), ("clamp.default", (INT, 0.5), {}),
    ("clamp.default", (F, 1.0, -1.0), {}), ("clamp.Tensor", (F, G, P), {}), ("clamp_min.default", (F, 0), {}),
    ("where.self", (B, F, G), {}), ("where.self", (B, F, torch.tensor(2.0, dtype=torch.float64)), {}),
    ("where.self", (B, INT, F), {}), ("where.ScalarOther", (B, F, 2), {}), ("masked_fill.Scalar", (F, B, -math.inf), {}),
    ("masked_fill.Tensor", (INT, B, torch.tensor(7)), {}), ("lerp.Scalar", (F, G, 0.3), {}),
    ("addcmul.default", (F, G, P), {"value": 2}), ("addcdiv.default", (F, G, P), {"value": 2}),
    ("xlogy.Tensor", (F, P), {}), ("logaddexp.default", (F, G), {}), ("hypot.default", (F, G), {}),
    ("prelu.default", (X, normal(4)), {}), ("glu.default", (F,), {}), ("threshold.default", (F, 0.1, 2.0), {}),
    ("gelu.default", (F,), {"approximate": "tanh"}), ("elu.default", (F, 1.5, 2.0, 0.5), {}),
    ("hardtanh.default", (F, -0.3, 0.2), {}), ("leaky_relu.default", (F, 0.3), {}), ("round.decimals", (F,), {"decimals": 1}),
    ("nan_to_num.default", (ODD, 1.0, 2.0, 3.0), {}), ("copysign.Tensor", (F, ODD[:4]), {}),
    ("nextafter.default", (F, G), {}), ("fmax.default", (ODD, torch.flip(ODD, (0,))), {}),
    ("bitwise_left_shift.Tensor", (N, N), {}), ("bitwise_right_shift.Tensor", (INT, N), {}),
    # reductions
    *[(f"{n}.default", (x,), {}) for n in ("sum", "mean", "prod", "max", "min", "any", "all", "argmax", "argmin")
      for x in (F, F.double(), INT, B) if not (n == "mean" and not x.is_floating_point()) and not (n[:3] == "arg" and x is B)],
    ("sum.dim_IntList", (C, [0, -1], True), {}), ("sum.dim_IntList", (INT, None), {}), ("sum.dim_IntList", (B, [1]), {}),
    ("sum.dim_IntList", (F, []), {}), ("sum.dim_IntList", (INT, [0]), {"dtype": "float32"}), ("sum.dim_IntList", (F[0, 0], [0]), {}),
    ("mean.dim", (C, [1], True), {}), ("mean.dim", (C, None), {}), ("prod.dim_int", (C, 1, True), {}), ("prod.dim_int", (INT, 0), {}),
    ("amax.default", (C, [0, 2]), {}), ("amin.default", (C, [], True), {}), ("amax.default", (B, [0]), {}),
    ("any.dim", (B, 0), {}), ("any.dims", (C, [0, 1], True), {}), ("all.dim", (INT, 0), {}), ("max.dim", (C, 1), {}),
    ("min.dim", (INT, 0, True), {}), ("max.dim", (ODD, 0), {}), ("max.dim", (F[0, 0], 0), {}), ("argmax.default", (C, 1, True), {}),
    ("argmin.default", (ODD, 0), {}), ("var.correction", (C, [0, 2]), {"correction": 0, "keepdim": True}), ("var.correction", (C,), {}),
    ("var.dim", (C, [1], False), {}), ("var.default", (F,), {}), ("std.correction", (C, [1]), {"correction": 1}),
    ("var_mean.correction", (C, [1]), {"correction": 0}), ("std_mean.correction", (C, [0]), {}), ("logsumexp.default", (C, [0, 1]), {}),
    ("cumsum.default", (C, -1), {}), ("cumsum.default", (INT, 0), {}), ("cumsum.default", (B, 1), {}), ("cumsum.default", (INT, 0), {"dtype": "float32"}),
    ("cumprod.default", (F, 1), {}), ("_softmax.default", (C, 1, False), {}), ("_log_softmax.default", (C, -1, False), {}),
    ("softmax.int", (INT, 1), {"dtype": "float32"}), ("log_softmax.int", (F, 0), {}), ("count_nonzero.default", (INT,), {}),
    *[("linalg_vector_norm.default", (C, o, [1]), {}) for o in (2, 1, 0, 3, math.inf, -math.inf)], ("norm.ScalarOpt_dim", (F, None, [1], True), {}),
    ("sort.default", (C, 1), {}), ("sort.default", (ODD, 0, True), {}), ("sort.default", (INT.to(torch.int8).reshape(-1)[:1],), {}),
    ("sort.stable", (INT,), {"stable": True, "dim": 0}), ("argsort.default", (F,), {}), ("topk.default", (C, 2), {}),
    ("topk.default", (C, 2, 1, False), {}), ("topk.default", (F, 1, 0), {}), ("aminmax.default", (F,), {"dim": 1}),
    # shapes
    ("view.default", (C, [6, -1]), {}), ("reshape.default", (C, [-1]), {}), ("_unsafe_view.default", (C, [4, 6]), {}),
    ("flatten.using_ints", (X, 1, 2), {}), ("flatten.using_ints", (F[0, 0],), {}), ("unflatten.int", (C, 2, [2, -1]), {}),
    ("expand.default", (F[:, :1], [2, -1, 5]), {}), ("permute.default", (C, [2, 0, -2]), {}), ("transpose.int", (C, -1, 0), {}),
    ("t.default", (F,), {}), ("movedim.intlist", (X, [0, 1], [2, 0]), {}), ("squeeze.dim", (F[:1], 0), {}), ("squeeze.dim", (F, 0), {}),
    ("squeeze.dims", (F[None, :, :1], [0, 2]), {}), ("squeeze.default", (F[:1],), {}), ("unsqueeze.default", (F, -1), {}),
    ("select.int", (C, 1, -2), {}), ("slice.Tensor", (C, 2, 1, 9223372036854775807, 2), {}), ("slice.Tensor", (C, 1, -2, -1), {}),
    ("slice.Tensor", (C,), {}), ("narrow.default", (C, 2, 1, 2), {}), ("split.Tensor", (C, 3, 2), {}),
    ("split_with_sizes.default", (C, [1, 3], -1), {}), ("chunk.default", (C, 3, 2), {}), ("unbind.int", (C, 1), {}),
    ("cat.default", ([F, G.double(), INT],), {}), ("cat.default", ([torch.zeros(0), F], 1), {}), ("stack.default", ([F, G], -1), {}),
    ("repeat.default", (F, [2, 1, 3]), {}), ("repeat_interleave.self_int", (F, 2, 1), {}), ("flip.default", (C, [0, -1]), {}),
    ("roll.default", (F, [1, -1], [0, 1]), {}), ("roll.default", (F, [5]), {}), ("diagonal.default", (C, 1, 1, 2), {}), ("diagonal.default", (F, -1), {}),
    ("diagonal_scatter.default", (F, torch.zeros(3)), {}), ("as_strided.default", (F, [2, 3], [1, 4], 1), {}), ("unfold.default", (V, 0, 3, 2), {}),
    ("clone.default", (F,), {}), ("alias.default", (F,), {}), ("copy.default", (F, INT[0]), {}), ("_to_copy.default", (F,), {"dtype": "int64"}),
    ("to.dtype", (INT, "float64"), {}), ("type_as.default", (INT, F), {}), ("constant_pad_nd.default", (C, [1, -1, 0, 2], 3.0), {}),
    ("reflection_pad1d.default", (F, [2, 1]), {}), ("reflection_pad2d.default", (C, [1, 2, 2, 0]), {}), ("reflection_pad3d.default", (D3, [1, 1, 2, 0, 0, 1]), {}),
    ("replication_pad2d.default", (C, [1, 2, 3, 0]), {}), ("replication_pad3d.default", (D3, [1, 1, 2, 0, 0, 1]), {}), ("pad.default", (C, [1, 2], "circular"), {}),
    ("tril.default", (C, -1), {}), ("triu.default", (F, 1), {}), ("pixel_shuffle.default", (X, 2), {}), ("pixel_unshuffle.default", (normal(1, 4, 6), 2), {}),
    ("channel_shuffle.default", (X, 2), {}), ("slice_scatter.default", (F, torch.zeros(3, 2), 1, 0, 4, 2), {}), ("select_scatter.default", (F, torch.zeros(3), 1, -1), {}),
    ("view_as_real.default", (Z,), {}), ("view_as_complex.default", (normal(3, 2),), {}),
    # creation
    ("arange.start_step", (1, 9, 2), {}), ("arange.start_step", (0, 1, 0.25), {}), ("arange.default", (5,), {"dtype": "float32"}), ("full.default", ([2, 3], 1.5), {}),
    ("full.default", ([2], 3), {}), ("full.default", ([2], True), {}), ("full_like.default", (F, 2), {}), ("full_like.default", (INT, 2), {"dtype": "float64"}),
    ("fill.Scalar", (F, 2), {}), ("zeros.default", ([2],), {}), ("ones_like.default", (INT,), {}), ("new_zeros.default", (INT, [2]), {}), ("new_ones.default", (F, [2]), {"dtype": "int64"}),
    ("scalar_tensor.default", (3,), {}), ("scalar_tensor.default", (3,), {"dtype": "int64"}), ("eye.default", (3,), {}), ("linspace.default", (0, 1, 5), {}),
    ("tril_indices.default", (3, 3, -1), {}),
    # indexing
    ("index.Tensor", (C, [None, places(3, high=3)]), {}), ("index.Tensor", (C, [places(2, 2, high=2), None, -1 - places(2, 2, high=4)]), {}),
    ("index.Tensor", (F, [B]), {}), ("index.Tensor", (F, [places(3, 1, high=3), places(2, high=4)]), {}), ("index_select.default", (C, -1, places(5, high=4)), {}),
    ("gather.default", (F, 1, INDEX), {}), ("gather.default", (F, 0, places(2, 3, high=3)), {}), ("gather.default", (F[0, 0], 0, torch.tensor(0)), {}),
    ("take_along_dim.default", (F, INDEX, 1), {}), ("take.default", (F, INDEX), {}), ("embedding.default", (TABLE, places(2, 3, high=7)), {}),
    ("embedding.default", (TABLE, places(2, 3, high=7), 2), {}), ("nonzero.default", (INT,), {}), ("nonzero.default", (B,), {}),
    *[("_embedding_bag.default", (TABLE, places(6, high=7), torch.tensor([0, 2, 2]), False, m), {}) for m in (0, 1, 2)],
    ("_embedding_bag.default", (TABLE, places(6, high=7), torch.tensor([0, 2, 6]), False, 0, False, normal(6), True), {}),
    ("bucketize.Tensor", (F, torch.tensor([-1.0, 0.0, 1.0])), {"right": True}), ("searchsorted.Tensor", (torch.sort(F)[0], G), {}), ("one_hot.default", (N, 6), {}),
    ("_cdist_forward.default", (F, G, 2.0, None), {}), ("_cdist_forward.default", (C, C, 1.0, None), {}), ("_pdist_forward.default", (F, 3.0), {}),
    # writing by index
    ("index_put.default", (F, [torch.tensor([0, -1]), torch.tensor([1, 1])], torch.tensor([5.0, 6.0])), {}), ("index_put.default", (F, [B], torch.tensor(9.0)), {}),
    ("index_put.default", (F, [torch.tensor([0, 0, 1])], G, True), {}), ("index_put.default", (C, [None, torch.tensor([1])], torch.tensor(2.0)), {}),
    ("scatter.value", (F, 1, torch.tensor([[0, 2], [1, 3]]), 7), {}), ("scatter.src", (F, 0, torch.tensor([[0, 2, 1, 0]]), G), {}),
    ("scatter_add.default", (F, 1, INDEX, G), {}), ("scatter.reduce", (F, 1, INDEX, G), {"reduce": "multiply"}),
    *[("scatter_reduce.two", (x, 1, INDEX, y, r), {"include_self": s}) for r in ("sum", "prod", "mean", "amax", "amin") for s in (True, False) for x, y in ((F, G), (INT, N))],
    ("index_add.default", (F, 0, torch.tensor([0, 0, 2]), G), {"alpha": 2}), ("index_copy.default", (F, 1, torch.tensor([3, 0]), G[:, :2]), {}),
    ("index_fill.int_Scalar", (F, 1, torch.tensor([3, 0]), 2), {}), ("masked_scatter.default", (F, B, V.repeat(4)), {}),
    ("embedding_dense_backward.default", (normal(2, 3, 4), places(2, 3, high=5), 5, 1, False), {}),
    ("embedding_dense_backward.default", (normal(2, 3, 4), places(2, 3, high=5), 5, -1, True), {}),
    # products
    ("mm.default", (F, G.T), {}), ("bmm.default", (C, C.transpose(1, 2)), {}), ("matmul.default", (X, X.transpose(2, 3)), {}), ("matmul.default", (F, V[:4]), {}),
    ("addmm.default", (V[:3], F, G.T), {"beta": 0.5, "alpha": 2}), ("addmm.default", (ODD[10], F, G.T), {"beta": 0}), ("baddbmm.default", (normal(3, 3), C, C.transpose(1, 2)), {}),
    ("linear.default", (C, normal(5, 4), V), {}), ("einsum.default", ("bij, bkj -> bik", [C, C]), {}), ("dot.default", (V, V), {}), ("outer.default", (V, V), {}),
    ("convolution.default", (X, W, normal(6), [2, 1], [1, 2], [1, 1], False, [0, 0], 1), {}), ("convolution.default", (X, W[:, :2], None, [1, 1], [0, 0], [2, 1], False, [0, 0], 2), {}),
    ("convolution.default", (X, normal(4, 3, 3, 2), None, [2, 3], [1, 0], [1, 1], True, [1, 0], 1), {}), ("convolution.default", (X, normal(4, 3, 2, 2), normal(6), [2, 2], [0, 1], [1, 1], True, [0, 0], 2), {}),
    ("conv2d.padding", (X, W, None, [1, 1], "same"), {}), ("conv1d.default", (C, normal(2, 3, 2)), {}), ("conv2d.default", (X[0], W), {}), ("conv3d.default", (D3, normal(3, 2, 2, 2, 2)), {}),
    ("conv_transpose2d.input", (X, normal(4, 3, 2, 2), None, [2, 2]), {}),
    *[("convolution_backward.default", (normal(*s), X, w, [b], st, [1, 0], [1, 1], t, [0, 0], 1, [True, True, True]), {})
      for s, w, b, st, t in (((2, 6, 5, 5), W, 6, [1, 1], False), ((2, 3, 9, 12), normal(4, 3, 3, 2), 3, [2, 2], True))],
    ("im2col.default", (X, [2, 3], [1, 2], [1, 0], [2, 1]), {}), ("col2im.default", (normal(2, 8, 9), [4, 4], [2, 2], [1, 1], [0, 0], [1, 1]), {}),
    # pooling
    *[("max_pool2d_with_indices.default", (X, *a), {}) for a in (([2, 2],), ([3, 2], [2, 1], [1, 1], [1, 2]), ([3, 3], [2, 2], [1, 1], [1, 1], True))],
    ("max_pool3d_with_indices.default", (D3, [2, 2, 2], [1, 2, 2]), {}), ("max_pool1d.default", (C, [2]), {}), ("max_pool2d.default", (X, [2, 2], [3, 3]), {}),
    *[("avg_pool2d.default", (X, *a), {}) for a in (([2, 2],), ([3, 2], [2, 1], [1, 1]), ([3, 3], [2, 2], [1, 1], True), ([3, 3], [2, 2], [1, 1], True, False), ([2, 2], [2, 2], [0, 0], False, True, 3))],
    ("avg_pool3d.default", (D3, [2, 2, 3], [2, 1, 1]), {}), ("avg_pool1d.default", (C, [2]), {}), ("_adaptive_avg_pool2d.default", (X, [2, 3]), {}), ("_adaptive_avg_pool2d.default", (X, [3, 4]), {}),
    ("_adaptive_avg_pool3d.default", (D3, [2, 3, 1]), {}), ("adaptive_avg_pool1d.default", (C, [3]), {}), ("adaptive_max_pool2d.default", (X, [2, 4]), {}),
    ("avg_pool2d_backward.default", (normal(2, 4, 3, 4), X, [3, 3], [2, 2], [1, 1], True, False, None), {}), ("_adaptive_avg_pool2d_backward.default", (normal(2, 4, 3, 4), X), {}),
    ("max_pool2d_with_indices_backward.default", (normal(2, 4, 2, 3), X, [2, 2], [2, 2], [0, 0], [1, 1], False, aten.max_pool2d_with_indices(X, [2, 2])[1]), {}),
    # resizing
    ("upsample_nearest2d.vec", (X, [7, 4], None), {}), ("upsample_nearest2d.vec", (X, None, [2.0, 1.5]), {}), *[("upsample_bilinear2d.vec", (X, s, a, f), {}) for a in (True, False) for s, f in (([7, 4], None), (None, [2.0, 1.7]))],
    ("upsample_bicubic2d.vec", (X, [9, 4], False, None), {}), ("upsample_linear1d.vec", (C, [7], False, None), {}), ("upsample_nearest2d.default", (X, [7, 4]), {}),
    *[("grid_sampler_2d.default", (X, normal(2, 3, 4, 2) * 0.8, i, p, a), {}) for i in (0, 1, 2) for p in (0, 1, 2) for a in (True, False)],
    # normalisation and attention
    ("native_layer_norm.default", (C, [4], normal(4), normal(4), 1e-5), {}), ("native_layer_norm.default", (C, [3, 4], None, None, 1e-5), {}), ("layer_norm.default", (C, [4]), {}),
    ("native_layer_norm_backward.default", (normal(2, 3, 4), C, [4], *aten.native_layer_norm(C, [4], None, None, 1e-5)[1:], normal(4), normal(4), [True, True, True]), {}),
    ("native_group_norm.default", (X, normal(4), normal(4), 2, 4, 30, 2, 1e-5), {}), ("group_norm.default", (X, 2), {}), ("rms_norm.default", (C, [4], normal(4)), {}),
    ("native_group_norm_backward.default", (normal(2, 4, 5, 6), X, *aten.native_group_norm(X, None, None, 2, 4, 30, 2, 1e-5)[1:], normal(4), 2, 4, 30, 2, [True, True, True]), {}),
    ("_native_batch_norm_legit_no_training.default", (X, normal(4), normal(4), normal(4), normal(4).abs(), 0.1, 1e-5), {}), ("_native_batch_norm_legit.no_stats", (X, normal(4), normal(4), True, 0.1, 1e-5), {}),
    ("_native_batch_norm_legit_functional.default", (X, normal(4), None, normal(4), normal(4).abs(), True, 0.1, 1e-5), {}), ("instance_norm.default", (X, normal(4), normal(4), None, None, True, 0.1, 1e-5, False), {}),
    *[("scaled_dot_product_attention.default", (X, X * 2, normal(2, 4, 5, 3), m, 0.0, c), k) for m, c, k in ((None, False, {}), (None, True, {"scale": 0.3}), (normal(5, 5), False, {}), (normal(2, 1, 5, 5) > -1, False, {}))],
    ("scaled_dot_product_attention.default", (X, X[:, :2], X[:, 2:]), {"enable_gqa": True}), ("scaled_dot_product_attention.default", (F, G, G), {}),
    ("bilinear.default", (C, C, normal(5, 4, 4), V), {}), ("rrelu.default", (F, 0.1, 0.5), {}),
    # decompositions that are unique
    *[(f"{n}.default", (SQUARE, *a), {}) for n, a in (
        ("linalg_det", ()), ("linalg_inv", ()), ("linalg_slogdet", ()), ("linalg_cholesky", ()),
        ("linalg_solve", (C[:, :, :2],)))],
    ("linalg_solve_triangular.default", (SQUARE, C[:, :, :2]), {"upper": True}),
    ("linalg_cholesky.default", (SQUARE,), {"upper": True}), ("linalg_cross.default", (C, C.flip(2)), {"dim": 1}),
    # recurrent networks: two layers, two ways; with and without projection and biases
    *[(f"{n}.input", (normal(3, 2, 5), h, w, bool(b), 2, 0.0, False, True, False), {}) for n, h, w, b in (
        ("lstm", [normal(4, 2, 4), normal(4, 2, 4)], cells(16, 5, 4, 4, 1), 1),
        ("lstm", [normal(4, 2, 3), normal(4, 2, 4)], cells(16, 5, 3, 4, 0), 0),
        ("gru", normal(4, 2, 4), cells(12, 5, 4, 4, 1), 1), ("rnn_tanh", normal(4, 2, 4), cells(4, 5, 4, 4, 1), 1),
        ("rnn_relu", normal(4, 2, 4), cells(4, 5, 4, 4, 0), 0))],
    ("sym_size.int", (C, -1), {}), ("sym_numel.default", (C,), {}), ("sym_stride.int", (C, 0), {}),
    ("sym_storage_offset.default", (C,), {}), ("_local_scalar_dense.default", (V[0],), {}),
    # transforms
    *[("_fft_r2c.default", (C, d, n, o), {}) for d, n, o in (([2], 0, True), ([1, 2], 1, True), ([2], 2, False))],
    ("_fft_c2r.default", (torch.complex(C, C), [2], 2, 6), {}), ("_fft_c2r.default", (torch.complex(C, C), [1, 2], 1, 7), {}), ("_fft_c2c.default", (Z, [0, 1], 0, True), {}), ("_fft_c2c.default", (Z, [1], 1, False), {}),
]  # fmt: skip

SAMPLES = [*unary(), *binary(), *((f"aten.{t}", a, k) for t, a, k in OTHERS)]


def ours(x):
    if isinstance(x, torch.Tensor):
        return constant(x.resolve_conj().numpy())
    return [ours(i) for i in x] if isinstance(x, list) else x


def theirs(x):
    return (
        getattr(torch, x)
        if isinstance(x, str) and hasattr(torch, x) and isinstance(getattr(torch, x), torch.dtype)
        else x
    )


def run(target, args, kwargs):
    rule = find(target)
    out = rule(*map(ours, args), **{k: ours(v) for k, v in kwargs.items()})
    return out[0] if target.partition(".")[2] in WRITES else out


def flat(x):
    return [x] if not isinstance(x, (list, tuple)) else [i for i in x if i is not None]


def torchs(target, args, kwargs):
    return overload(target)(*map(theirs, args), **{k: theirs(v) for k, v in kwargs.items()})


def check(target, args, kwargs):
    want = torchs(target, args, kwargs)
    got = run(target, args, kwargs)
    if "_embedding_bag" in target:  # what else it gives depends on the path torch takes
        got, want = got[:1], want[:1]
    assert len(flat(got)) >= len(flat(want))
    for g, w in zip(flat(got), flat(want)):
        if not isinstance(w, torch.Tensor):
            assert type(g) is type(w) and g == w
            continue
        g, w = np.asarray(g), w.resolve_conj().detach().numpy()
        assert g.dtype == w.dtype, (target, g.dtype, w.dtype)
        assert g.shape == w.shape, (target, g.shape, w.shape)
        np.testing.assert_allclose(g, w, rtol=2e-5, atol=2e-6, err_msg=f"{target} {args} {kwargs}")
        if target.split(".")[1] in SIGNED and w.dtype.kind == "f":
            assert (np.signbit(g) == np.signbit(w))[w == 0].all(), (target, args, g, w)


# of the others (a maximum, a sum) neither promises which zero it is
SIGNED = {
    "asinh", "atan", "ceil", "copysign", "div", "floor", "fmod", "mul", "neg", "remainder", "round",
    "sin", "sqrt", "tanh", "trunc", "floor_divide",
}  # fmt: skip


def grouped():
    by: dict = {}
    for target, args, kwargs in SAMPLES:
        by.setdefault(target, []).append((args, kwargs))
    return by


GROUPS = grouped()


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # of torch: it has no fast one
@pytest.mark.parametrize("target", GROUPS)
def test_op_is_torchs(target):
    for args, kwargs in GROUPS[target]:
        check(target, args, kwargs)


CORE = sorted(
    f"aten.{name}.{which}"
    for name in dir(aten)
    if hasattr(getattr(aten, name), "overloads")
    for which in getattr(aten, name).overloads()
    if torch.Tag.core in getattr(getattr(aten, name), which).tags
)

# core ops without a sample above
ELSEWHERE = {
    "aten.atan2.out": "an exported program has no out= arguments",
    "aten._native_batch_norm_legit.default": "writes its arguments: test_pytorch_programs.py",
    **dict.fromkeys(
        ["aten.empty.memory_format", "aten.empty_strided.default"], "its numbers are anything"
    ),
    **dict.fromkeys(
        ["aten.rand.default", "aten.randn.default", "aten.randperm.default",
         "aten.native_dropout.default"], "random: test_pytorch_programs.py",
    ),
}  # fmt: skip


def test_every_core_op_has_a_rule_and_a_sample():
    assert len(CORE) > 180
    assert [t for t in CORE if find(t) is None and not t.endswith(".out")] == []
    assert [t for t in CORE if t not in GROUPS and t not in ELSEWHERE] == []
    assert [t for t in ELSEWHERE if t in GROUPS or t not in CORE] == []


# what needs the values of its arguments while the graph is recorded
KNOWN = {"aten.nonzero.default", "aten._local_scalar_dense.default"}


def traced_samples(each):
    """At most so many samples of each op, from all over its own."""
    chosen = [(t, *s) for t, of in GROUPS.items() for s in of[:: -(-len(of) // each)]]
    for target, args, kwargs in chosen:
        masks = any(isinstance(a, list) and any(i is B for i in a) for a in args)
        if target not in KNOWN and not (target == "aten.index.Tensor" and masks):
            yield target, args, kwargs


@pytest.mark.parametrize("engine", ["torch"])
def test_all_ops_in_one_graph(engine):
    """As they are met in a model: arguments are values of a graph, not numbers."""
    samples = list(traced_samples(8))
    leaves, shape = mg.tree.flatten([(a, k) for _, a, k in samples])
    places = [i for i, x in enumerate(leaves) if isinstance(x, torch.Tensor)]

    def all_of_them(*xs):
        given = list(leaves)
        for i, x in zip(places, xs):
            given[i] = x
        calls = mg.tree.unflatten(shape, given)
        return [
            [y for y in flat(run(target, a, k)) if isinstance(y, mg.Array)]
            for (target, _, _), (a, k) in zip(samples, calls)
        ]

    got = mg.jit(all_of_them).on(engine)(*[leaves[i].resolve_conj().numpy() for i in places])
    for (target, args, kwargs), ours in zip(samples, got):
        want = [y for y in flat(torchs(target, args, kwargs)) if isinstance(y, torch.Tensor)]
        for g, w in list(zip(ours, want))[: 1 if "_embedding_bag" in target else None]:
            g, w = np.asarray(g), w.resolve_conj().detach().numpy()
            assert (g.dtype, g.shape) == (w.dtype, w.shape), target
            np.testing.assert_allclose(
                g, w, rtol=1e-4, atol=1e-5, err_msg=f"{target} {args} {kwargs}"
            )


# where torch's own gradient is not that of the function
NOT_TORCHS = {
    "aten.atan2.default": "it negates unsigned integers",
    "aten.embedding_dense_backward.default": "it leaves out scale_grad_by_freq",
    "aten.sgn.default": "it is a tensor that cannot be read",
}


def smooth(x):
    return isinstance(x, torch.Tensor) and x.is_floating_point() and bool(torch.isfinite(x).all())


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch: slow or deprecated paths
def test_gradients_are_torchs():
    compared = 0
    for target, args, kwargs in traced_samples(5):
        leaves, shape = mg.tree.flatten((args, kwargs))
        places = [i for i, x in enumerate(leaves) if smooth(x)]
        if target in NOT_TORCHS or not places:
            continue

        def call(fn, values, target=target, leaves=leaves, shape=shape, places=places):
            given = list(leaves)
            for i, x in zip(places, values):
                given[i] = x
            return flat(fn(target, *mg.tree.unflatten(shape, given)))

        xs = [leaves[i].detach().clone().requires_grad_() for i in places]
        try:
            ys = call(torchs, xs)[: 1 if "_embedding_bag" in target else None]
            of = [i for i, y in enumerate(ys) if smooth(y) and y.requires_grad]
            weights = [torch.linspace(0.5, 1.5, ys[i].numel()).reshape(ys[i].shape) for i in of]
            if not of:
                continue
            total = sum((ys[i] * w).sum() for i, w in zip(of, weights))
            want = torch.autograd.grad(total, xs, allow_unused=True)
        except (RuntimeError, AttributeError, NotImplementedError):
            continue  # torch has none

        def loss(*values, call=call, of=of, weights=weights):
            ys = call(run, values)
            return sum(mg.sum(mg.astype(ys[i] * w.numpy(), "float64")) for i, w in zip(of, weights))

        grad = mg.jit(mg.grad(loss, argnums=tuple(range(len(places))))).on("torch")
        got = grad(*[leaves[i].numpy() for i in places])
        for g, w, x in zip(got, want, xs):
            w = np.zeros(x.shape) if w is None else w.numpy()
            np.testing.assert_allclose(
                np.asarray(g), w, rtol=1e-3, atol=1e-4, err_msg=f"{target} {args} {kwargs}"
            )
        compared += 1
    assert compared > 250
