"""The array API's functions against NumPy's, on random arrays; what the standard adds, by example."""

import itertools
import math

import monograph as mg
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from monograph.errors import ArgumentError, DataDependentShape, DTypeError, ShapeError

profile = settings(max_examples=60, deadline=None, database=None)
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
REAL = (*INTEGERS, "float32", "float64")
ALL = ("bool", *REAL, "complex64", "complex128")


def shapes(**limits):
    return hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4, **limits)


def filled(dtype, shape, seed=0, low=-9):
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    return np.asarray(rng.integers(0 if dtype.startswith("u") else low, 10, shape)).astype(dtype)


# ---- promotion


@pytest.mark.parametrize(("a", "b"), list(itertools.combinations_with_replacement(ALL, 2)))
def test_promotion_is_numpys_where_the_standard_defines_it(a, b):
    kinds = {np.dtype(a).kind, np.dtype(b).kind}
    mixed = len(kinds & set("biu")) > 0 and len(kinds & set("fc")) > 0
    if {"uint64"} & {a, b} and "i" in kinds:
        with pytest.raises(DTypeError, match="no common integer dtype"):
            mg.result_type(a, b)
    elif mixed:  # ours: an integer never widens a float
        assert mg.result_type(a, b).name == (a if np.dtype(a).kind in "fc" else b)
    else:
        assert mg.result_type(a, b).numpy == np.result_type(a, b)
        x = mg.ones((1,), dtype=a) == mg.ones((1,), dtype=b)
        assert x.all().item()


@pytest.mark.parametrize("dtype", REAL)
def test_python_numbers_adapt_to_the_array(dtype):
    x = mg.ones((2,), dtype=dtype)
    assert (x + 1).dtype is x.dtype
    assert (2 * x).dtype is x.dtype
    assert (x + 1.5).dtype is (x.dtype if x.dtype.is_float else mg.float32)
    if x.dtype.is_integer:
        with pytest.raises(DTypeError, match="does not fit"):
            x + 2**70


@given(hnp.mutually_broadcastable_shapes(num_shapes=2, min_side=0, max_side=3, max_dims=3))
@profile
def test_broadcasting_is_numpys(case):
    a, b = (filled("float32", s, i) for i, s in enumerate(case.input_shapes))
    got = mg.tensor(a) - mg.tensor(b)
    assert got.shape == case.result_shape
    assert np.array_equal(got.numpy(), a - b)


def test_shapes_that_do_not_broadcast_are_named():
    with pytest.raises(ShapeError, match=r"test_array_api.py:\d+.*axis -1 is 2 in one and 3"):
        mg.ones((2,)) + mg.ones((4, 3))


# ---- arithmetic where NumPy's answer is the standard's


@given(st.sampled_from(REAL), st.integers(0, 2**20))
@profile
def test_division_and_remainder_are_pythons(dtype, seed):
    a, b = filled(dtype, (20,), seed), filled(dtype, (20,), seed + 1)
    b[b == 0] = 3
    for ours, theirs in ((mg.floor_divide, np.floor_divide), (mg.remainder, np.remainder)):
        got = ours(mg.tensor(a), mg.tensor(b)).numpy()
        assert got.dtype == a.dtype
        assert np.array_equal(got, theirs(a, b))


@pytest.mark.parametrize("name", ["pow", "atan2", "hypot", "copysign", "logaddexp", "floor_divide",
    "divide", "add", "multiply", "maximum", "nextafter", "remainder"])  # fmt: skip
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values_of_pairs_are_numpys(name, dtype):
    theirs = {"pow": np.power, "atan2": np.arctan2}.get(name) or getattr(np, name)
    values = np.array([0.0, -0.0, 1.0, -1.0, 2.5, -3.0, np.inf, -np.inf, np.nan], dtype)
    a, b = np.meshgrid(values, values)
    with np.errstate(all="ignore"):
        want = theirs(a, b)
    got = getattr(mg, name)(mg.tensor(a), mg.tensor(b)).numpy()
    if name == "floor_divide":  # the standard: with one 0 below or one infinity it is x / y
        with np.errstate(all="ignore"):
            want = np.where((b == 0) | (np.isinf(a) ^ np.isinf(b)), a / b, want)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    zero = want == 0
    if name != "maximum":  # which zero is the larger is not promised
        assert np.array_equal(np.signbit(got)[zero], np.signbit(want)[zero])


def test_which_zero_is_the_larger_and_the_sign_of_zero_are_not_promised_only_that_they_are_zero():
    zeros = mg.tensor([0.0, -0.0])
    for x in (mg.maximum(zeros, -zeros), mg.minimum(zeros, -zeros), mg.sign(zeros)):
        assert x.tolist() == [0, 0]


