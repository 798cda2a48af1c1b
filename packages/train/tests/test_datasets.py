"""Datasets: what comes out, in which order, and that a walk can be cut anywhere."""

import contextlib
import json
import threading
import time

import monograph as mg
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from monograph.errors import ArgumentError
from monograph_train import Dataset


def plain(item):
    return mg.tree.map(lambda v: np.asarray(v).tolist(), item)


def double(x):
    return x * 2


def jitter(x, rng):
    return x + rng.integers(1000)


# stages by name; a pipeline is a source and a list of them
STAGES = {
    "shuffle": lambda d, n: d.shuffle(n, buffer=1 + n % 4),
    "map": lambda d, n: d.map(double),
    "threads": lambda d, n: d.map(double, workers=1 + n % 3),
    "augment": lambda d, n: d.map(jitter, workers=n % 3, seed=n),
    "batch": lambda d, n: d.batch(1 + n % 4, drop_remainder=n % 2 == 0).map(np.sum),
    "repeat": lambda d, n: d.repeat(1 + n % 3),
    "take": lambda d, n: d.take(n),
    "skip": lambda d, n: d.skip(n % 4),
    "prefetch": lambda d, n: d.prefetch(1 + n % 3),
}
SOURCES = {
    "arrays": lambda n: Dataset.from_arrays(np.arange(n)),
    "shuffled": lambda n: Dataset.from_arrays(np.arange(n)).shuffle(n),
    "stream": lambda n: Dataset.from_generator(lambda: iter(range(n))),
}


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(SOURCES)),
    st.integers(0, 12),
    st.lists(st.tuples(st.sampled_from(sorted(STAGES)), st.integers(0, 9)), max_size=4),
    st.integers(0, 2),
    st.data(),
)
def test_a_walk_cut_anywhere_goes_on_without_losing_or_repeating(source, n, stages, epoch, data):
    def make():
        d = SOURCES[source](n)
        for name, k in stages:
            d = STAGES[name](d, k)
        return d

    whole = [plain(x) for x in make().iterate(epoch)]
    known = make().length()
    assert known is None or known == len(whole)
    cut = data.draw(st.integers(0, len(whole)))
    walk = make().iterate(epoch)
    before = [plain(next(walk)) for _ in range(cut)]
    state = json.loads(json.dumps(walk.state()))  # a state is JSON
    walk.close()
    after = make().iterate(epoch, state)
    assert before + [plain(x) for x in after] == whole
    assert list(after) == [], "a walk that ended stays ended"


def test_a_shuffle_is_a_permutation_that_differs_by_seed_and_epoch():
    orders = [
        [int(x) for x in Dataset.from_arrays(np.arange(40)).shuffle(seed).iterate(epoch)]
        for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))
    ]
    assert orders[0] == orders[1]
    assert len({tuple(o) for o in orders}) == 3
    assert all(sorted(o) == list(range(40)) for o in orders)
    streamed = Dataset.from_generator(lambda: iter(range(40))).shuffle(0, buffer=8)
    assert sorted(streamed) == list(range(40)) and list(streamed) != list(range(40))
    twice = [int(x) for x in Dataset.from_arrays(np.arange(40)).shuffle(0).repeat(2)]
    assert twice[:40] == orders[0] and twice[40:] == orders[2], "a round is an epoch"


def test_batches_are_rows_of_every_array_in_any_structure():
    x = {"a": np.arange(10).reshape(5, 2), "b": np.arange(5.0)}
    got = list(Dataset.from_arrays(x, np.arange(5)).batch(2))
    assert [b[1].tolist() for b in got] == [[0, 1], [2, 3], [4]]
    assert got[1][0]["a"].tolist() == [[4, 5], [6, 7]] and got[1][0]["b"].tolist() == [2.0, 3.0]
    single = next(iter(Dataset.from_arrays(x, np.arange(5))))
    assert single[0]["a"].tolist() == [0, 1] and single[1] == 0


def test_what_comes_out_cannot_change_the_source():
    x = np.arange(6)
    for data in (Dataset.from_arrays(x).batch(3), Dataset.from_arrays(x).shuffle(0).batch(3)):
        batch = next(iter(data))
        with contextlib.suppress(ValueError):  # a view is read-only, a copy is the caller's own
            batch[:] = -1
        assert x.tolist() == [0, 1, 2, 3, 4, 5]


