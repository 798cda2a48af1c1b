"""Datasets: order, resuming at any point, threads, messages."""

import gc
import json
import math
import threading
import time

import monograph as mg
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from monograph import tree
from monograph.errors import ArgumentError
from monograph_train import Dataset


def rows(n):
    return Dataset.from_arrays(np.arange(n), np.arange(2 * n, dtype="float32").reshape(n, 2))


def generated(n):
    return Dataset.from_generator(
        lambda: ((np.int64(i), np.float32([2 * i, 2 * i + 1])) for i in range(n))
    )


def plain(samples):
    """Samples as something that ``==`` compares bit by bit."""
    return [
        [(a.shape, str(a.dtype), a.tobytes()) for a in map(np.asarray, tree.leaves(s))]
        for s in samples
    ]


def is_ours(thread):
    return thread.name.startswith("dataset-")


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    gc.collect()
    assert [t for t in threading.enumerate() if is_ours(t)] == []


def doubled(sample):
    return tree.map(lambda a: a * 2, sample)


STAGES = st.one_of(
    st.tuples(st.just("shuffle"), st.integers(0, 3), st.integers(1, 9)),
    st.tuples(st.just("batch"), st.integers(1, 4), st.booleans()),
    st.tuples(st.just("repeat"), st.integers(0, 3)),
    st.tuples(st.just("take"), st.integers(0, 30)),
    st.tuples(st.just("skip"), st.integers(0, 5)),
    st.tuples(st.just("map"), st.just(doubled), st.integers(0, 2)),
    st.tuples(st.just("prefetch"), st.integers(1, 3)),
)


@st.composite
def pipelines(draw):
    """Any source and up to five stages; batches of uneven batches, which do not stack, left out."""
    source = draw(st.sampled_from([rows, generated]))(draw(st.integers(0, 17)))
    out, batched = source, False
    for name, *args in draw(st.lists(STAGES, max_size=5)):
        if name == "batch":
            if batched:
                continue
            batched = True
        out = getattr(out, name)(*args)
    return out


@settings(deadline=None, max_examples=300)
@given(pipelines(), st.data(), st.integers(0, 2))
def test_before_and_after_a_cut_are_the_whole(data, draw, epoch):
    whole = plain(data.iterate(epoch))
    if data.length is not None:
        assert len(whole) == len(data)
    cut = draw.draw(st.integers(0, len(whole)), "cut")
    with data.iterate(epoch) as it:
        before = plain(next(it) for _ in range(cut))
        state = json.loads(json.dumps(it.state()))
    after = data.iterate(epoch=99, state=state)
    assert before + plain(after) == whole
    assert after.state()["position"] == len(whole)
    assert list(data.iterate(state=after.state())) == []


@settings(deadline=None, max_examples=100)
@given(pipelines(), st.data())
def test_being_cut_many_times_changes_nothing(data, draw):
    whole, got = plain(data), []
    state = data.iterate().state()
    while len(got) < len(whole):
        with data.iterate(state=state) as it:
            for _ in range(draw.draw(st.integers(1, 5))):
                got += plain(x for x in [next(it, None)] if x is not None)
            state = it.state()
    assert got == whole


@pytest.mark.parametrize("source", [rows, generated])
def test_an_endless_repeat_is_resumed_in_any_pass(source):
    data = source(7).shuffle(3, buffer=4).repeat().batch(4).prefetch()
    with data.iterate() as it:
        whole = plain(next(it) for _ in range(20))
    for cut in range(20):
        with data.iterate() as first:
            before = plain(next(first) for _ in range(cut))
            state = first.state()
        with data.iterate(state=state) as second:
            assert before + plain(next(second) for _ in range(20 - cut)) == whole


def test_batches_across_passes_and_batched_passes_hold_each_sample_once_a_pass():
    data = rows(10).shuffle(1).repeat(3).batch(4)
    got = np.concatenate([x for x, _ in data])
    assert [sorted(p) for p in got.reshape(3, 10)] == [list(range(10))] * 3
    assert len({tuple(p) for p in got.reshape(3, 10)}) == 3  # each pass has another order
    loop = [i for i, _ in rows(10).shuffle(1).repeat(3)]
    assert got.tolist() == loop


@pytest.mark.parametrize("source", [rows, generated])
def test_shuffle_keeps_every_sample_and_differs_by_seed_and_epoch(source):
    def order(seed, epoch):
        return tuple(int(i) for i, _ in source(50).shuffle(seed, buffer=20).iterate(epoch))

    orders = {order(s, e) for s in (0, 1) for e in (0, 1)}
    assert len(orders) == 4
    assert all(sorted(o) == list(range(50)) for o in orders)
    assert order(1, 1) == order(1, 1)


