"""Indexing against NumPy's: reading with ``x[key]``, writing with ``x.at[key]``, eagerly and traced."""

import monograph as mg
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from monograph.errors import DataDependentShape, DTypeError, NotDifferentiable, ShapeError

profile = settings(deadline=None, max_examples=150, database=None)
fewer = settings(profile, max_examples=60)


@st.composite
def arrays_and_keys(draw):
    """An array and a key that NumPy accepts for it."""
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
    lead = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    key, axis, dots = [], 0, False
    while axis < len(shape):
        n = shape[axis]
        kind = draw(
            st.sampled_from(
                ["none", "int", "slice", "array", "array", "mask", "bool", "dots", "stop"]
            )
        )
        if kind == "none":
            key.append(None)
        elif kind == "int" and n:
            key.append(draw(st.integers(-n, n - 1)))
            axis += 1
        elif kind == "slice":
            ends = st.none() | st.integers(-n - 2, n + 2)
            step = draw(st.sampled_from([None, 1, 2, 3, -1, -2, -3]))
            key.append(slice(draw(ends), draw(ends), step))
            axis += 1
        elif kind == "array" and n:
            part = lead[draw(st.integers(0, len(lead))) :]
            part = tuple(1 if draw(st.booleans()) else m for m in part)
            key.append(rng.integers(-n, n, part))
            axis += 1
        elif kind == "mask":
            axes = draw(st.integers(1, min(2, len(shape) - axis)))
            key.append(rng.random(shape[axis : axis + axes]) < 0.5)
            axis += axes
        elif kind == "bool" and len(key) < 3:
            key.append(draw(st.booleans()))
        elif kind == "dots" and not dots:
            key.append(Ellipsis)
            dots = True
            axis += draw(st.integers(0, len(shape) - axis))
        elif kind == "stop":
            break
    array = rng.integers(0, 100, shape).astype("float32")
    return array, tuple(key)


def selected(array, key):
    """What NumPy selects, or None where masks and arrays do not broadcast together."""
    try:
        return array[key]
    except IndexError:
        return None


@given(arrays_and_keys())
@profile
def test_reading_is_numpys(case):
    array, key = case
    want = selected(array, key)
    if want is None:
        with pytest.raises((IndexError, ShapeError)):
            mg.tensor(array)[key]
        return
    got = mg.tensor(array)[key]
    assert got.shape == want.shape
    assert np.array_equal(got.numpy(), want)


@given(arrays_and_keys())
@fewer
def test_reading_while_tracing_is_numpys(case):
    array, key = case
    want = selected(array, key)
    if want is None:
        return
    got = mg.jit(lambda x: x[key])(array)
    assert got.shape == want.shape
    assert np.array_equal(got.numpy(), want)


@given(arrays_and_keys())
@fewer
def test_traced_index_arrays_read_what_known_ones_read(case):
    array, key = case
    want = selected(array, key)
    is_index = [isinstance(k, np.ndarray) and k.dtype != bool for k in key]
    if want is None or not any(is_index):
        return

    def read(x, *indices):
        rest = iter(indices)
        return x[tuple(next(rest) if i else k for k, i in zip(key, is_index))]

    got = mg.jit(read)(array, *[k for k, i in zip(key, is_index) if i])
    assert got.shape == want.shape
    assert np.array_equal(got.numpy(), want)


@given(arrays_and_keys())
@profile
def test_writing_is_numpys(case):
    array, key = case
    want = selected(array, key)
    if want is None:
        return
    values = np.random.default_rng(0).integers(1, 9, want.shape).astype("float32")
    set_, added, largest = array.copy(), array.copy(), array.copy()
    set_[key] = values
    np.add.at(added, key, values)
    np.maximum.at(largest, key, 5 * values)
    x = mg.tensor(array)
    assert np.array_equal(x.at[key].set(values).numpy(), set_)
    assert np.array_equal(x.at[key].add(values).numpy(), added)
    assert np.array_equal(x.at[key].max(5 * values).numpy(), largest)
    assert np.array_equal(x.numpy(), array)


def test_a_value_written_broadcasts_and_repeated_places_add_up():
    x = mg.zeros((2, 3))
    assert x.at[:, 1].set(mg.tensor([5.0, 6.0])).tolist() == [[0, 5, 0], [0, 6, 0]]
    assert x.at[0].set([[1.0, 2.0, 3.0]]).tolist() == [[1, 2, 3], [0, 0, 0]]
    assert x.at[[0, 0, 1]].add(1.0).tolist() == [[2, 2, 2], [1, 1, 1]]
    assert mg.ones((3,)).at[[1, 1]].multiply(3.0).tolist() == [1, 9, 1]
    assert mg.tensor([4, 1]).at[...].min(2).tolist() == [2, 1]


