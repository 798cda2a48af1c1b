"""Single operators with drawn attributes and shapes, against onnxruntime."""

import os

import monograph as mg
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
from onnx import helper as h, numpy_helper  # noqa: E402

ort.set_default_logger_severity(4)
ALONE = ort.SessionOptions()
ALONE.intra_op_num_threads = 1
EXAMPLES = int(os.environ.get("ONNX_EXAMPLES", 12))  # more of them now and then
CASES = {}
few = st.integers


def case(fn):
    CASES[fn.__name__.rstrip("_")] = fn
    return fn


def floats(draw, *shape):
    rng = np.random.default_rng(draw(few(0, 2**16)))
    return rng.standard_normal(shape).astype("float32")


def ints(draw, low, high, *shape, dtype="int64"):
    rng = np.random.default_rng(draw(few(0, 2**16)))
    return rng.integers(low, high, shape).astype(dtype)


def some(draw, **kw):
    """Attributes, each left out now and then."""
    return {k: v for k, v in kw.items() if v is not None and draw(st.booleans())}


def window(draw, n, sizes):
    """Attributes of a window over ``n`` axes that fits ``sizes``."""
    k = [draw(few(1, min(3, s))) for s in sizes]
    d = [draw(few(1, 2)) if (w - 1) * 2 < s else 1 for w, s in zip(k, sizes)]
    out = {"kernel_shape": k, "strides": [draw(few(1, 3)) for _ in k], "dilations": d}
    auto = draw(st.sampled_from(["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if auto != "NOTSET":
        return {**out, "auto_pad": auto, "dilations": [1] * n}
    return {**out, "pads": [draw(few(0, max(w - 1, 0))) for w in k * 2]}


# every case draws (inputs that are fed, inputs that are known, attributes): known ones are initializers


@case
def Conv(draw):
    n, group = draw(few(1, 3)), draw(few(1, 2))
    sizes = [draw(few(3, 7)) for _ in range(n)]
    how = window(draw, n, sizes)
    c, f = 2 * group, 3 * group
    w = floats(draw, f, c // group, *how["kernel_shape"])
    bias = [floats(draw, f)] if draw(st.booleans()) else []
    if draw(st.booleans()):
        del how["kernel_shape"]
    return [floats(draw, 2, c, *sizes), w, *bias], [], {**how, "group": group}


@case
def ConvTranspose(draw):
    n, group = draw(few(1, 2)), draw(few(1, 2))
    sizes = [draw(few(2, 5)) for _ in range(n)]
    k = [draw(few(1, 3)) for _ in range(n)]
    s = [draw(few(1, 3)) for _ in range(n)]
    how = {"kernel_shape": k, "strides": s, "dilations": [draw(few(1, 2)) for _ in k]}
    kind = draw(st.sampled_from(["pads", "output_padding", "SAME_UPPER", "SAME_LOWER"]))
    if kind == "pads":
        how["pads"] = [0 if w == 1 else draw(few(0, 1)) for w in k * 2]
    elif kind == "output_padding":
        how["output_padding"] = [draw(few(0, b - 1)) for b in s]
    else:
        how |= {"auto_pad": kind, "dilations": [1] * n}
        how["strides"] = [min(b, w) for b, w in zip(s, k)]
    c = 2 * group
    return (
        [floats(draw, 2, c, *sizes), floats(draw, c, 3, *k), floats(draw, 3 * group)],
        [],
        {**how, "group": group},
    )


def pooled(draw, ceil):
    n = draw(few(1, 3))
    sizes = [draw(few(3, 7)) for _ in range(n)]
    how = window(draw, n, sizes)
    if "auto_pad" not in how and ceil:
        how["ceil_mode"] = draw(few(0, 1))
    return floats(draw, 2, 2, *sizes), how


@case
def MaxPool(draw):
    x, how = pooled(draw, True)
    return [x], [], how


@case
def AveragePool(draw):
    x, how = pooled(draw, True)
    return [x], [], {**how, "count_include_pad": draw(few(0, 1))}


@case
def LpPool(draw):
    x, how = pooled(draw, False)
    how.pop("auto_pad", None)
    how["dilations"] = [1] * (x.ndim - 2)  # onnxruntime does not end with others
    return [x], [], {**how, "p": draw(few(1, 3))}


@case
def Resize(draw):
    sizes = [draw(few(2, 6)) for _ in range(2)]
    mode = draw(st.sampled_from(["nearest", "linear", "cubic"]))
    modes = [
        "half_pixel",
        "pytorch_half_pixel",
        "align_corners",
        "asymmetric",
        "half_pixel_symmetric",
    ]
    how = {"mode": mode, "coordinate_transformation_mode": draw(st.sampled_from(modes))}
    if mode == "nearest":
        how["nearest_mode"] = draw(
            st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
        )
    if mode == "cubic":
        how |= {
            "cubic_coeff_a": draw(st.sampled_from([-0.5, -0.75])),
            "exclude_outside": draw(few(0, 1)),
        }
    x = floats(draw, 1, 2, *sizes)
    if draw(st.booleans()):
        to = np.array([1, 2, *[draw(few(1, 9)) for _ in sizes]])
        return [x], [None, None, to], how
    # lengths that are whole, or rounding decides
    by = np.array([1, 1, *[draw(few(1, 12)) / s for s in sizes]], "float32")
    whole = all((np.float32(b) * s) == round(float(b) * s) for b, s in zip(by[2:], sizes))
    return (
        [x],
        [None, by if whole else np.array([1, 1, 2, 0.5 if sizes[1] % 2 == 0 else 1], "float32")],
        how,
    )


@case
def Pad(draw):
    mode = draw(st.sampled_from(["constant", "reflect", "edge", "wrap"]))
    low = -1 if mode == "constant" else 0
    pads = np.array([draw(few(low, 2)) for _ in range(4)])
    value = [np.float32(draw(few(-3, 3)))] if mode == "constant" and draw(st.booleans()) else []
    return [floats(draw, 3, 4)], [pads, *value], {"mode": mode}


@case
def Slice(draw):
    shape = [draw(few(1, 6)) for _ in range(3)]
    axes = draw(st.lists(few(0, 2), unique=True, min_size=1, max_size=3))
    steps = [draw(st.sampled_from([-2, -1, 1, 2, 3])) for _ in axes]
    starts = [draw(few(-8, 8) | st.sampled_from([2**63 - 1, -(2**63)])) for _ in axes]
    far = [(2**31 - 1, 2**63 - 1) if s > 0 else (-(2**31), -(2**63)) for s in steps]
    ends = [draw(few(-8, 8) | st.sampled_from(f)) for f in far]
    return [floats(draw, *shape)], [*map(np.array, (starts, ends, axes, steps))], {}


@case
def Gather(draw):
    shape = [draw(few(1, 4)) for _ in range(3)]
    axis = draw(few(-3, 2))
    n = shape[axis]
    index = ints(draw, -n, n, *draw(st.lists(few(1, 3), max_size=2)))
    return [floats(draw, *shape), index], [], {"axis": axis}


@case
def GatherElements(draw):
    shape = [draw(few(1, 4)) for _ in range(3)]
    axis = draw(few(-3, 2))
    small = [draw(few(1, s)) for s in shape]
    return [floats(draw, *shape), ints(draw, -shape[axis], shape[axis], *small)], [], {"axis": axis}


@case
def GatherND(draw):
    b = draw(few(0, 1))
    shape = [2, *[draw(few(1, 4)) for _ in range(2)]]
    k = draw(few(1, 3 - b))
    lead = [2] * b + [draw(few(1, 3))]
    index = np.stack([ints(draw, -n, n, *lead) for n in shape[b : b + k]], -1)
    return [floats(draw, *shape), index], [], {"batch_dims": b}


@case
def ScatterElements(draw):
    shape = [draw(few(1, 4)) for _ in range(2)]
    axis = draw(few(-2, 1))
    small = [draw(few(1, s)) for s in shape]
    how = draw(st.sampled_from(["none", "add", "mul", "max", "min"]))
    rng = np.random.default_rng(draw(few(0, 99)))
    rows = [rng.permutation(shape[axis])[: small[axis]] for _ in range(small[1 - axis % 2])]
    index = (
        np.stack(rows, 1 - axis % 2)
        if how == "none"
        else ints(draw, -shape[axis], shape[axis], *small)
    )
    return [floats(draw, *shape), index, floats(draw, *small)], [], {"axis": axis, "reduction": how}


@case
def ScatterND(draw):
    how = draw(st.sampled_from(["add", "mul", "max", "min"]))
    index = np.stack([ints(draw, -n, n, 4) for n in (3, 2)], -1)
    return [floats(draw, 3, 2, 2), index, floats(draw, 4, 2)], [], {"reduction": how}


@case
def TopK(draw):
    axis = draw(few(-2, 1))
    x = ints(draw, 0, 5, 3, 4, dtype="float32")
    return (
        [x],
        [np.array([draw(few(0, x.shape[axis]))])],
        {"axis": axis, **some(draw, largest=draw(few(0, 1)))},
    )


@case
def CumSum(draw):
    return [floats(draw, 3, 4)], [np.array(draw(few(-2, 1)))], some(draw, exclusive=1, reverse=1)


def reduction(draw):
    axes = draw(st.none() | st.lists(few(0, 2), unique=True, max_size=3))
    known = [] if axes is None else [np.array(axes, "int64")]
    return (
        [np.abs(floats(draw, 2, 3, 2)) + 1],
        known,
        some(draw, keepdims=0, noop_with_empty_axes=1),
    )


for _name in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare"):
    CASES[f"Reduce{_name}"] = reduction


@case
def ArgMax(draw):
    x = ints(draw, 0, 3, 3, 4, dtype="float32")
    return [x], [], {"axis": draw(few(-2, 1)), **some(draw, keepdims=0, select_last_index=1)}


@case
def Split(draw):
    sizes = draw(st.lists(few(0, 3), min_size=1, max_size=3))
    return [floats(draw, 2, sum(sizes))], [np.array(sizes)], {"axis": 1, "_outputs": len(sizes)}


def recurrent(gates, more):
    def make(draw):
        direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
        d, t, b, i, n = 1 + (direction == "bidirectional"), draw(few(1, 4)), 2, 3, 4
        x = floats(draw, t, b, i)
        args = [x, floats(draw, d, gates * n, i), floats(draw, d, gates * n, n)]
        args.append(floats(draw, d, 2 * gates * n) if draw(st.booleans()) else None)
        args.append(ints(draw, 1, t + 1, b, dtype="int32") if draw(st.booleans()) else None)
        args += [floats(draw, d, b, n) if draw(st.booleans()) else None for _ in range(more)]
        if gates == 4:
            args.append(floats(draw, d, 3 * n) if draw(st.booleans()) else None)
        how = {"direction": direction, "hidden_size": n, "_outputs": 1 + more}
        if draw(st.booleans()):
            how["clip"] = 0.5
        if gates == 3:
            how |= some(draw, linear_before_reset=1)
        if draw(st.booleans()):
            names = {1: ["Relu"], 3: ["HardSigmoid", "Softsign"], 4: ["Sigmoid", "Relu", "Tanh"]}[
                gates
            ]
            how["activations"] = names * d
        return args, [], how

    return make


CASES |= {"RNN": recurrent(1, 1), "GRU": recurrent(3, 1), "LSTM": recurrent(4, 2)}


@case
def GridSample(draw):
    how = some(
        draw, align_corners=1, mode=draw(st.sampled_from(["linear", "nearest"])),
        padding_mode=draw(st.sampled_from(["zeros", "border", "reflection"])),
    )  # fmt: skip
    return [floats(draw, 2, 2, 3, 4), 0.8 * floats(draw, 2, 3, 2, 2)], [], how


@case
def MaxRoiPool(draw):
    rois = [[draw(few(0, 1)), *sorted([draw(few(0, 12)), draw(few(0, 12))])] for _ in range(6)]
    boxes = [[a[0], a[1], b[1], a[2], b[2]] for a, b in zip(rois[::2], rois[1::2])]
    how = {"pooled_shape": [draw(few(1, 3)), 2], "spatial_scale": draw(st.sampled_from([1.0, 0.5]))}
    return [floats(draw, 2, 3, 6, 7), np.array(boxes, "float32")], [], how


@case
def RoiAlign(draw):
    corner = np.sort(ints(draw, 0, 12, 3, 2, 2).astype("float32"), 1).reshape(3, 4)
    how = {"output_height": 2, "output_width": draw(few(1, 3)), "sampling_ratio": draw(few(1, 2))}
    modes = st.sampled_from(["half_pixel", "output_half_pixel"])
    how |= {"spatial_scale": 0.5, "coordinate_transformation_mode": draw(modes)}
    return [floats(draw, 2, 3, 6, 7), corner, ints(draw, 0, 2, 3)], [], how


@case
def LayerNormalization(draw):
    axis = draw(few(-3, 2))
    shape = (2, 3, 4)[axis:]
    return [floats(draw, 2, 3, 4), floats(draw, *shape), floats(draw, *shape)], [], {"axis": axis}


@case
def LRN(draw):
    return (
        [floats(draw, 2, 5, 3)[..., None]],
        [],
        {"size": draw(st.sampled_from([1, 3, 5])), "alpha": 0.5},
    )


@case
def Mod(draw):
    dtype = draw(st.sampled_from(["int32", "int64", "float32"]))
    a, b = (ints(draw, low, 9, 6, dtype=dtype) for low in (-9, 1))
    return (
        [a, b * draw(st.sampled_from([-1, 1]))],
        [],
        {"fmod": 1} if dtype == "float32" else some(draw, fmod=1),
    )


@case
def Div(draw):
    return [ints(draw, -9, 9, 6), ints(draw, 1, 5, 6) * draw(st.sampled_from([-1, 1]))], [], {}


@case
def QuantizeLinear(draw):
    kind = draw(st.sampled_from(["uint8", "int8"]))
    n = draw(st.sampled_from([(), (3,)]))
    scale = np.abs(floats(draw, *n)) + np.float32(0.01)
    return [3 * floats(draw, 2, 3, 2), scale, ints(draw, 0, 9, *n, dtype=kind)], [], {"axis": 1}


@case
def QLinearConv(draw):
    w = ints(draw, -9, 9, 3, 2, 2, 2, dtype="int8")
    scale, one = (
        (lambda *s: np.abs(floats(draw, *s)) + np.float32(0.1)),
        lambda: np.uint8(draw(few(0, 9))),
    )
    args = [
        ints(draw, 0, 9, 1, 2, 4, 4, dtype="uint8"),
        scale(),
        one(),
        w,
        scale(3),
        np.zeros(3, "int8"),
    ]
    return (
        [*args, scale() + np.float32(1), one(), ints(draw, -9, 9, 3, dtype="int32")],
        [],
        {"pads": [1, 0, 0, 1]},
    )


@case
def Softmax(draw):
    return [floats(draw, 2, 3, 2)], [], {"axis": draw(few(-3, 2))}


def model_of(op, fed, known, attributes):
    inputs, names, inits, values = [], [], [], {}
    for i, x in enumerate([*fed, *known]):
        names.append("" if x is None else f"i{i}")
        if x is None:
            continue
        x = np.asarray(x)
        if i < len(fed):
            inputs.append(
                h.make_tensor_value_info(f"i{i}", h.np_dtype_to_tensor_dtype(x.dtype), x.shape)
            )
            values[f"i{i}"] = x
        else:
            inits.append(numpy_helper.from_array(x, f"i{i}"))
    outputs = [f"o{i}" for i in range(attributes.pop("_outputs", 2 if op == "TopK" else 1))]
    node = h.make_node(op, names, outputs, **attributes)
    graph = h.make_graph(
        [node], "g", inputs, [h.make_empty_tensor_value_info(o) for o in outputs], inits
    )
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 21)], ir_version=10), values


@pytest.mark.parametrize("op", CASES)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES < 50,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_op(op, data):
    model, values = model_of(op, *CASES[op](data.draw))
    try:
        session = ort.InferenceSession(model.SerializeToString(), ALONE)
        want = session.run(None, values)
    except Exception:  # what onnxruntime refuses or lacks is no reference
        return
    out = mg.load(model).on("numpy").call(*values.values())
    for a, b in zip(out if isinstance(out, tuple) else (out,), want, strict=True):
        assert a.shape == b.shape and a.dtype.name == b.dtype.name
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-4, atol=1e-4)