def test_a_buffer_draws_from_the_next_samples_only():
    got = [int(i) for i, _ in generated(100).shuffle(0, buffer=10)]
    assert all(i - place < 10 for place, i in enumerate(got))


def test_batches_of_arrays_are_made_without_a_loop_over_samples(monkeypatch):
    from monograph_train import sources

    monkeypatch.setattr(sources.Arrays, "_at", None)
    data = rows(10).skip(1).shuffle(0).take(8).repeat(2).batch(3)
    assert [len(x) for x, _ in data] == [3, 3, 3, 3, 3, 1]
    for x, y in data:
        np.testing.assert_array_equal(y[:, 0], 2 * x)


@pytest.mark.parametrize(
    "n, size, drop, want", [(7, 3, False, [3, 3, 1]), (7, 3, True, [3, 3]), (0, 3, False, [])]
)
@pytest.mark.parametrize("source", [rows, generated])
def test_the_last_batch(source, n, size, drop, want):
    assert [len(x) for x, _ in source(n).batch(size, drop)] == want


def test_python_numbers_become_the_dtypes_that_tensors_have():
    (batch,) = Dataset.from_generator(lambda: [(1.0, 2), (3.0, 4)]).batch(2)
    assert [a.dtype for a in batch] == [np.float32, np.int64]


def test_files_are_loaded_in_order_and_only_those_needed(tmp_path):
    for i in range(6):
        np.save(tmp_path / f"{i}.npy", np.full(2, i))
    loaded = []

    def load(path):
        loaded.append(path.name)
        return np.load(path)

    data = Dataset.from_files(sorted(tmp_path.iterdir()), load, workers=2).shuffle(1).batch(2)
    with data.iterate() as it:
        whole = plain(it)
    assert sorted(loaded) == [f"{i}.npy" for i in range(6)]
    loaded.clear()
    state = {"epoch": 0, "position": 2, "stages": data._stages()}
    assert plain(data.iterate(state=state)) == whole[2:]
    assert len(loaded) == 2


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("source", [rows, generated])
def test_an_exception_comes_at_its_sample_with_a_note(source, workers):
    def fails_at_5(sample):
        if sample[0] == 5:
            raise ZeroDivisionError("mine")
        time.sleep(0.001 * (sample[0] % 2))
        return sample

    it = source(9).map(fails_at_5, workers).prefetch(3).iterate(epoch=2)
    got = [int(next(it)[0]) for _ in range(5)]
    assert got == [0, 1, 2, 3, 4]
    with pytest.raises(ZeroDivisionError, match="mine") as e:
        next(it)
    (note,) = e.value.__notes__
    assert "fails_at_5" in note and "sample 5 of epoch 2" in note
    assert ("row 5" in note) == (source is rows)
    assert it.state()["position"] == 5
    assert not [t for t in threading.enumerate() if is_ours(t)]  # though e holds the frames


def test_a_shuffled_samples_note_names_its_row_and_file(tmp_path):
    def fails(sample):
        raise ValueError

    data = Dataset.from_files([tmp_path / "missing.npy"] * 3, np.load).shuffle(0)
    with pytest.raises(FileNotFoundError) as e:
        list(data)
    assert "missing.npy" in e.value.__notes__[0]
    order = [int(i) for i, _ in rows(20).shuffle(4)]
    with pytest.raises(ValueError) as e:
        list(rows(20).map(fails).shuffle(4))
    assert f"row {order[0]}" in e.value.__notes__[0]