def test_files_are_loaded_one_by_one_in_shuffled_order(tmp_path):
    for i in range(5):
        np.save(tmp_path / f"{i}.npy", np.full(3, i))
    paths = sorted(tmp_path.iterdir())
    data = Dataset.from_files(paths, np.load).shuffle(1).batch(2)
    rows = np.concatenate(list(data))
    assert sorted(rows[:, 0]) == [0, 1, 2, 3, 4] and rows.shape == (5, 3) and len(data) == 3
    with pytest.raises(ArgumentError, match=r"no such file: .*nothing\.npy, .*neither\.npy"):
        Dataset.from_files([tmp_path / "nothing.npy", paths[0], tmp_path / "neither.npy"], np.load)


@pytest.mark.parametrize("workers", [0, 3])
def test_an_error_in_map_comes_out_at_its_sample_and_names_it(workers):
    def fn(x):
        if x == 5:
            raise RuntimeError("bad pixel")
        return x

    walk = iter(Dataset.from_arrays(np.arange(9)).map(fn, workers))
    assert [int(next(walk)) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(RuntimeError, match="bad pixel") as caught:
        next(walk)
    assert caught.value.__notes__ == ["in Dataset.map, at sample 5 of the epoch"]
    walk.close()


def test_map_workers_run_at_the_same_time():
    together = threading.Barrier(3, timeout=20)  # passes only if three calls wait at once
    got = list(Dataset.from_arrays(np.arange(6)).map(lambda x: together.wait() * 0 + x, workers=3))
    assert got == list(range(6))


def prefetchers():
    return [t for t in threading.enumerate() if t.name == "monograph-prefetch" and t.is_alive()]


def test_no_prefetch_thread_outlives_its_iterator():
    data = Dataset.from_generator(lambda: iter(range(10**9))).prefetch(2)
    walk = iter(data)
    assert [next(walk) for _ in range(3)] == [0, 1, 2] and prefetchers()
    walk.close()
    assert not prefetchers()
    for i in data:
        if i == 3:
            break
    deadline = time.monotonic() + 20  # the loop's iterator was dropped
    while prefetchers() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not prefetchers()


def test_an_error_in_a_prefetched_stage_comes_out_where_it_would_have():
    def numbers():
        yield 1
        raise KeyError("gone")

    walk = iter(Dataset.from_generator(numbers).prefetch(3))
    assert next(walk) == 1
    with pytest.raises(KeyError, match="gone"):
        next(walk)
    with pytest.raises(StopIteration):
        next(walk)


def test_prefetch_puts_batches_on_an_engine():
    (x, y), *_ = Dataset.from_arrays(np.arange(4.0), np.arange(4)).batch(2).prefetch(1, "numpy")
    assert isinstance(x, mg.Tensor) and str(x.device) == "numpy:cpu:0" and y.tolist() == [0, 1]


def test_repeating_for_ever_has_no_length_and_an_empty_source_ends():
    data = Dataset.from_arrays(np.arange(3)).repeat()
    walk = iter(data)
    assert [int(next(walk)) for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]
    with pytest.raises(TypeError, match="length of this dataset is not known"):
        len(data)
    assert list(Dataset.from_arrays(np.arange(0)).repeat()) == []


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Dataset.from_arrays(), "at least one array"),
        (lambda: Dataset.from_arrays(np.arange(3), np.arange(4)), r"\(3,\).*\(4,\)"),
        (lambda: Dataset.from_arrays(np.array(1.0)), r"first axis.*\(\)"),
        (lambda: Dataset.from_arrays(np.arange(3)).batch(0), "size=0"),
        (lambda: Dataset.from_arrays(np.arange(3)).prefetch(0), "count=0"),
        (lambda: Dataset.from_generator(lambda: iter("ab")).shuffle(0), "needs buffer="),
        (
            lambda: list(Dataset.from_generator(lambda: iter([np.ones(2), np.ones(3)])).batch(2)),
            r"one shape, got \(2,\), \(3,\)",
        ),
    ],
)
def test_mistakes_are_explained(make, words):
    with pytest.raises(ArgumentError, match=words):
        make()


def test_a_state_of_another_dataset_is_refused():
    data = Dataset.from_arrays(np.arange(9)).shuffle(1)
    state = data.batch(2).iterate(epoch=3).state()
    for other in (data.batch(3), Dataset.from_arrays(np.arange(8)).shuffle(1).batch(2)):
        with pytest.raises(ArgumentError, match="does not fit"):
            other.iterate(state=state)
    with pytest.raises(ArgumentError, match="state is of epoch 3, not of 2"):
        data.batch(2).iterate(2, state)
    assert len(list(data.batch(2).prefetch(2).iterate(state=state))) == 5
