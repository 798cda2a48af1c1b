"""The conformance kit on the NumPy engine, and that it catches planted faults."""

import re

import numpy as np
import pytest
from monograph import ops
from monograph.dtypes import dtype
from monograph.errors import FileFormatError, UnsupportedOp
from monograph.numpy_engine import NumpyEngine, execute
from monograph.op import core_ops
from monograph.testing import Report, Row, assert_conforms, run
from monograph.testing.__main__ import main
from monograph.testing.distance import distance
from monograph.testing.excuses import Excuse, excuse, parse
from monograph.testing.jobs import Oracle
from monograph.testing.oracles import dtypes_of, samples_of
from monograph.testing.table import markdown


class Faulty(NumpyEngine):
    """NumPy with one op broken: ``fault(node, inputs, right outputs) -> outputs``."""

    name = "faulty"

    def __init__(self, op, fault):
        self.broken, self.fault = op, fault

    def compile(self, graph, options):
        def step(node, xs):
            out = execute(node, xs)
            return self.fault(node, xs, out) if node.op is self.broken else out

        return lambda *buffers: graph.replay(buffers, step)


def outcomes(engine, op):
    return {(r.dtype, r.check): r.outcome for r in run(engine, [op]).rows if r.op == op}


def rules(engine):
    return {r.check: r for r in run(engine, ["tanh"], quick=True).rows if r.op == "(engine)"}


def test_numpy_passes_its_own_records_quickly():
    report = assert_conforms("numpy", quick=True)
    assert not report.count("skipped") and not report.lacks


def test_threads_change_nothing():
    ops_at_once = ["tanh", "sine", "sort", "reduce_sum"]
    one, four = (run("numpy", ops_at_once, threads=n) for n in (1, 4))
    assert one.rows == four.rows and one.values.keys() == four.values.keys()


def test_every_check_is_made():
    got = outcomes("numpy", "tanh")
    assert {check for _, check in got} == {"value", "strided", "gradient", "second"}
    assert ("float32", "gradient") in got and ("float64", "second") in got
    assert set(got.values()) == {"passed"}


# ---- engines that are wrong


def only(dtype, fault):
    def at(node, xs, out):
        return [fault(y) if y.dtype == dtype else y for y in out]

    return at


@pytest.mark.parametrize(
    "fault",
    [
        lambda y: y * np.float32(1.001),
        lambda y: y.astype("float16"),
        lambda y: y[None],
        lambda y: np.where(np.isnan(y), np.float32(0), y),
    ],
    ids=["value", "dtype", "shape", "NaN"],
)
def test_a_fault_in_one_dtype_is_caught_there_and_nowhere_else(fault):
    got = outcomes(Faulty(ops.tanh, only("float32", fault)), "tanh")
    assert got["float32", "value"] == "failed"
    assert got["float64", "value"] == got["complex64", "value"] == "passed"


def test_a_wrong_gradient_in_single_precision_alone_is_caught():
    # what backward computes with: wrong in float32 by more than rounding
    got = outcomes(Faulty(ops.subtract, only("float32", lambda y: y + np.float32(1e-3))), "tanh")
    assert got["float32", "gradient"] == "failed" and got["float32", "value"] == "passed"
    assert got["float64", "gradient"] == "passed"


def test_an_op_that_is_wrong_for_strided_operands_is_caught():
    def fault(node, xs, out):
        loose = any(x.ndim and not x.flags.c_contiguous for x in xs)
        return [y + 1 for y in out] if loose else out

    got = outcomes(Faulty(ops.tanh, fault), "tanh")
    assert got["float32", "strided"] == "failed" and got["float32", "value"] == "passed"


