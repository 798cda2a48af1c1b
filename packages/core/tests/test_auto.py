"""``engine="auto"``: what is measured, what is kept, and that nothing else changes."""

import json
import sys

import monograph as mg
import numpy as np
import pytest
from monograph import auto, choices, plugins
from monograph.__main__ import main
from monograph.engine import _engines
from monograph.numpy_engine import NumpyEngine

X = np.arange(6, dtype="float32").reshape(2, 3)


@pytest.fixture
def race(monkeypatch, tmp_path):
    """Engines ``a``, ``b`` and NumPy; set how long each takes; lists what was run."""
    monkeypatch.setenv("MONOGRAPH_CACHE", str(tmp_path))

    class Race:
        def __init__(self):
            self.seconds, self.runs = {"a": 1.0, "b": 0.5, "numpy": 2.0}, []

        def made(self, name, **body):
            kind = type(name, (NumpyEngine,), {"name": name, **body})
            monkeypatch.setitem(_engines, name, kind())

    made = Race()
    for name in ("a", "b"):
        made.made(name)
    monkeypatch.setattr(plugins, "names", lambda group: ["a", "b"] if "engines" in group else [])
    monkeypatch.setattr(sys.modules["monograph.engine"], "PREFERENCE", ("a", "b"))

    def timed(program, buffers, device):
        device.engine.wait(program.execute(buffers))
        made.runs.append(device.engine.name)
        return made.seconds[device.engine.name]

    monkeypatch.setattr(auto, "seconds_of", timed)
    return made


def double(x):
    return x + x


def test_the_fastest_runs_and_is_measured_once(race):
    f = mg.jit(double, engine="auto")
    y = f(X)
    assert y.engine == "b" and np.array_equal(y.numpy(), X + X)
    assert set(race.runs) == {"a", "b", "numpy"}
    measured = len(race.runs)
    assert f(X).engine == "b" and f(X + 1).engine == "b" and len(race.runs) == measured
    race.seconds["a"] = 0.1
    assert f(X[:1]).engine == "a"  # another shape is another choice
    assert mg.jit(double).on("auto")(X).engine == "b"  # kept by graph, whichever function it is of


def test_a_choice_outlives_the_process_and_is_made_anew_for_other_versions(race, monkeypatch):
    assert mg.jit(double, engine="auto")(X).engine == "b"
    race.runs.clear()
    assert mg.jit(double, engine="auto")(X).engine == "b" and not race.runs
    monkeypatch.setattr(choices, "versions", lambda libraries: {"numpy": "another"})
    assert mg.jit(double, engine="auto")(X).engine == "b" and race.runs


def test_an_engine_much_slower_than_the_best_runs_twice(race):
    mg.jit(double, engine="auto")(X)
    assert race.runs.count("numpy") == 2 and race.runs.count("b") >= 2
    assert race.runs.count("a") == 2


def test_close_ones_run_in_turns(race):
    race.seconds.update(a=1.0, b=1.1)
    mg.jit(double, engine="auto")(X)
    assert race.runs.count("a") == race.runs.count("b") == auto.ROUNDS + 1


def counting(scope, x):
    n = scope.variable("n", (), 0.0)
    w = scope.parameter("w", (3,), 1.0)
    noise = mg.random.uniform(scope.key(), (3,))
    n.assign(n.value + 1)
    return x @ w + noise[0] + n.value


def test_training_state_is_what_it_is_without_measuring(race):
    stores = {}
    for how in ("auto", "b"):
        stores[how] = mg.Store(seed=3)
        step = stores[how].bind(counting, engine=how)
        results = [step(X).numpy() for _ in range(3)]
        stores[how, "results"] = results
    assert np.array_equal(stores["auto", "results"], stores["b", "results"])
    a, b = stores["auto"].numpy(), stores["b"].numpy()
    assert a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a) and a["n"] == 3


def test_donated_arguments_are_used_up_as_ever(race):
    f = mg.jit(double, engine="auto", donate_argnums=0)
    x = mg.tensor(X, device="b")
    assert np.array_equal(f(x).numpy(), X + X)
    with pytest.raises(mg.errors.ArgumentError, match="was donated"):
        x.numpy()


def test_an_engine_that_lacks_an_operation_or_fails_is_left_out(race, monkeypatch):
    race.made("b", supports=lambda self, op: op.name != "add")
    assert mg.jit(double, engine="auto")(X).engine == "a"

    def failing(self, graph, options):
        raise RuntimeError("no")

    race.made("b", compile=failing)
    assert mg.jit(lambda x: x - 1, engine="auto")(X).engine == "a"
    monkeypatch.setattr(plugins, "names", lambda group: ["b"])
    monkeypatch.setattr(auto, "SMALL", 0)
    with pytest.raises(mg.errors.EngineError, match="no"):
        mg.jit(lambda x: x - 2, engine="auto")(X)


