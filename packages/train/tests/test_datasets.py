"""Datasets: what comes out, in which order, and that a walk can be cut anywhere."""

import contextlib
import json
import subprocess
import sys
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


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(sorted(SOURCES)),
    st.integers(0, 12),
    st.lists(
        st.tuples(st.sampled_from(sorted(STAGES.keys() - {"batch"})), st.integers(0, 9)), max_size=4
    ),
    st.integers(1, 5),
)
def test_batches_are_the_samples_in_their_order(source, n, stages, size):
    data = SOURCES[source](n)
    for name, k in stages:
        data = STAGES[name](data, k)
    whole = [plain(x) for x in data]
    batches = [plain(b) for b in data.batch(size)]
    assert batches == [whole[i : i + size] for i in range(0, len(whole), size)]
    full = [plain(b) for b in data.batch(size, drop_remainder=True)]
    assert full == [b for b in batches if len(b) == size]


def test_batches_of_arrays_take_no_loop_over_samples_through_take_skip_and_repeat():
    x = np.arange(10)
    data = Dataset.from_arrays(x).shuffle(0)
    fetched = []
    fetch = data.fetch
    data.fetch = lambda rows: fetched.append(rows) or fetch(rows)
    got = list(data.skip(1).take(8).repeat(2).batch(3))
    assert [len(b) for b in got] == [3, 3, 3, 3, 3, 1]
    assert not any(isinstance(rows, int) for rows in fetched) and len(fetched) == 7


def test_an_endless_repeat_goes_on_in_any_round():
    for source in SOURCES.values():
        data = source(7).shuffle(3, buffer=4).repeat().batch(4).prefetch()
        walk = data.iterate()
        whole = [plain(next(walk)) for _ in range(12)]
        walk.close()
        for cut in range(12):
            first = data.iterate()
            before = [plain(next(first)) for _ in range(cut)]
            first.close()
            second = data.iterate(state=first.state())
            assert before + [plain(next(second)) for _ in range(12 - cut)] == whole
            second.close()


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("source", sorted(SOURCES))
def test_a_sample_that_failed_was_not_given(source, workers):
    bad = 5

    def fn(x):
        if x == bad:
            raise OSError("not mounted")
        return int(x)

    data = SOURCES[source](9).map(fn, workers).prefetch(2)
    walk, before = iter(data), []
    with pytest.raises(OSError, match="not mounted"):
        before.extend(walk)
    assert list(walk) == [], "a walk that failed is over"
    assert not threads()
    bad = None
    whole = list(data)
    assert before + list(data.iterate(state=walk.state())) == whole


@pytest.mark.parametrize("workers", [0, 2])
def test_a_source_fails_after_the_samples_before_it(workers):
    def numbers():
        yield from range(4)
        raise OSError("disk")

    got = []
    with pytest.raises(OSError, match="disk"):
        got.extend(Dataset.from_generator(numbers).map(lambda x: x, workers).prefetch(2))
    assert got == [0, 1, 2, 3]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stop_iteration_of_a_function_does_not_end_the_epoch_in_silence(workers):
    data = Dataset.from_arrays(np.arange(3)).map(lambda x: next(iter(())), workers)
    with pytest.raises(RuntimeError, match="raised StopIteration at sample 0"):
        list(data)


def test_a_failure_that_is_no_exception_reaches_whoever_waits():
    def numbers():
        yield 1
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        list(Dataset.from_generator(numbers).map(lambda x: x, workers=1).prefetch())


def test_a_failing_file_is_named(tmp_path):
    paths = [tmp_path / f"{i}.npy" for i in range(3)]
    for p in paths:
        np.save(p, np.zeros(2))
    paths[1].write_bytes(b"nothing")
    with pytest.raises(ValueError) as caught:
        list(Dataset.from_files(paths, np.load))
    assert caught.value.__notes__ == [f"in Dataset.map, at sample 1 of the epoch: {paths[1]}"]


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("monograph-")]


