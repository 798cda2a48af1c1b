"""Ops written outside core, in Python, on the NumPy engine; and `custom_vjp`."""

import inspect
import pickle
import textwrap
from types import MappingProxyType

import monograph as mg
import numpy as np
import pytest
from monograph.errors import (
    ArgumentError,
    EngineError,
    FileFormatError,
    GraphError,
    NotDifferentiable,
    UnsupportedOp,
)
from monograph.numpy_engine import NumpyEngine
from monograph.op import _REGISTRY, all_ops, get
from monograph.ops import add
from monograph.outside import Table
from monograph.testing.__main__ import main as kit

X = np.array([[0.5, -1.0], [2.0, 3.0]], "float32")


pytestmark = pytest.mark.usefixtures("ops_of_one_test")


@pytest.fixture(autouse=True)
def on_numpy():
    with mg.engine("numpy"):
        yield


def swish(**options):
    """x * sigmoid(by * x), with its gradient."""

    @mg.op(
        infer=lambda x, *, by=1.0: x,
        vjp=lambda g, y, x, *, by: (
            g * (mg.ops.logistic(by * x) + by * y * (1 - mg.ops.logistic(by * x))),
        ),
        **options,
    )
    def swish(x, *, by=1.0):
        """Swish (Ramachandran et al. 2017)."""
        return x / (1 + np.exp(-by * x))

    return swish


def test_a_record_is_all_it_takes():
    op = swish()
    assert op.outside and get("swish") is op and op in all_ops()
    want = X / (1 + np.exp(-2 * X))
    np.testing.assert_allclose(op(mg.tensor(X), by=2.0).numpy(), want, rtol=1e-6)
    np.testing.assert_allclose(mg.jit(lambda x: op(x, by=2.0))(X).numpy(), want, rtol=1e-6)
    assert pickle.loads(pickle.dumps(op)) is op


def test_gradients_of_first_and_second_order_against_differences():
    op, x, h = swish(), X.astype("float64"), 1e-5
    f = lambda x: mg.sum(op(x, by=1.5) * x)
    grad, second = mg.grad(f), mg.grad(lambda x: mg.sum(mg.grad(f)(x) ** 2))
    for g, of in ((grad, f), (second, lambda x: mg.sum(grad(x) ** 2))):
        got = g(x).numpy()
        for at in np.ndindex(x.shape):
            step = np.zeros_like(x)
            step[at] = h
            want = (of(mg.tensor(x + step)).item() - of(mg.tensor(x - step)).item()) / (2 * h)
            assert got[at] == pytest.approx(want, rel=1e-6, abs=1e-8)


def test_jvp_and_scan_bodies():
    op = swish()
    f = lambda x: mg.scan(lambda c, _: (op(c), c), x, None, length=3)
    c = X
    for _ in range(3):
        c = c / (1 + np.exp(-c))
    np.testing.assert_allclose(mg.jit(f)(X)[0].numpy(), c, rtol=1e-5)
    _, dot = mg.jvp(lambda x: f(x)[0], (X,), (np.ones_like(X),))
    grads = mg.grad(lambda x: mg.sum(f(x)[0]))(X).numpy()
    np.testing.assert_allclose(dot.numpy(), grads, rtol=1e-5)  # the op is elementwise


def test_an_op_without_a_gradient_says_so_at_the_line_that_used_it():
    @mg.op(infer=lambda x: x, vjp=mg.NOT_DIFFERENTIABLE)
    def opaque(x):
        """No gradient."""
        return x

    with pytest.raises(NotDifferentiable, match=r"test_custom_op.py:\d+: opaque has no gradient"):
        mg.grad(lambda x: mg.sum(opaque(x)))(X)


def test_16_bit_floats_are_computed_in_32_unless_the_op_wants_bits():
    pytest.importorskip("ml_dtypes", reason="bfloat16 is a plug-in's dtype")
    seen = []

    def make(bits):
        @mg.op(infer=lambda x: x, vjp=mg.NOT_DIFFERENTIABLE, bits=bits)
        def looked_at(x):
            """x, and notes what it was."""
            seen.append(x.dtype.name)
            return x

        return looked_at

    x = mg.tensor(X).astype("bfloat16")
    assert make(False)(x).dtype.name == make(True)(x).dtype.name == "bfloat16"
    assert seen == ["float32", "bfloat16"]


# ---- what a body returns