def test_an_engine_that_changes_its_inputs_is_caught():
    class Overwrites(NumpyEngine):
        def put(self, array, device):
            return np.array(array)

        def compile(self, graph, options):
            def step(node, xs):
                out = [np.array(y) for y in execute(node, xs)]
                if node.op is ops.tanh and xs[0].dtype == "float32" and xs[0].flags.writeable:
                    xs[0][...] = out[0]
                return out

            return lambda *buffers: graph.replay(buffers, step)

    (row,) = [r for r in run(Overwrites(), ["tanh"], quick=True).rows if r.op == "tanh"]
    assert row.outcome == "failed" and row.note.startswith("changed its input")


def test_an_engine_that_aliases_what_it_is_handed_is_caught():
    class Aliases(NumpyEngine):
        def put(self, array, device):
            return array

    class AliasesWhereItIsAligned(NumpyEngine):  # as jax does
        def put(self, array, device):
            fits = array.ctypes.data % 64 == 0 and array.flags.c_contiguous
            return array if fits else np.array(array)

    class AliasesWhatItIsFed(NumpyEngine):
        def feed(self, array, device):
            return array

    for engine in (Aliases(), AliasesWhereItIsAligned()):
        row = rules(engine)["put never aliases"]
        assert row.outcome == "failed" and "copy" in row.note
    row = rules(AliasesWhatItIsFed())["feed never aliases"]
    assert row.outcome == "failed" and "feed aliases" in row.note


def test_an_engine_that_misuses_what_is_lent_to_it_is_caught():
    class HandsItOut(NumpyEngine):
        def borrow(self, x, device):
            return x.buffer

    class WritesToIt(HandsItOut):
        def compile(self, graph, options):
            def run(*buffers):
                out = [np.array(y) for y in graph.replay(buffers, execute)]
                for b in buffers:
                    if b.flags.writeable:
                        b[...] = 0
                return out

            return run

    for engine, said in ((HandsItOut(), "shares memory"), (WritesToIt(), "wrote to")):
        row = rules(engine)["borrowing is safe"]
        assert row.outcome == "failed" and said in row.note


def test_an_engine_whose_results_change_later_is_caught():
    class Reuses(NumpyEngine):
        def compile(self, graph, options):
            kept = [np.empty(s.shape, s.dtype.numpy) for s in graph.output_specs]

            def run(*buffers):
                for room, y in zip(kept, graph.replay(buffers, execute)):
                    room[...] = y
                return kept

            return run

    assert rules(Reuses())["results stay"].outcome == "failed"


def test_an_engine_that_spoils_more_than_what_was_donated_is_caught():
    class Spoils(NumpyEngine):
        def put(self, array, device):
            return np.array(array)

        def compile(self, graph, options):
            def run(*buffers):
                out = [np.array(y) for y in graph.replay(buffers, execute)]
                for b in buffers if options.donate else ():
                    b[...] = 0
                return out

            return run

    assert rules(Spoils())["donation is safe"].outcome == "failed"


def test_an_engine_that_lists_what_it_cannot_compile_is_caught():
    class Boasts(NumpyEngine):
        def compile(self, graph, options):
            if any(node.op is ops.tanh for node in graph.walk()):
                raise NotImplementedError("tanh, some day")
            return super().compile(graph, options)

    report = run(Boasts(), ["tanh", "sine"])
    failed = {r.op for r in report.failures}
    assert failed == {"tanh"} and "some day" in report.failures[0].note


def test_an_engine_that_lists_an_op_and_refuses_it_is_caught():
    class Refuses(NumpyEngine):
        def prepare(self, graph, device=None):
            if any(node.op is ops.tanh for node in graph.walk()):
                raise UnsupportedOp(self.name, {"tanh": "here"})
            return super().prepare(graph, device)

    rows = [r for r in run(Refuses(), ["tanh"], quick=True).rows if r.op == "tanh"]
    assert [r.note for r in rows] == ["lists tanh, yet refuses"]


