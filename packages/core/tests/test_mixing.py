"""``engine="auto:mix"``: pieces of one graph on engines of their own."""

import sys

import monograph as mg
import numpy as np
import pytest
from monograph import auto, choices, mixing, plugins
from monograph.engine import _engines, resolve
from monograph.mixing import Mixed, Piece
from monograph.numpy_engine import NumpyEngine

X = np.linspace(-1, 1, 12, dtype="float32").reshape(3, 4)
DEAR = 1e-2


@pytest.fixture
def race(monkeypatch, tmp_path):
    """Engines ``a``, dear at sines, and ``b``, dear at cosines; lists the graphs that each compiled."""
    monkeypatch.setenv("MONOGRAPH_CACHE", str(tmp_path))
    compiled = {"a": [], "b": []}

    def make(name, **body):
        def compile(self, graph, options):
            compiled[name].append(graph)
            return NumpyEngine.compile(self, graph, options)

        kind = type(name, (NumpyEngine,), {"name": name, "compile": compile, **body})
        monkeypatch.setitem(_engines, name, kind())

    make("a"), make("b")
    monkeypatch.setattr(plugins, "names", lambda group: ["a", "b"] if "engines" in group else [])
    monkeypatch.setattr(sys.modules["monograph.engine"], "PREFERENCE", ("a", "b"))
    monkeypatch.setattr(auto, "SMALL", 0)  # NumPy itself stays out

    def timed(program, buffers, device):
        device.engine.wait(program.execute(buffers))
        program = getattr(program, "compiled", program)
        pieces = getattr(program, "pieces", (Piece(0, device),))
        nodes = program.graph.nodes
        total = 0.0
        for piece, stop in zip(pieces, [*[p.start for p in pieces[1:]], len(nodes)]):
            dear = {"a": "sine", "b": "cosine"}[piece.device.engine.name]
            total += sum(DEAR if n.op.name == dear else 1e-4 for n in nodes[piece.start : stop])
        return total

    monkeypatch.setattr(auto, "seconds_of", timed)
    return make, compiled


def waves(x):
    for _ in range(4):
        x = mg.cos(x) * 2
    for _ in range(4):
        x = mg.sin(x) * 3
    return x, mg.sum(x)


def names(graphs):
    return {n.op.name for g in graphs for n in g.nodes}


def test_each_part_runs_where_it_is_cheap(race):
    f = mg.jit(waves, engine="auto:mix")
    got, want = f(X), mg.jit(waves).on("numpy")(X)
    for y, w in zip(got, want):
        np.testing.assert_array_equal(y.numpy(), w.numpy())
        assert y.engine in ("a", "b")
    (kept,) = choices.every()
    assert kept.kind == "mix" and "from 0" in kept.chosen and kept.seconds[kept.chosen] < DEAR
    assert min(kept.seconds["a:cpu:0"], kept.seconds["b:cpu:0"]) > 4 * DEAR
    (program,) = f._cache.values()
    assert [p.device.engine.name for p in program.pieces] == ["a", "b"]


def test_the_next_process_does_not_measure(race, monkeypatch):
    mg.jit(waves, engine="auto:mix")(X)
    monkeypatch.setattr(auto, "seconds_of", None)
    f = mg.jit(waves, engine="auto:mix")
    f(X)
    (program,) = f._cache.values()
    assert isinstance(program, Mixed)


def test_what_is_kept_and_does_not_fit_is_measured_anew(race, monkeypatch):
    mg.jit(waves, engine="auto:mix")(X)
    real = choices.recall
    for wrong in ("a:cpu:0: a:cpu:0 from 0, b:cpu:0 from 9999", "c:cpu:0", "a:cpu:0: nonsense", ""):
        monkeypatch.setattr(choices, "recall", lambda *xs, wrong=wrong: wrong)
        assert len(mg.jit(waves, engine="auto:mix")(X)) == 2
    monkeypatch.setattr(choices, "recall", real)


def test_plain_auto_does_not_mix(race):
    f = mg.jit(waves, engine="auto")
    f(X)
    (program,) = f._cache.values()
    assert type(program) is not Mixed


def test_a_mix_that_gains_too_little_is_not_taken(race, monkeypatch):
    monkeypatch.setattr(mixing, "GAIN", 0.999)
    f = mg.jit(waves, engine="auto:mix")
    f(X)
    (program,) = f._cache.values()
    assert type(program) is not Mixed