def returning(value, infer=lambda x: x, multi=False):
    @mg.op(infer=infer, vjp=mg.NOT_DIFFERENTIABLE, multi=multi)
    def body(x):
        """Whatever."""
        return value(x)

    return body


@pytest.mark.parametrize(
    "value",
    [
        lambda x: x.astype("float64"),  # as np.float64 scalars make of it
        lambda x: np.asfortranarray(x),
        lambda x: x[::-1][::-1],
        lambda x: x.astype("int32"),
        lambda x: x > 0,
        lambda x: x.tolist(),
    ],
    ids=["wider", "column order", "strides", "int", "bool", "list"],
)
def test_results_are_conformed_to_the_inferred_spec(value):
    y = returning(value)(mg.tensor(X))
    assert y.spec is mg.Spec((2, 2), "float32") and y.numpy().flags.c_contiguous
    np.testing.assert_array_equal(y.numpy(), np.asarray(value(X), "float32"))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (lambda x: x[0], r"returned float32\[2\], expected float32\[2,2\]"),
        (lambda x: np.float32(1), r"returned float32\[\], expected float32\[2,2\]"),
        (lambda x: x + 1j, r"returned complex64\[2,2\], expected float32\[2,2\]"),
        (lambda x: None, r"returned NoneType, .*expected float32\[2,2\]"),
        (lambda x: "text", r"returned str, .*expected float32\[2,2\]"),
        (lambda x: [[1.0], [1.0, 2.0]], r"returned list, .*expected float32\[2,2\]"),
        (lambda x: x.astype(object), r"returned an array of object, .*expected float32\[2,2\]"),
        (lambda x: (x, x), r"returned float32\[2,2,2\], expected float32\[2,2\]"),
    ],
)
def test_results_that_do_not_fit_are_told_at_the_line_that_used_the_op(value, told):
    op = returning(value)
    for run in (op, mg.jit(lambda x: op(x))):
        with pytest.raises(EngineError, match=rf"{__file__}:\d+: op 'body' {told}"):
            run(mg.tensor(X))
    assert swish()(mg.tensor(X)).shape == (2, 2), "nothing is left broken"


@pytest.mark.parametrize("value", [lambda x: x, lambda x: (x,), lambda x: None])
def test_a_tuple_of_another_length_is_told(value):
    op = returning(value, infer=lambda x: (x, x), multi=True)
    with pytest.raises(EngineError, match=r"'body' returned .*, expected a tuple of 2 arrays"):
        op(mg.tensor(X))


def test_a_body_may_keep_and_reuse_what_it_returns():
    kept = np.zeros_like(X)

    def value(x):
        kept[...] += x
        return kept

    op = returning(value)
    first, second = op(mg.tensor(X)), op(mg.tensor(X))
    np.testing.assert_array_equal(first.numpy(), X)
    np.testing.assert_array_equal(second.numpy(), 2 * X)


def test_a_body_cannot_write_to_its_operands():
    def value(x):
        x[0] = 7
        return x

    x = mg.tensor(X)
    with pytest.raises(EngineError, match="ValueError: assignment destination is read-only"):
        returning(value)(x)
    np.testing.assert_array_equal(x.numpy(), X)


def test_what_a_body_raises_is_chained_and_told_at_the_line_that_used_the_op():
    def value(x):
        if (x > 100).any():
            raise ValueError("too big for me")
        return x

    op, here = returning(value), inspect.currentframe().f_lineno
    op(mg.tensor(X))  # the program is kept, and with it this line
    lines = range(here + 2, here + 20)
    for run in (
        op,
        mg.jit(lambda x: op(x)),
        mg.jit(lambda x: mg.scan(lambda c, v: (c, op(v)), 0, x)),
    ):
        with pytest.raises(EngineError, match="'body' failed: ValueError: too big for me") as e:
            run(mg.tensor(X * 100))
        assert isinstance(e.value.__cause__, ValueError)
        line = int(str(e.value).removeprefix(f"{__file__}:").partition(":")[0])
        assert line in lines
        run(mg.tensor(X))


# ---- the registry


def define(module, name="twice", factor=2):
    space = {"mg": mg, "__name__": module}
    exec(
        textwrap.dedent(f'''
        @mg.op(infer=lambda x: x, vjp=lambda g, y, x: ({factor} * g,))
        def {name}(x):
            """{factor} times."""
            return {factor} * x
        '''),
        space,
    )
    return space[name]