def test_numpy_runs_what_is_large_where_nothing_else_works(race, monkeypatch):
    monkeypatch.setattr(plugins, "names", lambda group: ["broken"] if "engines" in group else [])
    monkeypatch.setattr(auto, "SMALL", 0)
    assert mg.jit(double, engine="auto")(X).engine == "numpy"


def test_numpy_takes_part_in_small_graphs_only(race, monkeypatch):
    monkeypatch.setattr(auto, "SMALL", 1)
    mg.jit(lambda x: x @ x.T, engine="auto")(X)
    assert set(race.runs) == {"a", "b"}


def test_values_of_by_hand_stay_on_the_host_and_a_scope_or_variable_selects_it(race, monkeypatch):
    with mg.engine("auto"):
        assert mg.tensor(X).engine == "numpy" and (mg.tensor(X) + 1).engine == "numpy"
        assert mg.jit(double)(X).engine == "b"
    monkeypatch.setenv("MONOGRAPH_ENGINE", "auto")
    assert mg.jit(double)(X).engine == "b" and mg.tensor(X).engine == "numpy"


def test_switched_off_it_is_the_engine_that_comes_first(race, monkeypatch):
    monkeypatch.setenv("MONOGRAPH_TUNE", "0")
    assert mg.jit(double, engine="auto")(X).engine == "a" and not race.runs


def test_a_graph_by_itself_names_its_engine(race):
    with pytest.raises(mg.errors.EngineError, match=r"test_auto|compiled for an engine by name"):
        mg.trace(double, mg.Spec((2,))).compile("auto")
    with pytest.raises(mg.errors.EngineError, match="holds no arrays"):
        mg.tensor(X, device="auto")


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"kind": 1}', "x" * 200_000, "null"])
def test_a_damaged_choice_is_measured_anew(race, content):
    mg.jit(double, engine="auto")(X)
    (path,) = choices.folder().glob("*.json")
    path.write_text(content)
    race.runs.clear()
    assert mg.jit(double, engine="auto")(X).engine == "b" and race.runs
    assert json.loads(path.read_text())["chosen"] == "b:cpu:0"


def test_a_choice_that_names_another_engine_is_measured_anew(race):
    mg.jit(double, engine="auto")(X)
    (path,) = choices.folder().glob("*.json")
    path.write_text(path.read_text().replace('"chosen": "b:cpu:0"', '"chosen": "evil"'))
    race.runs.clear()
    assert mg.jit(double, engine="auto")(X).engine == "b" and race.runs


def test_they_are_listed_and_forgotten(race, capsys):
    mg.jit(double, engine="auto")(X)
    assert main(["tune", "--show"]) == 0
    shown = capsys.readouterr().out
    assert "double(float32[2,3]), 1 nodes" in shown and "b:cpu:0" in shown and "1 choices" in shown
    assert main(["tune", "--clear"]) == 0 and "1 choices forgotten" in capsys.readouterr().out
    assert list(choices.every()) == []


def test_a_folder_that_cannot_be_written_to_is_no_error(race, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MONOGRAPH_CACHE", str(tmp_path / "file"))
    assert mg.jit(double, engine="auto")(X).engine == "b"


def test_a_digest_is_of_what_is_computed():
    spec = mg.Spec((2, 3))
    same = mg.trace(double, spec), mg.trace(lambda x: x + x, spec)
    constants = [mg.trace(lambda x, c=c: x + np.full((2, 3), c, "float32"), spec) for c in (1, 2)]
    assert auto.digest(constants[0]) != auto.digest(constants[1])
    assert auto.digest(same[0]) != auto.digest(mg.trace(double, mg.Spec((2, 4))))
    assert auto.digest(same[0]) == auto.digest(mg.trace(double, spec))


def test_a_program_is_compiled_again_only_for_packs(race):
    compiled = []

    def compile(self, graph, options):
        compiled.append(len(graph.inputs))
        return NumpyEngine.compile(self, graph, options)

    race.made("b", packs=lambda self, device: True, compile=compile)

    def model(scope, x, n):
        return sum(mg.sum(x * scope.parameter(f"w{i}", (3,), 1.0)) for i in range(n))

    for n, inputs in ((3, [4]), (5, [6, 2])):  # x and variables; x and a pack
        compiled.clear()
        call = mg.Store().bind(model, "auto", n=n)
        assert call(X).item() == call(X).item() == n * X.sum() and compiled == inputs
