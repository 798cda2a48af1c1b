"""The scaling laws, fitted to the runs of the paper's Figure 4, against what the papers give."""

import numpy as np
import pytest
from monograph.errors import ArgumentError, FileFormatError
from monograph_zoo import scaling

pytest.importorskip("scipy", reason="the extra 'scaling'")
NUMBERS = ("E", "A", "B", "alpha", "beta")


@pytest.fixture
def runs(shared_data):
    return scaling.Runs.read(shared_data / "chinchilla/figure4_points.csv").without_worst(5)


def start(fit):
    return np.log(fit.A), np.log(fit.B), np.log(fit.E), fit.alpha, fit.beta


def test_the_replications_constants(runs):
    assert len(runs.loss) == 240
    fit = scaling.parametric(runs, scaling.STARTS[::90])
    for name, off in zip(
        NUMBERS, (1e-4, 5, 60, 1e-3, 2e-3)
    ):  # their standard errors: 0.03 124 1293 0.02 0.02
        assert getattr(fit, name) == pytest.approx(getattr(scaling.REPLICATION, name), abs=off)
    low, high = scaling.bootstrap(
        lambda r: scaling.parametric(r, [start(fit)]), runs, resamples=30
    )["exponent"]
    assert 0.48 < low < fit.exponent < high < 0.56  # theirs: 0.512, 0.476 to 0.537 at 80 %


def test_the_papers_constants_are_where_a_mean_stops_early(runs):
    mean = scaling.parametric(runs, [start(scaling.PAPER)], mean=True)
    for name in NUMBERS:
        assert getattr(mean, name) == pytest.approx(getattr(scaling.PAPER, name), rel=5e-3)
    total = scaling.parametric(runs, [start(scaling.PAPER)])
    assert pytest.approx(scaling.REPLICATION.E, abs=1e-3) == total.E


def test_the_first_two_approaches_find_the_papers_exponents(runs):
    one, two = scaling.envelope(runs), scaling.isoflop(runs)
    low, high = scaling.bootstrap(scaling.envelope, runs)["exponent"]
    assert low < 0.50 < high and low < one.exponent < high
    assert 0.462 < two.exponent < 0.534  # the paper's interval around 0.49
    gopher = 5.76e23
    assert 40e9 < two.parameters(gopher) < 90e9  # Table 3: 63 and 67 billion
    assert 1e12 < two.tokens(gopher) < 2e12  # 1.4 to 1.5 trillion


def test_every_approach_finds_a_law_that_runs_were_made_of():
    law = scaling.Parametric(E=1.8, A=400.0, B=2000.0, alpha=0.35, beta=0.37)
    c, off = map(np.ravel, np.meshgrid(scaling.BUDGETS, np.geomspace(1 / 3, 3, 41)))
    n = law.parameters(c) * off
    d = c / (6 * n)
    runs = scaling.Runs(n, d, law.loss(n, d))
    fit = scaling.parametric(runs, scaling.STARTS[::300])
    for name in NUMBERS:
        assert getattr(fit, name) == pytest.approx(getattr(law, name), rel=1e-3)
    assert scaling.envelope(runs).exponent == pytest.approx(law.exponent, abs=0.02)
    assert scaling.isoflop(runs).exponent == pytest.approx(law.exponent, abs=0.02)
    best = law.parameters(1e21)
    sizes = best * np.array([0.9, 1.0, 1.1])
    assert law.loss(sizes, 1e21 / (6 * sizes)).argmin() == 1
    assert 6 * best * law.tokens(1e21) == pytest.approx(1e21)


def test_bad_runs(tmp_path):
    with pytest.raises(ArgumentError, match=r"rows \[1, 2\] are not finite and positive"):
        scaling.Runs([1, 0, 2], [1, 1, 2], [1, 1, np.nan])
    with pytest.raises(ArgumentError, match=r"one length, got shapes \(1,\), \(2,\)"):
        scaling.Runs([1], [1, 1], [1])
    (tmp_path / "x.csv").write_text("Model Size,loss\n1,2\n")
    with pytest.raises(FileFormatError, match=r"x.csv: not a table of runs: 'Training FLOP'"):
        scaling.Runs.read(tmp_path / "x.csv")
    few = scaling.Runs([1e8] * 4, [1e9] * 4, [3.0] * 4)
    with pytest.raises(ArgumentError, match="needs 2 budgets with an optimum, found 0"):
        scaling.isoflop(few)


def test_the_picture(runs, tmp_path):
    pytest.importorskip("matplotlib", reason="the extra 'scaling'")
    scaling.plot(
        runs, {"IsoFLOP": scaling.isoflop(runs), "paper": scaling.PAPER}, tmp_path / "x.png"
    )
    assert (tmp_path / "x.png").read_bytes()[:4] == b"\x89PNG"