def test_an_engine_that_lacks_an_op_refuses_it_by_name():
    class Partial(NumpyEngine):
        def supports(self, op):
            return op is not ops.tanh and super().supports(op)

    report = run(Partial(), ["tanh"])
    assert {r.outcome for r in report.rows if r.op == "tanh"} == {"skipped"}
    assert report.ok and report.lacks == ["tanh"] and "lacks tanh" in str(report)


def test_an_engine_that_computes_what_it_says_it_lacks_is_caught():
    class Modest(NumpyEngine):
        unsupported_dtypes = frozenset({"complex64"})

        def prepare(self, graph, device=None):
            return graph

        def supports(self, op):
            return op is not ops.tanh and super().supports(op)

    got = rules(Modest())
    assert got["refuses dtypes"].outcome == got["refuses ops"].outcome == "failed"


def test_a_dtype_that_an_engine_lacks_is_skipped_with_its_name():
    class Narrow(NumpyEngine):
        unsupported_dtypes = frozenset({"float64"})

    report = run(Narrow(), ["tanh", "convert"])
    assert report.ok
    skipped = {(r.op, r.dtype): r.note for r in report.rows if r.outcome == "skipped"}
    assert skipped["tanh", "float64"] == "numpy has no float64"
    assert "has no dtype float64" in skipped["convert", "float32"], "float64 is its result"


# ---- records that are wrong


def test_a_record_with_a_wrong_gradient_is_caught(monkeypatch):
    monkeypatch.setattr(ops.tanh, "vjp", lambda g, y, x: (g * (1.0 - y),))
    assert outcomes("numpy", "tanh")["float64", "gradient"] == "failed"


def test_a_record_whose_rule_raises_is_a_failure_of_its_own(monkeypatch):
    def broken(g, y, x):
        raise ZeroDivisionError("in the rule")

    monkeypatch.setattr(ops.tanh, "vjp", broken)
    rows = {(r.dtype, r.check): r for r in run("numpy", ["tanh"]).rows}
    assert "the record: ZeroDivisionError: in the rule" in rows["float32", "gradient"].note
    assert rows["float32", "value"].outcome == "passed"


# ---- known failures


def row(outcome, dtype="float32", check="value"):
    return Row("tanh", dtype, check, outcome, "why")


def test_a_known_failure_is_excused_and_says_why():
    (got,) = excuse([row("failed")], [Excuse("tanh", "vendor")])
    assert (got.outcome, got.note) == ("known", "vendor")


@pytest.mark.parametrize("entry", [{}, {"dtype": "float32"}, {"check": "value"}], ids=str)
def test_an_entry_that_excuses_nothing_fails_the_run(entry):
    *_, last = excuse([row("passed"), row("passed", "float64")], [Excuse("tanh", "was", **entry)])
    assert last.outcome == "failed" and "passes, though known to fail: was" in last.note
    again = excuse([row("failed"), row("passed", "float64")], [Excuse("tanh", "is", **entry)])
    assert [r.outcome for r in again] == ["known", "passed"], "one failing row is enough"


def test_an_entry_of_another_op_matters_to_a_whole_run_only():
    other = [Excuse("sine", "was")]
    assert len(excuse([row("passed")], other, whole=False)) == 1
    assert len(excuse([row("passed")], other)) == 2


@pytest.mark.parametrize(
    "text",
    ["[[known]]\nop = 'tanh'", "[[known]]\nop = 'a'\nreason = 'b'\ndtypes = 'c'", "[[known"],
)
def test_an_entry_that_reads_wrong_names_the_file(text):
    with pytest.raises(FileFormatError, match=r"conformance\.toml: "):
        parse(text)


# ---- samples