def test_a_write_of_another_dtype_is_refused():
    with pytest.raises(DTypeError, match="cannot hold float32"):
        mg.tensor([1, 2]).at[0].set(0.5)


@pytest.mark.parametrize(
    "key",
    [3, -4, (0, 2), [0, 3], (slice(None), 2), (0, 0, 0), np.ones((2, 2), bool), (..., 0, ...)],
)
def test_places_outside_are_index_errors(key):
    x = mg.zeros((3, 2))
    for read in (lambda: x[key], lambda: mg.trace(lambda v: v[key], x.spec)):
        with pytest.raises(IndexError, match=__file__):
            read()


@pytest.mark.parametrize("key", [0.5, "a", [0.5], (0, 1.0)])
def test_what_is_no_index_is_an_index_error_and_a_type_error(key):
    for error in (IndexError, TypeError):
        with pytest.raises(error):
            mg.zeros((3, 2))[key]


def test_a_mask_that_is_traced_has_no_known_length():
    spec = mg.Spec((4,), "float32")
    with pytest.raises(DataDependentShape, match=r"test_indexing.py:\d+: the mask bool\[4\]"):
        mg.trace(lambda x: x[x > 0], spec)


def test_a_known_mask_works_while_tracing():
    mask = np.array([True, False, True])
    assert mg.jit(lambda x: x[mask])(mg.tensor([1.0, 2.0, 3.0])).tolist() == [1, 3]
    assert mg.jit(lambda x: x.at[mask].set(0.0))(mg.tensor([1.0, 2.0, 3.0])).tolist() == [0, 2, 0]


def test_a_mask_without_elements_selects_none_of_any_axis():
    empty = np.zeros((0, 2), bool)
    assert np.ones((3, 2))[empty].shape == mg.ones((3, 2))[empty].shape == (0,)


def test_traced_indices_outside_are_clamped_in_reading_and_skipped_in_writing():
    x, i = mg.tensor([1.0, 2.0, 3.0]), mg.tensor([-1, 7])
    assert mg.jit(lambda x, i: x[i])(x, i).tolist() == [3, 3]
    assert mg.jit(lambda x, i: x.at[i].set(0.0))(x, i).tolist() == [1, 2, 0]


def test_reading_many_places_compiles_one_program():
    from monograph import eager

    x = mg.tensor(np.arange(50.0, dtype="float32"))
    assert x[0].item() == 0
    before = len(eager._compiled)
    assert [x[i].item() for i in range(1, 50)] == list(range(1, 50))
    assert len(eager._compiled) == before


def test_gradients_flow_through_reading_and_writing():
    x, v = mg.tensor([1.0, 2.0, 3.0]), mg.tensor([5.0, 6.0])

    def weighted(y):
        return mg.sum(y * mg.tensor([1.0, 10.0, 100.0]))

    assert mg.grad(lambda x: mg.sum(x[[0, 0, 2]] * x[::-1]))(x).tolist() == [8, 1, 2]
    both = mg.grad(lambda x, v: weighted(x.at[[2, 0]].set(v)), argnums=(0, 1))
    assert [g.tolist() for g in both(x, v)] == [[0, 10, 0], [100, 1]]
    both = mg.grad(lambda x, v: weighted(x.at[::2].set(v)), argnums=(0, 1))
    assert [g.tolist() for g in both(x, v)] == [[0, 10, 0], [1, 100]]
    both = mg.grad(lambda x, v: weighted(x.at[[1, 2]].multiply(v)), argnums=(0, 1))
    assert [g.tolist() for g in both(x, v)] == [[1, 50, 600], [20, 300]]
    # of two values for one place the last is what counts
    both = mg.grad(lambda x, v: weighted(x.at[[1, 1]].set(v)), argnums=(0, 1))
    assert [g.tolist() for g in both(x, v)] == [[1, 0, 100], [0, 10]]
    with pytest.raises(NotDifferentiable, match="unique"):
        mg.grad(lambda x: weighted(x.at[[1, 1]].multiply(v)))(x)


def test_take_along_axis_pairs_and_repeats_the_other_axes():
    rng = np.random.default_rng(0)
    x, i = rng.normal(size=(3, 4, 5)), rng.integers(-4, 4, (3, 2, 5))
    want = np.take_along_axis(x, i, 1)
    assert np.array_equal(mg.take_along_axis(x, i, axis=1).numpy(), want)
    assert np.array_equal(mg.jit(lambda x, i: mg.take_along_axis(x, i, axis=1))(x, i).numpy(), want)
    i = i[:, :, :1]
    assert np.array_equal(mg.take_along_axis(x, i, axis=1).numpy(), np.take_along_axis(x, i, 1))
    with pytest.raises(IndexError, match="index 4 is out of range for axis 1"):
        mg.take_along_axis(x, np.full((3, 1, 5), 4), axis=1)