def test_a_cell_that_is_run_again_replaces_its_op_and_old_graphs_keep_theirs():
    old = define("__main__")
    graph = mg.trace(lambda x: old(x), X)
    new = define("__main__", factor=3)
    assert get("twice") is new is not old
    assert mg.trace(lambda x: new(x), X) != graph == mg.trace(lambda x: old(x), X)
    np.testing.assert_array_equal(graph.verify().compile("numpy")(X).numpy(), 2 * X)
    np.testing.assert_array_equal(new(mg.tensor(X)).numpy(), 3 * X)
    np.testing.assert_array_equal(old(mg.tensor(X)).numpy(), 2 * X)


def test_two_modules_cannot_have_the_same_name():
    first = define("one")
    with pytest.raises(GraphError, match="op 'twice' exists already, in one"):
        define("two")
    with pytest.raises(GraphError, match=r"op 'tanh' exists already, in monograph\.ops"):
        define("one", "tanh")
    assert get("twice") is first


def test_a_file_with_an_op_that_is_not_there_names_it(tmp_path):
    op = define("__main__")
    mg.trace(lambda x: op(x), X).save(tmp_path / "g")
    np.testing.assert_array_equal(mg.Graph.load(tmp_path / "g").compile("numpy")(X).numpy(), 2 * X)
    del _REGISTRY["twice"]
    with pytest.raises(FileFormatError, match="there is no op 'twice'.* module that defines it"):
        mg.Graph.load(tmp_path / "g")


def test_every_record_of_core_has_samples():
    assert [
        op.name for op in all_ops() if not op.outside and op.samples is None and op.body is None
    ] == []


# ---- engines


class Plain(NumpyEngine):
    """An engine that answers only for what is in its table."""

    name = "plain"
    LOWER = MappingProxyType({add: None})

    def supports(self, op):
        return op in self.LOWER


def test_a_table_answers_for_ops_from_outside_and_lists_its_own():
    hosted, brought = swish(), define("__main__")
    brought.lower = {"mine": "an entry"}
    table = Table("mine", {add: 1}, host=lambda op: op.name)
    assert list(table) == [add] and add in table and table[add] == 1
    assert hosted in table and table[hosted] == "swish"
    assert brought in table and table[brought] == "an entry"
    assert mg.ops.tanh not in table
    with pytest.raises(KeyError):
        table[mg.ops.tanh]
    other = Table("other", {})
    assert brought not in other and hosted not in other


def test_an_engine_without_such_a_table_refuses_them_by_name():
    op = swish()
    with pytest.raises(UnsupportedOp, match=r"swish: first used at .*test_custom_op.py:\d+"):
        mg.trace(lambda x: op(x), X).compile(Plain())


# ---- the kit


def floats(dtype, rng):
    yield mg.Sample((rng.uniform(-2, 2, (2, 3)).astype(dtype.numpy),))
    yield mg.Sample((rng.uniform(-2, 2, ()).astype(dtype.numpy),), {"by": 2.0})
    yield mg.Sample((np.zeros((0, 2), dtype.numpy),))


def test_the_kit_checks_an_op_from_outside(capsys):
    swish(samples=floats)
    assert kit(["numpy", "--op", "swish"]) == 0
    assert "0 failed" in capsys.readouterr().out


def test_the_kit_finds_a_wrong_gradient(capsys):
    @mg.op(infer=lambda x, *, by=1.0: x, vjp=lambda g, y, x, *, by: (2 * g,), samples=floats)
    def tripled(x, *, by=1.0):
        """Three times."""
        return 3 * x

    assert kit(["numpy", "--op", "tripled"]) == 1
    assert "FAILED tripled float64 gradient" in capsys.readouterr().out