# ---- reductions


@given(st.sampled_from(REAL), shapes(), st.data())
@profile
def test_reductions_are_numpys(dtype, shape, data):
    x = filled(dtype, shape)
    axes = list(range(-len(shape), len(shape)))
    axis = data.draw(st.none() | st.sampled_from(axes) if axes else st.none())
    keepdims = data.draw(st.booleans())
    for name in ("sum", "prod", "any", "all", "count_nonzero"):
        got = getattr(mg, name)(mg.tensor(x), axis=axis, keepdims=keepdims)
        want = np.asarray(getattr(np, name)(x, axis=axis, keepdims=keepdims))
        assert got.shape == want.shape
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-5)
        assert got.dtype.kind == mg.tensor(want).dtype.kind
    if x.size:
        for name in ("max", "min", "argmax", "argmin"):
            want = np.asarray(getattr(np, name)(x, axis=axis, keepdims=keepdims))
            got = getattr(mg, name)(mg.tensor(x), axis=axis, keepdims=keepdims)
            assert got.shape == want.shape
            assert np.array_equal(got.numpy(), want)


@given(st.sampled_from(REAL), shapes().filter(len), st.data())
@profile
def test_running_sums_products_and_differences_are_numpys(dtype, shape, data):
    x = filled(dtype, shape, low=-3)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    initial = data.draw(st.booleans())
    for name in ("cumulative_sum", "cumulative_prod"):
        got = getattr(mg, name)(mg.tensor(x), axis=axis, include_initial=initial).numpy()
        want = getattr(np, name)(x, axis=axis, include_initial=initial)
        np.testing.assert_allclose(got, want, rtol=1e-5)
    n = data.draw(st.integers(0, 3))
    assert np.array_equal(mg.diff(mg.tensor(x), axis=axis, n=n).numpy(), np.diff(x, n, axis))


# ---- searching, sorting, sets


@given(
    hnp.arrays("float32", st.integers(0, 9), elements=st.integers(-3, 3) | st.just(math.nan)),
    hnp.arrays("float32", shapes(), elements=st.integers(-4, 4) | st.just(math.nan)),
    st.sampled_from(["left", "right"]),
)
@profile
def test_searchsorted_is_numpys(line, x, side):
    order = np.argsort(line)
    want = np.searchsorted(line, x, side, order)
    got = mg.searchsorted(line, x, side=side, sorter=order)
    assert got.dtype is mg.int64
    assert np.array_equal(got.numpy(), want)
    traced = mg.jit(lambda a, b: mg.searchsorted(mg.sort(a), b, side=side))(line, x)
    assert np.array_equal(traced.numpy(), want)


@given(st.sampled_from(REAL), shapes().filter(len), st.booleans())
@profile
def test_sorting_is_stable_both_ways(dtype, shape, descending):
    x = filled(dtype, shape, low=-2)
    order = mg.argsort(mg.tensor(x), descending=descending).numpy()
    key = -x.astype("float64") if descending else x
    assert np.array_equal(order, np.argsort(key, stable=True))
    want = np.take_along_axis(x, order, -1)
    assert np.array_equal(mg.sort(mg.tensor(x), descending=descending).numpy(), want)


@given(st.sampled_from(ALL), shapes())
@profile
def test_unique_elements_are_numpys(dtype, shape):
    x = filled(dtype, shape, low=-2)
    got, want = mg.unique_all(mg.tensor(x)), np.unique_all(x)
    for ours, theirs in zip(got, want):
        assert np.array_equal(ours.numpy(), theirs)
    assert np.array_equal(mg.unique_values(x).numpy(), want.values)
    assert np.array_equal(mg.unique_counts(x).counts.numpy(), want.counts)
    assert mg.unique_inverse(x).inverse_indices.shape == shape


def test_every_nan_is_a_value_of_its_own():
    assert mg.unique_counts(mg.tensor([math.nan, 1.0, math.nan])).counts.tolist() == [1, 1, 1]


@given(st.sampled_from(ALL), shapes(), shapes(), st.booleans())
@profile
def test_isin_is_numpys(dtype, shape, others, invert):
    a, b = filled(dtype, shape, low=-3), filled(dtype, others, 1, low=-3)
    got = mg.isin(mg.tensor(a), mg.tensor(b), invert=invert)
    assert np.array_equal(got.numpy(), np.isin(a, b, invert=invert))