def test_threads_and_generators_have_ended_when_close_returns():
    ended = []

    def numbers():
        try:
            yield from range(10**9)
        finally:
            ended.append(True)

    for data in (
        Dataset.from_generator(numbers).map(lambda x: time.sleep(0.01) or x, workers=2),
        Dataset.from_generator(numbers).map(double, workers=2).batch(2).prefetch(),
        Dataset.from_generator(numbers).prefetch().map(double).batch(2).repeat(),
    ):
        walk = iter(data)
        next(walk)
        assert threads() and not ended
        walk.close()
        assert not threads() and ended.pop()
        assert list(walk) == []


def test_threads_have_ended_when_a_stage_after_them_failed():
    def numbers():
        yield from ([1], [2, 3], [4])

    data = Dataset.from_generator(numbers).map(np.array, workers=2).prefetch().batch(3)
    with pytest.raises(ArgumentError, match="one shape") as caught:
        list(data)
    assert caught.value.__traceback__ is not None and not threads()


def test_threads_work_on_the_engine_of_whoever_iterates():
    pytest.importorskip("monograph_torch", reason="an engine that is not the default")
    where = []

    def fn(x):
        where.append(mg.tensor(1.0).engine)
        return x

    with mg.engine("torch"):
        list(Dataset.from_arrays(np.arange(2)).map(fn, workers=1))
        list(Dataset.from_arrays(np.arange(2)).map(fn).prefetch())
    assert where == ["torch"] * 4


def test_a_program_may_end_with_an_iterator_open():
    code = (
        "from monograph_train import Dataset\n"
        "it = iter(Dataset.from_generator(lambda: iter(int, 1)).map(str, 2).prefetch())\n"
        "next(it)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_an_error_of_the_source_is_not_taken_for_a_damaged_state():
    def numbers():
        raise TypeError("mine")

    data = Dataset.from_generator(numbers)
    state = {"stages": data.stages(), "epoch": 0, "at": 3}
    with pytest.raises(TypeError, match="mine"):
        data.iterate(state=state)


def test_what_is_skipped_or_not_taken_is_not_made():
    made = []

    def fn(x):
        made.append(int(x))
        return x

    data = Dataset.from_arrays(np.arange(9)).map(fn, workers=2).skip(3).take(2)
    assert [int(x) for x in data] == [3, 4] == made


def test_python_numbers_become_the_dtypes_that_tensors_have():
    (batch,) = Dataset.from_generator(lambda: iter([(1.0, 2), (3.0, 4)])).batch(2)
    assert [a.dtype for a in batch] == [np.float32, np.int64]


ROWS = Dataset.from_arrays(np.arange(8)).batch(2)
NESTED = Dataset.from_generator(lambda: iter(range(9))).map(double).take(5).repeat(2)


@pytest.mark.parametrize(
    "data, change",
    [
        (ROWS, {"at": 9}), (ROWS, {"at": -1}), (ROWS, {"at": 1.0}), (ROWS, {"at": {}}),
        (ROWS, {"epoch": -1}), (ROWS, {"epoch": "0"}), (ROWS, {"stages": None}),
        (NESTED, {"at": 3}), (NESTED, {"at": {"round": 0, "given": 1}}),
        (NESTED, {"at": {"round": 0, "given": 1, "inner": {"left": 6, "inner": None}}}),
        (NESTED, {"at": {"round": -1, "given": 1, "inner": None}}),
    ],
)  # fmt: skip
def test_a_damaged_state_is_refused(data, change):
    state = data.iterate().state() | change
    with pytest.raises(ArgumentError, match="is damaged|is no state"):
        data.iterate(state=state)
    for broken in ({}, [], 7, {k: v for k, v in state.items() if k not in change}):
        with pytest.raises(ArgumentError, match="is no state of a dataset"):
            data.iterate(state=broken)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda d: d.shuffle(-1), "seed=-1"), (lambda d: d.take(-1), "count=-1"),
        (lambda d: d.skip(1.5), "count=1.5"), (lambda d: d.repeat(-1), "times=-1"),
        (lambda d: d.map(double, workers=-1), "workers=-1"), (lambda d: d.iterate(-1), "epoch=-1"),
        (lambda d: d.batch(True), "size=True"), (lambda d: d.map(jitter, seed="a"), "seed='a'"),
    ],
)  # fmt: skip
def test_counts_and_seeds_are_checked_at_once(make, words):
    with pytest.raises(ArgumentError, match=f"is an integer of at least .*{words}"):
        make(Dataset.from_arrays(np.arange(3)))
