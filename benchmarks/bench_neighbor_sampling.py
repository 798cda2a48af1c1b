"""Neighbour sampling: edges per second, fan-out (15, 10), batches of 1,024 seeds.

`Loader` over `NeighborSampler` against PyG's NeighborLoader, alone and with two workers each (ours are
threads, PyG's processes, started before the clock is); PyG's needs pyg-lib or torch-sparse. Without them
only what follows runs, as it does with them: the sampler's own NumPy twin, and a vectorized sampler in a
dozen lines of torch that draws with replacement. Both sides give numbered nodes and edges among them; ours also
sorts them both ways and pads. No features.

Rounds are interleaved; ratios are medians over rounds. Samples are checked before: each edge is one of the
graph, no edge comes twice, and without replacement ours and PyG's take as many edges.
"""

import itertools
import os
import statistics
import warnings
from time import perf_counter

import numpy as np
import torch
from monograph_gnn import GraphStore, Loader, NeighborSampler

FANOUTS, BATCH, ROUNDS, BATCHES = (15, 10), 1024, 5, 8


def pyg_loader():
    """PyG's NeighborLoader where it can sample, else None."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from torch_geometric import typing
            from torch_geometric.data import Data
            from torch_geometric.loader import NeighborLoader
        except ImportError as e:
            return None, f"torch_geometric cannot be imported ({e})"
    if not (typing.WITH_PYG_LIB or typing.WITH_TORCH_SPARSE):
        return None, "neither pyg-lib nor torch-sparse is installed"
    made_by = "pyg-lib" if typing.WITH_PYG_LIB else "torch-sparse"

    def make(ends, nodes, seeds, workers):
        data = Data(edge_index=torch.from_numpy(ends), num_nodes=nodes)
        return NeighborLoader(
            data, [*FANOUTS], input_nodes=torch.from_numpy(seeds), batch_size=BATCH, shuffle=True,
            num_workers=workers, persistent_workers=workers > 0,
        )  # fmt: skip

    return make, f"PyG with {made_by}"


def torch_sample(offsets, senders, seeds):
    """Two hops with replacement; returns how many edges."""
    nodes = frontier = torch.from_numpy(seeds)
    edges = 0
    for k in FANOUTS:
        degrees = offsets[frontier + 1] - offsets[frontier]
        frontier_, degrees = frontier[degrees > 0], degrees[degrees > 0]
        at = (torch.rand(len(degrees), k) * degrees[:, None]).long() + offsets[frontier_][:, None]
        found = senders[at].reshape(-1).long()
        edges += len(found)
        before = len(nodes)
        every, inverse = torch.unique(torch.cat([nodes, found]), return_inverse=True)
        first = torch.full((len(every),), len(inverse)).scatter_reduce_(
            0, inverse, torch.arange(len(inverse)), "amin"
        )
        nodes = torch.cat([nodes, found])[first.sort().values]
        frontier = nodes[before:]
    return edges


def ours_of(loader, epoch):
    walk = loader.iterate(epoch)
    edges = sum(int(b.graph.index.offsets[-1]) for b in itertools.islice(walk, BATCHES))
    walk.close()
    return edges


def theirs_of(loader, _):
    return sum(b.edge_index.shape[1] for b in loader)


def checked(store, loader, theirs):
    sampled = next(loader.iterate(0))
    edges, ids = sampled.graph.index.offsets[-1], sampled.node_ids
    places = sampled.edge_ids[:edges]
    assert len(np.unique(places)) == edges
    assert (store.senders[places] == ids[sampled.graph.index.senders[:edges]]).all()
    receivers = np.searchsorted(store.offsets, places, side="right") - 1
    assert (receivers == ids[sampled.graph.index.receivers[:edges]]).all()
    if theirs is not None:
        batch = next(iter(theirs))
        ends = batch.n_id[batch.edge_index].numpy()
        assert store.has_edge(*ends).all()
        assert abs(ends.shape[1] / edges - 1) < 0.05


def rate(fn, *args):
    start = perf_counter()
    return fn(*args) / (perf_counter() - start)


def measure(nodes, edges, make, name):
    rng = np.random.default_rng(0)
    ends = rng.integers(0, nodes, (2, edges))
    store = GraphStore.from_edges(*ends, nodes)
    seeds = rng.permutation(nodes)[: BATCH * BATCHES]
    sampler = NeighborSampler(store, FANOUTS, BATCH)
    offsets, senders = torch.from_numpy(store.offsets), torch.from_numpy(store.senders)
    pools = {n: Loader(sampler, seeds, workers=n) for n in (0, 2)}
    others = {n: make(ends, nodes, seeds, n) for n in (0, 2)} if make else {}
    checked(store, pools[0], others.get(0))

    def in_numpy(_, batches=2):
        os.environ["MONOGRAPH_NATIVE"] = "0"
        try:
            made = (sampler.sample(seeds[i * BATCH :][:BATCH], i) for i in range(batches))
            return sum(int(b.graph.index.offsets[-1]) for b in made)
        finally:
            del os.environ["MONOGRAPH_NATIVE"]

    def in_torch(_, batches=4):
        return sum(
            torch_sample(offsets, senders, seeds[i * BATCH :][:BATCH]) for i in range(batches)
        )

    runs = {("ours", n): (ours_of, pools[n]) for n in pools}
    runs |= {(name, n): (theirs_of, others[n]) for n in others}
    runs |= {("NumPy twin", 0): (in_numpy,), ("torch, with replacement", 0): (in_torch,)}
    for fn, *args in runs.values():
        fn(*args, 0)
    rounds = [{k: rate(*run, r) for k, run in runs.items()} for r in range(1, ROUNDS + 1)]
    for (what, workers), _ in runs.items():
        found = statistics.median(r[what, workers] for r in rounds) / 1e6
        ratio = statistics.median(r["ours", workers] / r[what, workers] for r in rounds)
        print(f"{nodes:>11,}{edges:>12,}   {what:<26}{workers:>7}{found:>14.2f}{ratio:>12.2f}")


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message=".*without a 'pyg-lib' installation")
    maker, told = pyg_loader()
    torch.set_num_threads(1)  # barriers are slow on a busy machine, and it gains nothing from more
    if maker is None:
        print(f"without PyG's NeighborLoader: {told}")
    print(f"{'nodes':>11}{'edges':>12}   {'':<26}{'workers':>7}{'M edges/s':>14}{'ours / it':>12}")
    for sizes in ((100_000, 1_000_000), (1_000_000, 20_000_000)):
        measure(*sizes, maker, told)