@pytest.mark.parametrize("name", ["unique_all", "unique_counts", "unique_inverse", "unique_values",
    "nonzero"])  # fmt: skip
def test_a_length_that_depends_on_data_cannot_be_traced(name):
    with pytest.raises(DataDependentShape, match=rf"test_array_api.py:\d+: {name} has a shape"):
        mg.trace(lambda x: getattr(mg, name)(x), mg.Spec((3,), "float32"))


def test_nonzero_works_on_constants_while_tracing():
    mask = np.array([[True, False], [True, True]])
    rows = mg.jit(lambda x: x[mg.nonzero(mask)])(mg.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert rows.tolist() == [1, 3, 4]


def test_repeats_may_differ_by_element_where_they_are_known():
    x = mg.tensor([[1, 2], [3, 4]])
    assert mg.repeat(x, mg.tensor([2, 0]), axis=1).tolist() == [[1, 1], [3, 3]]
    with pytest.raises(DataDependentShape, match="repeat has a shape"):
        mg.trace(lambda n: mg.repeat(np.arange(2), n), mg.Spec((2,), "int64"))
    with pytest.raises(ArgumentError, match="at least 0"):
        mg.repeat(x, -1)


# ---- creation


@given(st.integers(-40, 40), st.integers(-40, 40), st.integers(-5, 5).filter(bool))
@profile
def test_arange_of_integers_is_pythons_range(start, stop, step):
    got = mg.arange(start, stop, step)
    assert got.dtype is mg.int64
    assert got.tolist() == list(range(start, stop, step))


def test_creation_keeps_every_digit():
    assert mg.asarray([2**60 + 1]).item() == 2**60 + 1
    assert mg.asarray([0.1, 2**53 - 1.0], dtype="float64").tolist() == [0.1, 2**53 - 1.0]
    assert mg.arange(2**60, 2**60 + 2).tolist() == [2**60, 2**60 + 1]
    assert mg.full((1,), 1e300, dtype="float64").item() == 1e300
    assert mg.linspace(0, 1, 3, endpoint=False, dtype="float64").tolist() == [0, 1 / 3, 2 / 3]


def test_linspace_between_arrays_can_be_traced_and_differentiated():
    low, high = np.array([0.0, 2.0]), np.array([1.0, -2.0])
    got = mg.jit(lambda a, b: mg.linspace(a, b, 5))(low, high)
    np.testing.assert_allclose(got.numpy(), np.linspace(low, high, 5), atol=1e-15)
    slope = mg.grad(lambda b: mg.sum(mg.linspace(0.0, b, 4, endpoint=False)))(mg.tensor(8.0))
    assert slope.item() == 0.25 + 0.5 + 0.75


def test_lists_of_traced_values_become_arrays():
    def fn(x):
        return mg.asarray([[x[0], 1.0], [x[1], x[0] + x[1]]])

    assert mg.jit(fn)(mg.tensor([2.0, 3.0])).tolist() == [[2, 1], [3, 5]]


def test_the_namespace_describes_itself():
    x = mg.ones((2,))
    assert x.__array_namespace__() is x.__array_namespace__(api_version="2024.12") is mg
    with pytest.raises(ArgumentError, match="2024.12"):
        x.__array_namespace__(api_version="1999.01")
    info = mg.__array_namespace_info__()
    assert info.default_device() in info.devices()
    assert x.to_device(info.default_device()) is x
    assert set(info.dtypes(kind="complex floating")) == {"complex64", "complex128"}
    assert info.default_dtypes()["real floating"] is mg.float32


def test_dlpack_copies_unless_the_consumer_takes_read_only_memory():
    x = mg.tensor([1.0, 2.0])
    taken = np.from_dlpack(x, copy=True)
    taken[0] = 9
    assert x.tolist() == [1, 2]
    assert not np.from_dlpack(x, copy=False).flags.writeable
    with pytest.raises(BufferError, match="immutable"):
        x.__dlpack__(copy=False)
    assert mg.from_dlpack(x, copy=False) is x
    with pytest.raises(ValueError, match="never aliases"):
        mg.from_dlpack(np.ones(2), copy=False)


def test_an_augmented_assignment_rebinds_and_changes_nobody_else():
    x = y = mg.tensor([1.0, 2.0])
    x += 1
    x *= mg.tensor([2.0, 3.0])
    assert x.tolist() == [4, 9]
    assert y.tolist() == [1, 2]


# ---- what NumPy's users expect beyond the standard


def test_an_axis_may_be_given_by_its_place_as_in_numpy():
    x = filled("float32", (3, 4))
    t = mg.tensor(x)
    for name in ("sum", "prod", "max", "min", "mean", "std", "var", "any", "all", "argmax", "sort",
                 "argsort", "flip", "count_nonzero"):  # fmt: skip
        theirs = getattr(np, name)
        for got in (getattr(mg, name)(t, 0), mg.jit(lambda v, fn=theirs: fn(v, 0))(t)):
            np.testing.assert_allclose(got.numpy(), theirs(x, 0), rtol=1e-6)
    assert np.array_equal(mg.concat([t, t], 1).numpy(), np.concatenate([x, x], 1))
    assert np.array_equal(mg.take(t, [1, 0], 1).numpy(), np.take(x, [1, 0], 1))
    assert np.array_equal(mg.roll(t, 1, 0).numpy(), np.roll(x, 1, 0))
    assert np.array_equal(mg.repeat(t, 2, 1).numpy(), np.repeat(x, 2, 1))
    np.testing.assert_allclose(np.fft.fft(t, 5, 0).numpy(), np.fft.fft(x, 5, 0), atol=1e-5)


def test_arrays_are_python_sequences_eagerly_and_while_tracing():
    x = mg.tensor([[1.0, 2.0], [3.0, 4.0]])

    def total(v):
        assert len(v) == 2
        return sum(row * (i + 1) for i, row in enumerate(v))

    assert [row.tolist() for row in x] == x.tolist()
    assert mg.jit(total)(x).tolist() == total(x).tolist() == [7, 10]
    assert 3.0 in x
    assert 5.0 not in x
    for broken in (len, iter):
        with pytest.raises(TypeError, match=r"test_array_api.py:\d+: len\(\) of float32\[\]"):
            broken(mg.tensor(1.0))


def test_numbers_are_formatted_and_divided_with_rest():
    assert f"{mg.tensor(2.5):.2f}" == "2.50"
    assert f"{mg.tensor([1.0])}" == repr(mg.tensor([1.0]))
    q, r = divmod(mg.tensor([7, -7]), 3)
    assert (q.tolist(), r.tolist()) == ([2, -3], [1, 2])
    assert divmod(7, mg.tensor(2))[1].item() == 1


def test_squeeze_drops_every_axis_of_length_1_unless_told():
    assert mg.ones((1, 2, 1)).squeeze().shape == (2,)
    assert mg.squeeze(mg.ones((1, 2, 1)), 0).shape == (2, 1)
    with pytest.raises(ShapeError, match="length 2, not 1"):
        mg.squeeze(mg.ones((1, 2)), 1)


def test_nothing_cannot_be_joined():
    for join in (mg.concat, mg.stack):
        with pytest.raises(ArgumentError, match="at least one array"):
            join([])


@pytest.mark.parametrize(
    ("subscripts", "operands"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)]), ("ii->i", [(3, 3)]), ("ii", [(3, 3)]), ("ij->ji", [(2, 3)]),
        ("...ij,...jk->...ik", [(2, 2, 3), (3, 4)]), ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)]),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]), ("i,j->ij", [(2,), (3,)]), ("ij,ij->", [(2, 3)] * 2),
        ("ijk->j", [(2, 3, 4)]), ("i...->...", [(2, 3, 4)]), ("iij,jk", [(2, 2, 3), (3, 4)]),
        ("ab,cb", [(2, 3), (1, 3)]), ("ab,ab->a", [(2, 1), (2, 3)]), ("ba", [(2, 3)]),
        ("...,...", [(2, 3), (3,)]), (" i j , j -> i ", [(2, 3), (3,)]), ("ij,kl->", [(2, 3), (0, 2)]),
    ],
)  # fmt: skip
def test_einsum_is_numpys(subscripts, operands):
    xs = [np.random.default_rng(i).normal(size=s) for i, s in enumerate(operands)]
    got = mg.einsum(subscripts, *map(mg.tensor, xs)).numpy()
    want = np.einsum(subscripts, *xs)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, atol=1e-12)


