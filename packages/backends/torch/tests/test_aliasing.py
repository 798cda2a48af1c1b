"""Nothing shares memory that should not, and what is overwritten in place is nobody's."""

import monograph as mg
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from monograph import ops
from monograph.dtypes import dtype as as_dtype
from monograph.engine import Options, get_engine
from monograph_torch.aliasing import VIEWS
from monograph_torch.codegen import generate
from monograph_torch.lowerings import LOWER
from monograph_torch.program import Program, expression

ENGINE = get_engine("torch")
CPU = torch.device("cpu")


def storages(tensors):
    return [t.untyped_storage().data_ptr() for t in tensors if t.numel()]


def stands_apart(t):
    """Whether no two elements of a tensor are one."""
    return not t.numel() or all(n == 1 or s != 0 for n, s in zip(t.shape, t.stride()))


def put(arrays):
    return [ENGINE.put(a, ENGINE.devices[0]) for a in arrays]


def checked_run(graph, arrays, donate=()):
    """Run a graph; assert that results stand alone and that inputs kept are as they were."""
    run = generate(graph, CPU, donate)
    inputs = put(arrays)
    before = [np.array(a) for a in arrays]
    outs = run(*inputs)
    kept = [i for i in range(len(inputs)) if i not in donate]
    for i in kept:
        assert ENGINE.get(inputs[i]).tobytes() == before[i].tobytes(), f"input {i} was overwritten"
    constants = [t for t in run.__globals__.values() if torch.is_tensor(t)]
    taken = storages([*constants, *[inputs[i] for i in kept]])
    for out in outs:
        assert not set(storages([out])) & set(taken), run.source
        assert stands_apart(out), run.source
        taken += storages([out])
    return [ENGINE.get(x) for x in outs], run


# ---- every op of the table, on its own samples


def cases():
    for op in LOWER:
        for kind in ("float32", "complex64", "int32", "uint32", "bool"):
            d = as_dtype(kind)
            if op.samples and any(k in ("any", d.kind, d.name) for k in op.dtypes):
                yield pytest.param(op, d, id=f"{op.name}-{kind}")


def record(op, sample):
    def fn(*xs):
        return op(*xs, **sample.attrs)

    return mg.trace(fn, *[mg.Spec.of(a) for a in sample.operands])


@pytest.mark.parametrize(("op", "d"), list(cases()))
def test_the_table_knows_which_ops_give_views(op, d):
    for sample in op.samples(d, np.random.default_rng(0)):
        graph = record(op, sample)
        for step in Program(graph, CPU).steps:
            inputs = dict(zip(graph.inputs, put(sample.operands)))
            if not all(x.value in inputs for x in step.inputs):
                continue  # a decomposed sample: its first step says enough
            names = {f"v{i}": inputs[x.value] for i, x in enumerate(step.inputs)} | {"torch": torch}
            operands = list(names)[:-1]
            outs = eval(expression(step, operands, names), names)
            view = VIEWS.get(step.node.op)
            places = view(step.node) if view else [None] * len(step.outputs)
            for out, place in zip(outs if step.node.op.multi else (outs,), places):
                others = [names[v] for i, v in enumerate(operands) if i != place]
                assert not set(storages([out])) & set(storages(others))
                if place is None:
                    assert stands_apart(out)


@pytest.mark.parametrize(("op", "d"), list(cases()))
def test_donating_every_operand_changes_no_result(op, d):
    for sample in op.samples(d, np.random.default_rng(0)):
        graph = ENGINE.prepare(record(op, sample))
        want, _ = checked_run(graph, sample.operands)
        got, _ = checked_run(graph, sample.operands, tuple(range(len(sample.operands))))
        for g, w in zip(got, want):  # where memory lies decides which elements are vectorised
            np.testing.assert_allclose(g, w, rtol=1e-6)


# ---- random graphs: views of views, constants, updates, results handed out twice

