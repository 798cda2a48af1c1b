"""The loader: every batch follows from seed, epoch and number, whoever makes it and from where."""

import functools
import json
import threading
import time

import monograph as mg
import monograph_layers as nn
import numpy as np
import pytest
from monograph.errors import ArgumentError
from monograph_gnn import propagate
from monograph_gnn.sampling import GraphStore, LinkSampler, Loader, NeighborSampler


@pytest.fixture
def parts(rng, tmp_path):
    """A sampler with mapped features, seeds, labels."""
    store = GraphStore.from_edges(*rng.integers(0, 60, (2, 400)), 60)
    np.save(tmp_path / "x.npy", rng.normal(size=(60, 3)).astype("float32"))
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    return NeighborSampler(store, (3, 2), 4, nodes=x), np.arange(5, 48), rng.integers(0, 7, 43)


def leaves(batches):
    return [mg.tree.leaves(b) for b in batches]


def same(a, b):
    assert len(a) == len(b)
    for xs, ys in zip(a, b):
        for x, y in zip(xs, ys, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_do_not_depend_on_threads(parts, workers):
    sampler, seeds, labels = parts
    of = lambda n: leaves(Loader(sampler, seeds, labels, seed=3, workers=n).iterate(epoch=2))
    same(of(workers), of(2))


def test_an_epoch_has_every_seed_once_with_its_label(parts):
    sampler, seeds, labels = parts
    loader = Loader(sampler, seeds, labels)
    assert len(loader) == 11
    seen = []
    for sampled, y, weight in loader:
        real = np.asarray(sampled.seed_mask)
        assert weight.tolist() == real.astype("float32").tolist()
        assert not y[~real].any() and y.shape == (4,)
        seen += [*zip(sampled.node_ids[: real.sum()], y[real])]
    assert sorted(seen) == [*zip(seeds, labels)]
    orders = [[b.node_ids[0] for b in Loader(sampler, seeds, seed=0).iterate(e)] for e in (0, 1)]
    assert orders[0] != orders[1]
    plain = Loader(sampler, seeds, shuffle=False, drop_remainder=True)
    assert [b.node_ids[0] for b in plain] == seeds[:40:4].tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_walk_goes_on_from_its_state(parts, workers):
    sampler, seeds, labels = parts
    loader = Loader(sampler, seeds, labels, seed=1, workers=workers)
    whole = leaves(loader.iterate(epoch=4))
    for done in range(len(whole) + 1):
        walk = loader.iterate(epoch=4)
        for _ in range(done):
            next(walk)
        state = json.loads(json.dumps(walk.state()))
        walk.close()
        another = Loader(sampler, seeds, labels, seed=1, workers=1)
        same(leaves(another.iterate(state=state)), whole[done:])


def test_seeds_of_a_type_and_links(rng):
    relation = ("author", "writes", "paper")
    stores = {relation: GraphStore.from_edges(*rng.integers(0, 9, (2, 30)), 9)}
    sampler = NeighborSampler(stores, (2,), {"paper": 4})
    loader = Loader(sampler, {"paper": np.arange(9)}, np.arange(9), workers=1)
    for sampled, y, weight in loader:
        real = weight > 0
        assert sampled.node_ids["paper"][: real.sum()].tolist() == y[real].tolist()
    links = LinkSampler(stores, (2,), 4, relation=relation)
    edges = np.stack(
        [stores[relation].senders, np.repeat(np.arange(9), np.diff(stores[relation].offsets))], 1
    )
    assert sum(int(labels.sum()) for _, labels, _ in Loader(links, edges)) == 30
    two = NeighborSampler(
        {("paper", "cites", "paper"): stores[relation]} | stores, (2,), {"paper": 1, "author": 1}
    )
    with pytest.raises(ArgumentError, match="seeds are of several types"):
        Loader(two, np.arange(3))


def test_a_state_of_something_else(parts):
    sampler, seeds, _ = parts
    loader = Loader(sampler, seeds)
    state = loader.iterate(epoch=2).state()
    with pytest.raises(ArgumentError, match="shuffled by 1 in batches of 4.*does not fit"):
        loader.iterate(state=Loader(sampler, seeds, seed=1).iterate().state())
    with pytest.raises(ArgumentError, match="of epoch 2, not of 3"):
        loader.iterate(epoch=3, state=state)
    with pytest.raises(ArgumentError, match="damaged"):
        loader.iterate(state={**state, "batch": 99})
    with pytest.raises(ArgumentError, match="no state of a loader"):
        loader.iterate(state={"epoch": 1})


def test_what_cannot_be_loaded(parts):
    sampler, seeds, labels = parts
    with pytest.raises(ArgumentError, match="first axis of one length"):
        Loader(sampler, seeds, labels[:-1])
    with pytest.raises(ArgumentError, match="there are no items; workers is an integer"):
        Loader(sampler, [], workers=-1)


class Failing:
    """Fails at its third batch, once."""

    batch_size = 2
    failed = False

    def __call__(self, items, rng):
        if items[0] == 4 and not self.failed:
            self.failed = True
            raise RuntimeError("no third")
        return items


@pytest.mark.parametrize("workers", [0, 2])
def test_what_failed_is_tried_again(workers):
    loader = Loader(Failing(), np.arange(10), shuffle=False, workers=workers)
    walk = loader.iterate()
    assert [next(walk).tolist(), next(walk).tolist()] == [[0, 1], [2, 3]]
    with pytest.raises(RuntimeError, match="no third") as e:
        next(walk)
    assert e.value.__notes__ == ["in Loader, batch 2 of epoch 0"]
    assert next(walk, None) is None
    rest = loader.iterate(state=walk.state())
    assert [b.tolist() for b in rest] == [[4, 5], [6, 7], [8, 9]]


def test_threads_end_with_their_walk(parts):
    sampler, seeds, _ = parts
    alive = lambda: [t for t in threading.enumerate() if t.name.startswith("monograph-sample")]
    walk = Loader(sampler, seeds, workers=3).iterate()
    next(walk)
    assert alive()
    walk.close()
    assert not alive()
    dropped = Loader(sampler, seeds, workers=3).iterate()
    next(dropped)
    del dropped
    for _ in range(200):  # they notice soon
        if not alive():
            break
        time.sleep(0.05)
    assert not alive()


@pytest.mark.parametrize("kind", ["loader", "dataset"])
def test_training_takes_it_and_goes_on_within_an_epoch(parts, tmp_path, kind):
    train = pytest.importorskip("monograph_train")
    sampler, seeds, labels = parts
    data = Loader(sampler, seeds, labels, seed=1)
    if kind == "dataset":
        data = train.Dataset.from_arrays(seeds, labels).shuffle(0).batch(4)
        data = data.map(sampler, workers=2, seed=1)
    seen = []

    def model(scope, sampled):
        x = sampled.graph.nodes
        for i, index in enumerate(sampled.layers):
            x = nn.dense(scope / f"layer{i}", propagate(index, x, how="mean"), 7)
        return x

    class Watch(train.Callback):
        stop_at = None

        def on_step_end(self, run):
            seen.append(run.step)
            if run.step == self.stop_at:
                raise KeyboardInterrupt

    def fit(folder, stop_at=None):
        watch = Watch()
        watch.stop_at = stop_at
        loss = functools.partial(train.sparse_categorical_crossentropy, from_logits=True)
        trainer = train.Trainer(model, loss, train.adam(1e-2), engine="numpy")
        trainer.fit(
            data, 2, progress=False, checkpoints=folder, checkpoint_every=2, callbacks=[watch]
        )
        return {p: trainer.store[p].numpy() for p in trainer.store.trainable}

    straight = fit(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "b", stop_at=17)  # the sixth step of the second epoch
    resumed = fit(tmp_path / "b")
    assert seen == [*range(1, 23), *range(1, 18), *range(17, 23)]
    for path, value in straight.items():
        np.testing.assert_array_equal(value, resumed[path])