def test_a_failing_source_is_heard_after_the_samples_before_it():
    def source():
        yield from range(4)
        raise OSError("disk")

    it = iter(Dataset.from_generator(source).map(lambda x: x, workers=2).prefetch(2))
    assert [next(it) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(OSError, match="disk"):
        next(it)


def test_workers_run_at_once():
    together = threading.Barrier(3, timeout=30)
    data = rows(6).map(lambda s: together.wait() and s, workers=3)
    assert len(list(data)) == 6


@pytest.mark.parametrize("end", ["close", "drop", "with"])
def test_threads_end_with_their_iterator(end):
    it = generated(1000).map(doubled, workers=2).batch(2).prefetch(2).iterate()
    next(it)
    assert [t for t in threading.enumerate() if is_ours(t)]
    if end == "close":
        it.close()
    elif end == "drop":
        del it
    else:
        with it:
            pass
    assert not [t for t in threading.enumerate() if is_ours(t)]


def test_prefetch_keeps_n_ready_and_no_more():
    made = []
    data = Dataset.from_generator(lambda: (made.append(i) or i for i in range(100))).prefetch(3)
    with data.iterate() as it:
        for received in range(1, 6):
            next(it)
            limit = time.monotonic() + 30
            while len(made) < received + 3 and time.monotonic() < limit:
                time.sleep(0.001)
            time.sleep(0.01)
            assert len(made) == received + 3
        assert it.state()["position"] == 5


def test_prefetch_puts_arrays_on_an_engine_and_leaves_names():
    data = Dataset.from_arrays(np.arange(4.0), np.array(["a", "b", "c", "d"])).batch(2)
    x, names = next(iter(data.prefetch(engine="numpy")))
    assert isinstance(x, mg.Tensor) and x.engine == "numpy" and x.tolist() == [0.0, 1.0]
    assert names.tolist() == ["a", "b"]


def test_prefetch_works_under_the_engine_of_whoever_iterates():
    seen = []
    data = rows(2).map(lambda s: seen.append(str(mg.tensor(1.0).device)) or s, workers=1).prefetch()
    with mg.engine("numpy"):
        list(data)
    assert seen == ["numpy:cpu:0"] * 2


def test_a_program_may_end_with_an_iterator_open(tmp_path):
    import subprocess
    import sys

    code = (
        "from monograph_train import Dataset\n"
        "it = iter(Dataset.from_generator(lambda: iter(int, 1)).map(str, 2).prefetch())\n"
        "next(it)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_zip_is_as_long_as_its_shortest_and_resumes():
    data = Dataset.zip(rows(9).shuffle(1), rows(7)).batch(2)
    assert len(data) == 4
    whole = plain(data)
    it = iter(data)
    next(it)
    assert plain(data.iterate(state=it.state())) == whole[1:]
    mixed = Dataset.zip(generated(3), rows(5).repeat()).batch(2)
    assert [len(a[0]) for a, _ in mixed] == [2, 1]


def test_lengths():
    assert len(rows(10).batch(4).repeat(2).skip(1).take(9)) == 5
    assert rows(3).repeat().batch(2).length == math.inf
    for endless in (rows(3).repeat(), generated(3)):
        with pytest.raises(TypeError, match="length of <Dataset"):
            len(endless)


BAD_STATES = {
    "another length": (rows(9), "arrays(9: int64[], float32[2]) instead of arrays(8"),
    "another seed": (rows(8).shuffle(1).batch(2), "shuffle(1) instead of shuffle(0)"),
    "a stage less": (rows(8).shuffle(0), "batch(2) is missing"),
    "a stage more": (rows(8).shuffle(0).batch(2).take(2), "take(2) is new"),
}


@pytest.mark.parametrize("name", BAD_STATES)
def test_a_state_of_another_pipeline_is_refused(name):
    state = rows(8).shuffle(0).batch(2).iterate().state()
    data, message = BAD_STATES[name]
    with pytest.raises(ArgumentError) as e:
        data.iterate(state=state)
    assert message in str(e.value)


@pytest.mark.parametrize(
    "change", [{"position": 5}, {"position": -1}, {"epoch": 1.5}, {"stages": None}]
)
def test_a_damaged_state_is_refused(change):
    data = rows(8).batch(2)
    with pytest.raises(ArgumentError, match=r"state"):
        data.iterate(state=data.iterate().state() | change)


def test_threads_are_no_part_of_the_state():
    state = rows(8).map(doubled).batch(2).iterate().state()
    assert len(list(rows(8).map(doubled, workers=2).batch(2).prefetch().iterate(state=state))) == 4


ERRORS = {
    "lengths": (lambda: Dataset.from_arrays(np.zeros(3), {"a": np.zeros(4)}), r"\[0\] has 3 rows; \[1\]\['a'\] has 4 rows"),
    "a number": (lambda: Dataset.from_arrays([1, 2]), r"\[0\] is a single value.*\[1\] is a single"),
    "objects": (lambda: Dataset.from_arrays(np.array([None])), "Python objects"),
    "nothing": (lambda: Dataset.from_arrays(), "there is none"),
    "no buffer": (lambda: generated(3).shuffle(), "shuffle needs a buffer"),
    "size 0": (lambda: rows(3).batch(0), "size must be an integer of at least 1, not 0"),
    "seed": (lambda: rows(3).shuffle(-1), "seed must be an integer of at least 0"),
    "empty": (lambda: rows(0).repeat(), "is empty"),
    "empty generator": (lambda: list(generated(0).repeat()), "gave no sample"),
    "ragged": (
        lambda: list(Dataset.from_generator(lambda: [{"a": np.zeros(i)} for i in (2, 2, 3)]).batch(3)),
        r"batch 0: its samples 0 and 2 have the shapes \(2,\) and \(3,\) at \['a'\]",
    ),
    "structures": (lambda: list(Dataset.from_generator(lambda: [1, (1,)]).batch(2)), "structures"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors_say_what_to_change(name):
    call, message = ERRORS[name]
    with pytest.raises(ArgumentError, match=message):
        call()