X = mg.Spec((3, 4))
UNARY = {
    "neg": lambda x: -x,
    "tanh": mg.tanh,
    "reshape": lambda x: mg.reshape(mg.reshape(x, (2, 6)), (3, 4)),
    "twice transposed": lambda x: ops.transpose(mg.reshape(ops.transpose(x, permutation=(1, 0)), (3, 4)), permutation=(0, 1)),
    "transposed": lambda x: mg.reshape(ops.transpose(mg.reshape(x, (4, 3)), permutation=(1, 0)), (3, 4)),
    "slice": lambda x: mg.concat([x[1:], x[:1]], axis=0),
    "row everywhere": lambda x: mg.broadcast_to(x[:1], (3, 4)),
    "column everywhere": lambda x: mg.broadcast_to(x[:, 1:2], (3, 4)),
    "sum everywhere": lambda x: mg.broadcast_to(mg.sum(x, axis=0), (3, 4)),
    "scaled": lambda x: x * 0.5 + 2.0,
    "barrier": lambda x: ops.optimization_barrier(x)[0],
    "real": lambda x: mg.real(mg.astype(x, "complex64")),
    "there and back": lambda x: mg.astype(mg.astype(x, "float64"), "float32"),
    "softmax": mg.softmax,
    "constant": lambda x: x + np.arange(12, dtype="float32").reshape(3, 4),
    "loop": lambda x: mg.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] + x), (mg.asarray(0), x))[1],
    "no turn": lambda x: mg.while_loop(lambda c: c[0] < 0, lambda c: (c[0] + 1, c[1] + x), (mg.asarray(0), x))[1],
    "swaps": lambda x: mg.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[2], c[1]), (mg.asarray(0), x, -x))[1],
}  # fmt: skip
BINARY = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "where": lambda x, y: mg.where(x > y, x, y * 2.0),
    "matmul": lambda x, y: mg.matmul(x, mg.reshape(y, (4, 3))) @ y,
    "transposed product": lambda x, y: ops.transpose(ops.dot_general(x, y, lhs_contracting=(0,), rhs_contracting=(0,)), permutation=(1, 0))[:3],
    "update": lambda x, y: ops.dynamic_update_slice(x, y[:2], ops.literal(1, as_dtype("int32")), ops.literal(0, as_dtype("int32"))),
    "scatter": lambda x, y: ops.scatter(
        x, ops.literal(np.array([[2], [0], [2]])), y, update_window_dims=(1,), inserted_window_dims=(0,),
        scatter_dims_to_operand_dims=(0,), index_vector_dim=1, kind="add",
    ),
    "rows": lambda x, y: mg.maximum(x[0], y[2]) + x,
}  # fmt: skip
LEAVES = {
    "zeros": lambda: mg.zeros((3, 4)),
    "literal": lambda: ops.literal(np.linspace(-1, 1, 12, dtype="float32").reshape(3, 4)),
}


@st.composite
def programs(draw):
    """Instructions over a growing list of values, results, and which inputs are donated."""
    inputs = draw(st.integers(1, 3))
    count, lines = inputs, []
    for _ in range(draw(st.integers(1, 8))):
        table = draw(st.sampled_from([UNARY, UNARY, BINARY, BINARY, LEAVES]))
        arity = {id(UNARY): 1, id(BINARY): 2, id(LEAVES): 0}[id(table)]
        name = draw(st.sampled_from(sorted(table)))
        lines.append((table[name], [draw(st.integers(0, count - 1)) for _ in range(arity)]))
        count += 1
    outs = draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=4))
    donate = draw(st.sets(st.integers(0, inputs - 1)))
    return inputs, lines, outs, tuple(sorted(donate)), draw(st.integers(0, 99))


@given(programs())
@settings(max_examples=300, deadline=None)
def test_random_graphs_agree_with_numpy_whatever_is_donated(program):
    inputs, lines, outs, donate, seed = program

    def fn(*xs):
        values = list(xs)
        for make, args in lines:
            values.append(make(*[values[i] for i in args]))
        return tuple(values[i] for i in outs)

    rng = np.random.default_rng(seed)
    arrays = [rng.uniform(-1, 1, X.shape).astype("float32") for _ in range(inputs)]
    graph = mg.trace(fn, *[X] * inputs)
    reference = get_engine("numpy")
    want = reference.compile(reference.prepare(graph), Options(reference.devices[0]))(*arrays)
    got, _ = checked_run(ENGINE.prepare(graph), arrays, donate)
    for g, w in zip(got, want):
        np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-5)


# ---- what donation is for