@pytest.mark.parametrize(
    ("subscripts", "shapes_", "error"),
    [
        ("ij,jk->ik", [(2, 3)], ArgumentError), ("ij->ik", [(2, 3)], ArgumentError),
        ("ijk->i", [(2, 3)], ArgumentError), ("ij,jk->ik", [(2, 3), (2, 4)], ShapeError),
        ("ii->i", [(2, 3)], ShapeError), ("i->ii", [(2,)], ArgumentError), ("i1->i", [(2, 3)], ArgumentError),
    ],
)  # fmt: skip
def test_einsum_explains_subscripts_that_do_not_fit(subscripts, shapes_, error):
    with pytest.raises(error, match=r"test_array_api.py:\d+: einsum"):
        mg.einsum(subscripts, *[mg.ones(s) for s in shapes_])


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric", "wrap"])
@pytest.mark.parametrize("width", [1, (2, 1), ((1, 2), (0, 5)), 0])
def test_padding_is_numpys(mode, width):
    x = filled("float32", (3, 4))
    assert np.array_equal(mg.pad(mg.tensor(x), width, mode=mode).numpy(), np.pad(x, width, mode))


def test_padding_with_a_value_and_its_mistakes():
    assert mg.pad(mg.tensor([1, 2]), (0, 1), constant_values=7).tolist() == [1, 2, 7]
    with pytest.raises(ArgumentError, match="mode='mirror' is none of"):
        mg.pad(mg.ones((2,)), 1, mode="mirror")
    with pytest.raises(ShapeError, match="nothing to copy"):
        mg.pad(mg.ones((0,)), 1, mode="edge")