AXIS = "works along an axis, so there is no 0-d case"
NESTED = "what the nested graph does with such values is sampled with its ops"
WITHOUT = {  # what a primitive's record need not sample
    **dict.fromkeys(
        [
            *[
                "argmax",
                "argmin",
                "cummax",
                "cummin",
                "cumprod",
                "cumsum",
                "concatenate",
                "iota",
                "sort",
                "top_k",
            ],
            *["reduce_window_max", "reduce_window_min", "reduce_window_sum"],
        ],
        ({"0-d"}, AXIS),
    ),
    **dict.fromkeys(
        ("convolution", "convolution_input_grad", "convolution_kernel_grad"),
        ({"0-d", "nonfinite"}, "whether an infinity meets the zeros of a padding is not promised"),
    ),
    **dict.fromkeys(
        ("select_and_gather", "select_and_scatter"),
        ({"0-d", "nonfinite"}, "which element a window with NaN selects is not promised"),
    ),
    **dict.fromkeys(("case", "while", "scan"), ({"empty", "nonfinite"}, NESTED)),
    "polygamma": ({"nonfinite"}, "engines part at poles; tested against SciPy"),
}


def sampled(op):
    """Which awkward inputs a record samples, and which make sense for its dtypes."""
    found, meant = set(), {"empty", "0-d"}
    for s in (s for d in dtypes_of(op) for s in samples_of(op, d)):
        for shape in [a.shape for a in s.operands] + [s.attrs.get("shape", (1,))]:
            found |= {"empty"} if 0 in shape else {"0-d"} if shape == () else set()
        for a in (a for a in s.operands if a.dtype.kind in "fc"):
            meant.add("nonfinite")
            found |= set() if np.isfinite(a).all() else {"nonfinite"}
    return found, meant


PRIMITIVES = [
    op for op in core_ops() if samples_of(op, dtypes_of(op)[0]) and not op.is_composite
    and op.__module__.rpartition(".")[2] not in ("collectives", "fourier", "linalg", "matrices")
]  # fmt: skip


@pytest.mark.parametrize("op", PRIMITIVES, ids=lambda op: op.name)
def test_records_sample_empty_and_0d_arrays_nan_and_infinities(op):
    found, meant = sampled(op)
    missing = meant - found - WITHOUT.get(op.name, (set(), ""))[0]
    assert not missing, f"add samples to {op.__module__}, or a reason to WITHOUT"


# ---- the command and the page


def test_the_command_reports_and_returns_a_status(capsys, tmp_path):
    page = tmp_path / "conformance.md"
    assert main(["numpy", "--quick", "--op", "tanh", "--write", str(page)]) == 0
    assert "conformance numpy: " in capsys.readouterr().out
    assert re.search(r"^\| tanh \| f32 \| pass [\d.]+ \| - \|$", page.read_text(), re.MULTILINE)


@pytest.mark.parametrize("arguments", [["nope"], ["numpy", "--op", "nope"]], ids=str)
def test_an_unknown_engine_or_op_is_status_2(arguments, capsys):
    assert main(arguments) == 2
    assert "nope" in capsys.readouterr().err


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert "[[known]]" in text and "assert_conforms" in text and "strided" in text


def test_the_page_shows_every_exception_and_how_engines_part():
    oracle = Oracle()
    right = run("numpy", ["tanh"], oracle=oracle)
    wrong = Faulty(ops.tanh, only("float32", lambda y: y * np.float32(1.001)))
    wrong.unsupported_dtypes = frozenset({"complex64"})
    text = markdown([right, run(wrong, ["tanh"], oracle=oracle)])
    assert "**fail** f32; skip c64 |" in text
    assert "| faulty | tanh | complex64 | value | skipped | faulty has no complex64 |" in text
    off = Report("off", values={k: [2 * y for y in v] for k, v in right.values.items()})
    off.rows = [Row("tanh", d, "value", "passed") for _, d in off.values]
    assert "| pass 0 | 2.2518e+15 |" in markdown([right, off]), "2 ** 51 ulp apart in float64"


def test_distance():
    one = np.ones(2, "float32")
    assert distance(one, one, dtype("float32")) == 0
    assert distance(one, one * np.nan, dtype("float32")) == np.inf
    assert distance(np.array([1, 2]), np.array([1, 3]), dtype("int64")) == np.inf