def test_a_donated_input_is_updated_in_place():
    graph = mg.trace(
        lambda x, y: ops.dynamic_update_slice(x, y, *[ops.literal(0, as_dtype("int32"))] * 2),
        X,
        mg.Spec((1, 4)),
    )
    x, y = put([np.zeros((3, 4), "float32"), np.ones((1, 4), "float32")])
    place = x.data_ptr()
    (out,) = generate(graph, CPU, (0,))(x, y)
    assert out.data_ptr() == place and out.sum() == 4
    (out,) = generate(graph, CPU)(x, y)
    assert out.data_ptr() != place


def test_adam_overwrites_donated_parameters_and_moments_only():
    specs = [mg.Spec(()), mg.Spec(()), *[X] * 4]
    graph = mg.trace(lambda *a: mg.ops.adam_update(*a, count=1), *specs)
    rng = np.random.default_rng(0)
    arrays = [
        np.float32(0.1),
        np.float32(1),
        *[rng.uniform(0.1, 1, X.shape).astype("float32") for _ in range(4)],
    ]
    inputs = put(arrays)
    places = [x.data_ptr() for x in inputs]
    outs = generate(graph, CPU, (2, 4, 5))(*inputs)
    assert [o.data_ptr() for o in outs] == [places[2], places[4], places[5]]
    np.testing.assert_array_equal(inputs[3].numpy(), arrays[3])


def test_a_donated_tensor_that_is_passed_twice_is_copied():
    run = generate(mg.trace(lambda x, y: (x + 1.0, x * y), X, X), CPU, (0,))
    (x,) = put([np.ones(X.shape, "float32")])
    a, b = run(x, x)
    assert (a == 2).all() and (b == 1).all() and (x == 1).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
@pytest.mark.parametrize("look", [np.asarray, lambda t: t.numpy()[1:], lambda t: t.numpy().T])
def test_an_array_that_shows_a_donated_tensor_does_not_change(dtype, look):
    bump = mg.jit(lambda x: x + x, engine="torch", donate_argnums=0)
    x = mg.tensor(np.ones((3, 4), as_dtype(dtype).numpy), device="torch")
    seen = look(x)
    bump(x)
    assert (seen.astype("complex64") == 1).all()
    y = mg.tensor(np.ones((3, 4), as_dtype(dtype).numpy), device="torch")
    place = y.buffer.data_ptr()
    assert bump(y).buffer.data_ptr() == place, "nobody looks, yet it was copied"


def test_constants_of_a_function_survive_what_is_done_to_its_results():
    f = mg.jit(lambda x: (mg.ones((3, 4)) + 0.0 * x[0, 0], mg.ones((3, 4))), engine="torch")
    update = mg.jit(lambda c: c + 5.0, engine="torch", donate_argnums=0)
    x = mg.tensor(np.zeros((3, 4), "float32"), device="torch")
    for result in f(x):
        update(result)
    assert f(x)[1].numpy().max() == 1


def test_a_branch_may_overwrite_what_nobody_reads_after_it():
    def step(scope, good, g):
        w = scope.variable("w", (64,), 1.0)
        scope.cond(good, lambda: w.assign(w.value - g))

    store = mg.Store()
    run = store.bind(step, "torch")
    g = np.ones(64, "float32")
    run(np.True_, g)
    first = store["w"].numpy()  # a view of the buffer: the next step must leave it alone
    run(np.True_, g)
    run(np.False_, g)
    assert (first == 0).all() and (store["w"].numpy() == -1).all()


def test_a_branch_overwrites_no_kept_input():
    def choose(good, x, y):
        return mg.cond(good, lambda: (x + y, y), lambda: (y, x))

    run = mg.jit(choose).on("torch")
    x, y = mg.tensor([1.0, 2.0], device="torch"), mg.tensor([3.0, 4.0], device="torch")
    for _ in range(2):
        for good, want in ((True, ([4.0, 6.0], [3.0, 4.0])), (False, ([3.0, 4.0], [1.0, 2.0]))):
            assert tuple(v.tolist() for v in run(mg.tensor(good, device="torch"), x, y)) == want
    assert x.tolist() == [1.0, 2.0] and y.tolist() == [3.0, 4.0]