def test_the_kit_imports_the_module_of_an_op(tmp_path, monkeypatch, capsys):
    (tmp_path / "ops_of_mine.py").write_text(
        textwrap.dedent("""
        import monograph as mg

        def samples(dtype, rng):
            yield mg.Sample((rng.uniform(-2, 2, 3).astype(dtype.numpy),))

        @mg.op(infer=lambda x: x, vjp=lambda g, y, x: (-g,), samples=samples)
        def opposite(x):
            '''The opposite.'''
            return -x
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert kit(["numpy", "--op", "opposite"]) == 2
    assert kit(["numpy", "--import", "ops_of_mine", "--op", "opposite"]) == 0
    assert kit(["numpy", "--import", "no_such_module", "--op", "opposite"]) == 2
    assert "no_such_module" in capsys.readouterr().err


def test_the_kit_says_when_there_is_nothing_to_check(capsys):
    swish()
    assert kit(["numpy", "--op", "swish"]) == 2
    assert "'swish' has no samples" in capsys.readouterr().err


# ---- gradients that do not fit


def test_a_rule_of_a_wrong_shape_is_told_at_the_line_that_used_the_op():
    @mg.op(infer=lambda x: x, vjp=lambda g, y, x: (mg.sum(g),))
    def wrong(x):
        """Its rule gives a scalar."""
        return x

    with pytest.raises(
        GraphError,
        match=rf"{__file__}:\d+: the vjp of wrong gave a cotangent float32\[\] for an input",
    ):
        mg.grad(lambda x: mg.sum(wrong(x)))(X)


def composed(fwd, bwd):
    @mg.custom_vjp
    def f(p, q):
        return p["a"] * q, mg.sum(q)

    f.defvjp(fwd, bwd)
    return f


def fwd(p, q):
    return (p["a"] * q, mg.sum(q)), (p, q)


@pytest.mark.parametrize(
    ("gave", "told"),
    [
        (lambda g: None, "NoneType, not a tuple of cotangents"),
        (lambda g: g, "Value, not a tuple of cotangents"),
        (lambda g: (g, g), "2 cotangents for 1 inputs"),
        (lambda g: (1.0,), r"a cotangent 1\.0 for an input float32\[3\]"),
    ],
)
def test_what_is_no_tuple_of_cotangents_is_told_at_the_line_that_used_the_op(gave, told):
    @mg.op(infer=lambda x: x, vjp=lambda g, y, x: gave(g))
    def wrong(x):
        """x."""
        return x

    with pytest.raises(GraphError, match=rf"^{__file__}:\d+: the vjp of wrong gave {told}"):
        mg.grad(lambda x: mg.sum(wrong(x)))(mg.ones((3,)))


@pytest.mark.parametrize("rule", [lambda x: None, lambda x: x.shape])
def test_a_shape_rule_that_gives_no_spec_is_told(rule):
    @mg.op(infer=rule, vjp=mg.NOT_DIFFERENTIABLE)
    def wrong(x):
        """x."""
        return x

    for run in (wrong, mg.jit(lambda x: wrong(x))):
        with pytest.raises(GraphError, match=rf"^{__file__}:\d+: wrong: its shape rule gives"):
            run(mg.ones((3,)))


def test_custom_vjp_of_a_composed_function_with_trees():
    f = composed(
        fwd,
        lambda res, g: (
            {"a": 10 * g[0] * res[1]},
            g[0] * res[0]["a"] + g[1] * mg.ones_like(res[1]),
        ),
    )
    a, q = X, X + 1
    loss = lambda p, q: mg.sum(f(p, q)[0]) + 3 * f(p, q)[1]
    gp, gq = mg.grad(loss, (0, 1))({"a": a}, q)
    np.testing.assert_allclose(gp["a"].numpy(), 10 * q)
    np.testing.assert_allclose(gq.numpy(), a + 3)
    scanned = lambda p, q: mg.scan(lambda c, _: (f(p, c)[0], ()), q, None, length=2)[0]
    gp, _ = mg.grad(lambda p, q: mg.sum(scanned(p, q)), (0, 1))({"a": a}, q)
    np.testing.assert_allclose(gp["a"].numpy(), 20 * a * q, rtol=1e-6)


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ((fwd, lambda res, g: ({"a": g[0]}, g[1])), r"bwd of custom_vjp f: cotangent 1 is float32\[\]"),
        ((fwd, lambda res, g: ({"a": g[0]}, mg.astype(g[0], "float64"))), "cotangent 1 is float64"),
        ((fwd, lambda res, g: (g[0],)), "returns 1 cotangents for 2 arguments"),
        ((fwd, lambda res, g: ({"a": g[0], "b": g[0]}, g[0])), "a cotangent has 2 leaves"),
        ((fwd, lambda res, g: None), "bwd of custom_vjp f returns None"),
        ((lambda p, q: p["a"] * q, lambda res, g: (None, None)), r"returns \(output, residuals\)"),
    ],
)  # fmt: skip
def test_custom_vjp_rules_that_do_not_fit_are_told_at_the_line_of_the_call(rules, told):
    f = composed(*rules)
    with pytest.raises(ArgumentError, match=rf"{__file__}:\d+: .*{told}"):
        mg.grad(lambda p, q: mg.sum(f(p, q)[0]), (0, 1))({"a": X}, X)