def test_a_graph_that_no_engine_has_alone_runs_in_parts(race):
    make, _ = race
    make("a", supports=lambda self, op: op.name != "sine" and op.reference is not None)
    make("b", supports=lambda self, op: op.name != "cosine" and op.reference is not None)
    with pytest.raises(mg.errors.UnsupportedOp):
        mg.jit(waves, engine="auto")(X)
    got, want = mg.jit(waves, engine="auto:mix")(X), mg.jit(waves).on("numpy")(X)
    np.testing.assert_array_equal(got[0].numpy(), want[0].numpy())


def stateful(scope, x):
    w = scope.variable("w", (4,), 0.5, trainable=True)
    n = scope.variable("n", (), 0.0)
    n.assign(n.value + 1)
    for _ in range(4):
        x = mg.cos(x) * w.value
    for _ in range(4):
        x = mg.sin(x) * n.value
    w.assign(w.value * 0.9)
    return x


def test_state_is_what_it_is_on_one_engine(race):
    stores = {how: mg.Store() for how in ("auto:mix", "numpy")}
    calls = {how: s.bind(stateful, engine=how) for how, s in stores.items()}
    for _ in range(3):
        got, want = (calls[how](X).numpy() for how in stores)
        np.testing.assert_array_equal(got, want)
    a, b = (s.numpy() for s in stores.values())
    assert a["n"] == 3 and all(np.array_equal(a[k], b[k]) for k in b)
    assert any(isinstance(e.compiled, Mixed) for e in calls["auto:mix"]._cache.values())


def test_what_stays_is_borrowed_once_and_a_new_value_is_seen(race, monkeypatch):
    lent = []
    real = NumpyEngine.borrow
    monkeypatch.setattr(
        NumpyEngine, "borrow", lambda self, x, device: lent.append(x.shape) or real(self, x, device)
    )
    graph = mg.trace(lambda x, w: mg.sin(mg.cos(x)) * w, mg.Spec((4,)), mg.Spec((4,)))
    pieces = [Piece(0, resolve("a")), Piece(1, resolve("b"))]
    run = Mixed(graph, "a", steady=(1,), pieces=pieces)
    x, w = mg.tensor(X[0], device="a"), mg.tensor(X[1], device="a")
    first = run(x, w).numpy()
    again = run(x, w).numpy()
    assert len(lent) == 3  # the cosine twice, the weight once
    np.testing.assert_array_equal(first, again)
    other = mg.tensor(X[2], device="a")
    np.testing.assert_allclose(run(x, other).numpy(), np.sin(np.cos(X[0])) * X[2], rtol=1e-6)


def test_there_is_no_other_device():
    with pytest.raises(mg.errors.EngineError, match="auto:mix"):
        mg.jit(waves, engine="auto:all")


def test_a_result_given_twice_is_two_buffers(race):
    graph = mg.trace(lambda x: (lambda y: (y, y, x))(mg.sin(mg.cos(x))), mg.Spec((4,)))
    run = Mixed(graph, "b", pieces=[Piece(0, resolve("a")), Piece(1, resolve("b"))])
    x = mg.tensor(X[0], device="b")
    one, two, same = run(x)
    assert len({id(v.buffer) for v in (one, two, same, x)}) == 4
    np.testing.assert_array_equal(one.numpy(), two.numpy())


def test_plain_auto_takes_no_mix_out_of_a_file(race, monkeypatch):
    mg.jit(waves, engine="auto:mix")(X)
    (kept,) = choices.every()
    monkeypatch.setattr(choices, "recall", lambda *xs: kept.chosen)
    f = mg.jit(waves, engine="auto")
    f(X)
    assert type(next(iter(f._cache.values()))) is not Mixed


@pytest.mark.parametrize("text", ["[" * 50000 + "]" * 50000, '{"made": 1' + "0" * 400 + "}"])
def test_a_hostile_choice_is_passed_over(race, text):
    mg.jit(waves, engine="auto:mix")(X)
    (path,) = choices.folder().glob("*.json")
    path.write_text(text)
    assert len(mg.jit(waves, engine="auto:mix")(X)) == 2
    assert len(list(choices.every())) == 1  # measured anew


def test_a_position_too_long_to_read_does_not_fit():
    graph, devices = mg.trace(waves, mg.Spec((2,))), {"a": resolve("numpy")}
    assert mixing.read("a from 0, a from " + "9" * 5000, devices, graph) is None


def test_a_mix_that_does_not_compile_leaves_the_best_engine(race, monkeypatch):
    def refuses(*args, **kwargs):
        raise mg.errors.EngineError("no")

    monkeypatch.setattr(mixing, "maker", lambda pieces: refuses)
    f = mg.jit(waves, engine="auto:mix")
    assert len(f(X)) == 2
    assert type(next(iter(f._cache.values()))) is not Mixed