def test_nan_to_num_replaces_what_is_not_finite():
    x = np.array([np.nan, np.inf, -np.inf, 1.5], "float32")
    assert np.array_equal(mg.nan_to_num(mg.tensor(x)).numpy(), np.nan_to_num(x))
    got = mg.nan_to_num(mg.tensor(x), nan=7.0, posinf=8.0, neginf=9.0)
    assert got.tolist() == [7, 8, 9, 1.5]
    assert mg.nan_to_num(mg.tensor([1, 2])).tolist() == [1, 2]


def test_split_takes_a_number_of_parts_or_places():
    x = mg.arange(6)
    assert [p.tolist() for p in mg.split(x, 3)] == [[0, 1], [2, 3], [4, 5]]
    assert [p.tolist() for p in mg.split(x, [1, 4])] == [[0], [1, 2, 3], [4, 5]]
    with pytest.raises(ShapeError, match="does not divide"):
        mg.split(x, 4)


@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("padding", ["same", "valid", 1])
def test_a_transposed_convolution_is_the_gradient_of_the_convolution(strides, padding):
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, 2, 4))
    x = rng.normal(size=(2, 4, 5, 4))
    wide = mg.conv_transpose(x, kernel, strides=strides, padding=padding)
    image = mg.tensor(rng.normal(size=wide.shape))
    back = mg.grad(
        lambda v: mg.sum(mg.conv(v, kernel, strides=strides, padding=padding) * x)
    )(image)  # fmt: skip
    np.testing.assert_allclose(wide.numpy(), back.numpy(), atol=1e-12)


def test_one_hot_counts_more_classes_than_the_labels_dtype():
    labels = mg.tensor(np.array([3, 255], "uint8"))
    assert np.array_equal(mg.one_hot(labels, 300).numpy().argmax(-1), [3, 255])
    assert mg.one_hot(labels, 300).sum().item() == 2


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint32", "float32"])
def test_segments_of_every_dtype(dtype):
    data, ids = np.array([[3, 1], [1, 7], [2, 2]], dtype), np.array([0, 0, 2])
    info = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else None
    low, high = (info.min, info.max) if info else (-np.inf, np.inf)
    got = {f.__name__: f(data, ids, 3).tolist() for f in (mg.segment_max, mg.segment_min)}
    assert got == {
        "segment_max": [[3, 7], [low, low], [2, 2]],
        "segment_min": [[1, 1], [high, high], [2, 2]],
    }
    assert mg.segment_mean(data.astype("float32"), ids, 3).tolist() == [[2, 4], [0, 0], [2, 2]]


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_narrow_index_arrays_reach_past_their_own_range(dtype):
    x, index = np.arange(300), np.array([1, 100], dtype)
    for got in (mg.tensor(x)[index], mg.take(x, index), mg.take_along_axis(x, index)):
        assert got.tolist() == [1, 100]
    assert mg.tensor(x).at[index].set(-1)[100].item() == -1


def test_padding_is_named_in_any_case_and_its_length_is_its_own():
    x, kernel = np.ones((1, 3, 1), "float32"), np.ones((2, 4, 1), "float32")
    for name in ("same", "SAME"):
        assert mg.conv_transpose(x, kernel, strides=2, padding=name).shape == (1, 6, 4)
    with pytest.raises(mg.errors.ArgumentError, match="output_padding=1"):
        mg.conv_transpose(x, kernel, strides=2, padding="same", output_padding=1)


def test_what_needs_floats_takes_integers():
    assert mg.sigmoid(0).item() == 0.5
    assert mg.random.categorical(mg.random.key(0), np.array([0, 100])).item() == 1
