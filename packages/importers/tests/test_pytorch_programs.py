"""Whole programs: state, writes through views, tied weights, control flow, sizes, sources, files' twins."""

from __future__ import annotations

from pathlib import Path

import monograph as mg
import numpy as np
import pytest
from monograph.errors import ArgumentError, MonographError, UnsupportedModel

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional
ENGINES = ("numpy", "xla", "torch")


def numbers(x):
    return mg.tree.map(lambda v: v.detach().numpy() if isinstance(v, torch.Tensor) else v, x)


def close(got, want, tolerance=1e-5):
    got, want = mg.tree.leaves(got), mg.tree.leaves(numbers(want))
    assert len(got) == len(want)
    for g, w in zip(got, want):
        np.testing.assert_allclose(np.asarray(g), w, rtol=tolerance, atol=tolerance)


def line_with(mark):
    return 1 + next(i for i, s in enumerate(Path(__file__).read_text().splitlines()) if mark in s)


def from_file(module, tmp_path, *args, **options):
    """The same program through an ExportedProgram and through a file."""
    program = torch.export.export(module, args, **options)
    torch.export.save(program, tmp_path / "program.pt2")
    return mg.load(program), mg.load(tmp_path / "program.pt2")


class Writes(nn.Module):
    """Writes in place, through views of views, and into what is looked at later."""

    def forward(self, x):
        y = x * 2
        rows, last = y[1:], y.transpose(0, 1)[-1]
        y[:, 0] = 7
        rows[0].add_(1.5)
        last.mul_(-1)
        flat = y.reshape(-1)
        flat[2:4].zero_()
        copy = y.t().reshape(-1)  # no view in torch
        copy.fill_(9)
        a, b = y.chunk(2, dim=1)
        b.copy_(a)
        d = y.diagonal()
        d += 10
        y.relu_()
        y[:, 1::2] = torch.tensor([3.0])
        z = torch.zeros(3)
        z.index_put_([torch.tensor([0, 0])], torch.tensor(2.0), accumulate=True)
        top, _ = y.topk(2)
        top.add_(1)
        return {"y": y, "rows": rows, "last": last, "copy": copy, "z": z, "top": top}


def test_writes_through_views_show_everywhere(tmp_path):
    x = torch.arange(16.0).reshape(4, 4) - 5
    want = Writes()(x)
    for imported in from_file(Writes(), tmp_path, x):
        for engine in ENGINES:
            close(imported.on(engine).call(x.numpy()), want)


class Trained(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.3)
        self.act, self.out = nn.ReLU(inplace=True), nn.Linear(4, 2)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("offset", torch.ones(2), persistent=False)
        self.register_buffer("last", torch.zeros(2), persistent=False)

    def forward(self, x):
        self.calls += 1
        self.last[0] += x.mean()
        return self.out(self.act(self.norm(self.conv(x))).mean((2, 3))) + self.offset


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own, in run_decompositions
@pytest.mark.parametrize("decomposed", [False, True])
def test_buffers_are_state_that_training_graphs_move(decomposed, tmp_path):
    torch.manual_seed(0)
    module, x = Trained().train(), torch.randn(3, 3, 6, 6)
    program = torch.export.export(module, (x,))
    program = program.run_decompositions() if decomposed else program
    torch.export.save(program, tmp_path / "p.pt2")
    both = [mg.load(program), mg.load(tmp_path / "p.pt2")]
    assert "offset" not in both[0].parameters
    for step in range(2):
        got = [i.on(("xla", "torch")[step]).call(x.numpy()) for i in both]
        want = module(
            x
        )  # after a store has begun: until then parameters are the module's own memory
        close(got, [want, want])
    for imported in both:
        assert "norm/weight" in imported.store.trainable
        assert "norm/running_mean" not in imported.store.trainable
        state = {k.replace("/", "."): v for k, v in imported.store.numpy().items()}
        close(state, {**module.state_dict(), "last": module.last})


def test_training_is_chosen_by_option():
    module, x = Trained(), torch.randn(3, 3, 6, 6)
    close(mg.load(module, example=x).call(x.numpy()), module.eval()(x))
    close(mg.load(module, example=x, training=True).call(x.numpy()), module.train()(x))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 4), nn.Linear(4, 5)
        self.head.weight = self.embed.weight
        self.frozen = nn.Parameter(torch.ones(5), requires_grad=False)

    def forward(self, ids):
        return self.head(self.embed(ids)) * self.frozen


def test_tied_weights_are_one_variable_and_frozen_ones_state(tmp_path):
    module, ids = Tied(), torch.tensor([[1, 2, 4]])
    for imported in from_file(module, tmp_path, ids):
        assert sorted(imported.parameters) == ["embed/weight", "frozen", "head/bias"]
        store = mg.Store()

        def loss(scope, x, imported=imported):
            return mg.sum(imported.model(scope, x) ** 2)

        value, grads = store.bind(lambda s, x: s.value_and_grad(loss)(s, x))(ids.numpy())
        module.zero_grad()
        want = (module(ids) ** 2).sum()
        want.backward()
        close(value, want)
        assert sorted(grads) == ["embed/weight", "head/bias"]
        close(grads["embed/weight"], module.embed.weight.grad, 1e-4)


class Nested(nn.Module):
    def forward(self, batch, pair, *, scale=1.0, flag=None):
        a, b = pair
        return {"sum": (batch["a"] + a) * scale, "list": [batch["b"], (b, b * 2)]}


def test_structures_have_names(tmp_path):
    args = {"a": torch.ones(2, 3), "b": torch.zeros(1)}, (torch.ones(3), torch.ones(4))
    for imported in from_file(Nested(), tmp_path, *args, kwargs={"scale": 2.0}):
        assert [i.name for i in imported.signature.inputs] == [
            "batch_a",
            "batch_b",
            "pair_0",
            "pair_1",
        ]
        assert imported.signature.outputs == ("sum", "list.0", "list.1.0", "list.1.1")
        got = imported.call(*[t.numpy() for t in (*args[0].values(), *args[1])])
        close(got, Nested()(*args, scale=2.0))
        assert isinstance(got["list"], list) and isinstance(got["list"][1], tuple)


def test_named_tuples_of_torch_are_tuples():
    class Extremes(nn.Module):
        def forward(self, x):
            return {"max": torch.max(x, 0), "sort": x.sort()}

    x = torch.randn(3, 4)
    got = mg.load(Extremes(), example=x).call(x.numpy())
    close(got, {k: tuple(v) for k, v in Extremes()(x).items()})


class Sizes(nn.Module):
    def forward(self, x, y):
        n = x.shape[0] * 2 + y.shape[0] // 2
        return x.new_zeros(n), torch.cat([x, x]).reshape(-1, x.shape[1] // 2), torch.arange(n) % 3


def test_sizes_are_any(tmp_path):
    x, y = torch.randn(3, 4), torch.randn(5)
    dynamic = {"x": {0: "batch"}, "y": {0: "length"}}
    imported = mg.load(Sizes(), example=(x, y), dynamic=dynamic)
    assert imported.signature.inputs[0].shape == ("batch", 4)
    assert imported.signature.sizes == {"batch": 3, "length": 5}
    assert imported.graph.output_specs[0].shape == (8,)
    program = torch.export.export(
        Sizes(),
        (x, y),
        dynamic_shapes={"x": {0: torch.export.Dim.DYNAMIC}, "y": {0: torch.export.Dim.DYNAMIC}},
    )
    torch.export.save(program, tmp_path / "s.pt2")
    other = torch.randn(7, 4), torch.randn(2)
    for i in (imported, mg.load(program), mg.load(tmp_path / "s.pt2")):
        close(i.call(*[t.numpy() for t in other]), Sizes()(*other))
        assert all(
            isinstance(n, str)
            for n in (i.signature.inputs[0].shape[0], i.signature.inputs[1].shape[0])
        )


def test_an_example_of_one_is_no_fixed_size():
    module = nn.Linear(3, 2)
    imported = mg.load(module, example=torch.ones(1, 3), dynamic={"input": {0: "batch"}})
    x = torch.randn(4, 3)
    close(imported.call(x.numpy()), module(x))


class Control(nn.Module):
    def forward(self, x):
        from torch._higher_order_ops import scan, while_loop

        y = torch.cond(x.sum() > 0, lambda v: v * 2, lambda v: v - 1, (x,))
        _, z = while_loop(
            lambda i, v: i < 3, lambda i, v: (i + 1, v * 2), (torch.zeros((), dtype=torch.int64), x)
        )
        last, all_ = scan(lambda c, a: (c + a, c * a), x[0].clone(), x)
        with torch.no_grad():
            still = x * 3
        return y, z, last, all_, still


def test_control_flow(tmp_path):
    pytest.importorskip("torch._higher_order_ops")
    x = torch.randn(4, 3)
    for imported in from_file(Control(), tmp_path, x):
        for engine in ENGINES:
            for sign in (1, -1):
                close(imported.on(engine).call((x.abs() * sign).numpy()), Control()(x.abs() * sign))
        store = mg.Store()
        grad = store.bind(lambda s, v, i=imported: mg.grad(lambda u: mg.sum(i.model(s, u)[4]))(v))
        assert not np.asarray(grad(x.numpy())).any()


class Poles(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Linear(3, 3), nn.Identity())

    def forward(self, x):
        y = self.block(x)
        return torch.log(y - y - 1) + y  # THE LINE


def test_the_nan_guard_names_the_models_line(tmp_path):
    line = line_with("# THE " + "LINE")
    x = torch.randn(2, 3)
    for imported in from_file(Poles(), tmp_path, x):
        with pytest.raises(MonographError) as e, mg.nan_guard():
            imported.call(x.numpy())
        assert f"{__file__}:{line}" in str(e.value)
        at = next(n for n in imported.graph.nodes if n.op.name == "dot_general").source
        assert (at.function, at.scope) == ("forward", "block/0")
        assert at.file == __file__


def test_errors_name_the_models_line():
    class Bad(nn.Module):
        def forward(self, x):
            return x[x > 0]  # HERE

    line = line_with("# HE" + "RE")
    imported = mg.load(torch.export.export(Bad(), (torch.randn(4),)))
    with pytest.raises(MonographError, match=f"{__file__}:{line}.*depends on"):
        imported.call(np.ones(4, "float32"))


class Lacks(nn.Module):
    def forward(self, x):
        x.add_(1)
        return torch.linalg.eig(x)[0].real + torch.linalg.eig(x)[0].imag + torch.matrix_exp(x)


def test_everything_that_is_missing_is_said_at_once():
    imported = mg.load(torch.export.export(Lacks(), (torch.randn(3, 3),)))
    by = {u.op: u for u in imported.unsupported}
    assert by["aten.linalg_eig.default"].count == 2
    below = by["aten.matrix_exp.default"].why
    assert below == "its decomposition needs aten.linalg_matrix_exp.default"
    assert "writes into the input x" in by["aten.add_.Tensor"].why
    assert all(u.where.startswith(__file__) for u in by.values())
    with pytest.raises(UnsupportedModel, match="linalg_eig.*2x"):
        imported.call(np.ones((3, 3), "float32"))


class InBranch(nn.Module):
    def forward(self, x):
        y = torch.cond(  # BRANCHES; torch knows no other line of what is in them
            x.sum() > 0,
            lambda x: torch.linalg.matrix_exp(x),
            lambda x: torch.matrix_exp(x * 2),
            (x,),
        )
        return y + torch.matrix_exp(y)


class InLoop(nn.Module):
    def forward(self, x):
        from torch._higher_order_ops import while_loop

        def body(i, x):
            return i + 1, torch.matrix_exp(x)

        n = torch.zeros((), dtype=torch.int64)
        return while_loop(lambda i, x: i < 3, body, (n, x))[1]  # LOOP


def test_what_a_decomposition_lacks_is_found_in_bodies_too(tmp_path):
    for imported in from_file(InBranch(), tmp_path, torch.randn(3, 3)):
        first, second = imported.unsupported
        assert (first.op, first.count, first.why) == ("aten.linalg_matrix_exp.default", 1, "")
        assert (second.op, second.count) == ("aten.matrix_exp.default", 2)  # one after the branches
        assert second.why == "its decomposition needs aten.linalg_matrix_exp.default"
        for row in imported.unsupported:
            assert row.where.startswith(f"{__file__}:{line_with('# BRAN' + 'CHES')}")
        with pytest.raises(UnsupportedModel, match=r"(?s)linalg_matrix_exp.*matrix_exp.*needs"):
            imported.call(np.ones((3, 3), "float32"))
    for imported in from_file(InLoop(), tmp_path, torch.randn(3, 3)):
        (found,) = imported.unsupported
        assert found.count == 1 and f":{line_with('# LO' + 'OP')}" in found.where


class Picks(nn.Module):
    def forward(self, x, w):
        a = x[x > 0].sum()  # MASK
        places = torch.nonzero(w)  # PLACES
        n = w.sum().to(torch.int64).item()  # NUMBER
        torch._check(n >= 0)
        torch._check(n < w.shape[0])
        picked = torch.masked_select(w, w > a)  # AFTER BOTH
        return a + places.sum() + w[:n].sum(), picked, places[:, 0] + 1


@pytest.mark.parametrize("dynamic", [None, {"x": None, "w": {0: "n"}}])
def test_every_place_where_data_decides_a_shape_is_said_at_once(dynamic):
    imported = mg.load(Picks(), example=(torch.randn(4), torch.randn(20)), dynamic=dynamic)
    found = {u.where.split(":")[1].split(" ")[0]: u for u in imported.unsupported}
    lines = [line_with("# " + mark) for mark in ("MASK", "PLACES", "NUMBER", "AFTER BOTH")]
    assert sorted(found) == sorted(map(str, lines)), "and not what comes of them"
    assert all(u.count == 1 and u.where.startswith(__file__) for u in found.values())
    assert "depends on data" in found[str(lines[0])].why
    assert not found[str(lines[0])].why.startswith(__file__)
    with pytest.raises(UnsupportedModel) as e:
        imported.call(np.ones(4, "float32"), np.ones(20, "float32"))
    assert e.value.missing == imported.unsupported and len(e.value.missing) == 4


def test_a_branch_on_what_is_missing_is_looked_into():
    class Branches(nn.Module):
        def forward(self, x):
            n = torch.nonzero(x)
            return torch.cond(n.sum() > 0, lambda x: x + torch.nonzero(x).sum(), torch.neg, (x,))

    imported = mg.load(Branches(), example=torch.randn(3))
    assert [(u.op, u.count) for u in imported.unsupported] == [("aten.nonzero.default", 2)]


def test_looking_for_what_is_missing_leaves_no_trace():
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    imported = mg.load(module, example=torch.randn(2, 3), training=True)
    assert imported.unsupported == () and not imported.store.slots
    assert imported.on("numpy").unsupported is imported.unsupported
    assert mg.trace(lambda x: x * len(imported.unsupported), mg.Spec(())).nodes


def test_an_op_without_a_rule_goes_through_torchs_decomposition(tmp_path):
    class Rare(nn.Module):
        def forward(self, x, y):
            return F.cosine_similarity(x, y), F.huber_loss(x, y), torch.special.entr(x.abs())

    x, y = torch.randn(3, 4), torch.randn(3, 4)
    for imported in from_file(Rare(), tmp_path, x, y):
        assert not imported.unsupported
        close(imported.call(x.numpy(), y.numpy()), Rare()(x, y))


def test_dropout_drops_in_training_alone():
    class Drops(nn.Module):
        def forward(self, x, q):
            a = F.scaled_dot_product_attention(q, q, q, dropout_p=0.5 if self.training else 0.0)
            return (
                F.dropout(x, 0.25, self.training),
                torch.rand_like(x),
                torch.randn(4000),
                torch.randperm(50),
                a,
            )

    x, q = torch.ones(4000), torch.randn(1, 2, 5, 4)
    module = Drops()
    imported = mg.load(module, example=(x, q), training=True)
    first, again = ([np.asarray(v) for v in imported.call(x.numpy(), q.numpy())] for _ in range(2))
    assert (
        sorted(set(first[0].round(3))) == [0.0, 1.333] and abs((first[0] == 0).mean() - 0.25) < 0.03
    )
    assert (first[0] != again[0]).any() and abs(first[1].mean() - 0.5) < 0.03
    assert abs(first[2].mean()) < 0.06 and abs(first[2].std() - 1) < 0.05
    assert sorted(first[3]) == list(range(50)) and (first[4] != again[4]).any()
    still = mg.load(module, example=(x, q))
    close(still.call(x.numpy(), q.numpy())[0], x)
    close(still.call(x.numpy(), q.numpy())[4], module.eval()(x, q)[4])


def test_dropout_of_attention_keeps_the_mean_and_the_mask():
    class Attends(nn.Module):
        def forward(self, q, mask):
            ones = torch.ones_like(q)
            some = F.scaled_dot_product_attention(q, q, ones, mask, dropout_p=0.5)
            return some, F.scaled_dot_product_attention(q, q, ones, dropout_p=0.5, is_causal=True)

    q, mask = torch.randn(1, 2, 300, 4), torch.ones(300, 300, dtype=torch.bool)
    mask[0], mask[1, 1:] = False, False
    imported = mg.load(Attends(), example=(q, mask), training=True)
    masked, causal = (np.asarray(v) for v in imported.call(q.numpy(), mask.numpy()))
    assert not masked[:, :, 0].any() and set(masked[:, :, 1].ravel()) <= {0.0, 2.0}
    assert abs(masked[:, :, 2:].mean() - 1) < 0.02
    assert set(causal[:, :, 0].ravel()) <= {0.0, 2.0} and abs(causal.mean() - 1) < 0.05


def test_a_module_needs_inputs_to_be_exported():
    with pytest.raises(ArgumentError, match="give inputs to try"):
        mg.load(nn.Linear(2, 2))
    with pytest.raises(ArgumentError, match="names x; the arguments given are input"):
        mg.load(nn.Linear(2, 2), example=torch.ones(1, 2), dynamic={"x": {0: "batch"}})

    class Branches(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ArgumentError, match="cannot export Branches"):
        mg.load(Branches(), example=torch.ones(2))


def test_parameters_share_memory_with_the_module_and_stores_do_not():
    module = nn.Linear(2, 2)
    imported = mg.load(module, example=torch.ones(1, 2))
    assert np.shares_memory(imported.parameters["weight"], module.weight.detach().numpy())
    want = module(torch.ones(1, 2))
    imported.call(np.ones((1, 2), "float32"))
    with torch.no_grad():
        module.weight.zero_()
    close(imported.call(np.ones((1, 2), "float32")), want)


def test_sixteen_bit_weights(tmp_path):
    pytest.importorskip("monograph_dtypes")
    module = nn.Linear(3, 2).to(torch.bfloat16)
    x = torch.randn(4, 3, dtype=torch.bfloat16)
    for imported in from_file(module, tmp_path, x):
        assert imported.parameters["weight"].dtype.name == "bfloat16"
        got = imported.call(mg.tensor(x.float().numpy(), dtype="bfloat16"))
        assert got.dtype.name == "bfloat16"
        want = module(x).detach().float().numpy()
        np.testing.assert_allclose(np.asarray(got, "float32"), want, rtol=0.02, atol=0.02)


@pytest.mark.filterwarnings("ignore:No complete tensor")  # of torch, which saves it whole
def test_views_in_a_state_dict_keep_their_strides(tmp_path):
    module = nn.Linear(3, 4, bias=False)
    module.weight = nn.Parameter(torch.arange(24.0).reshape(3, 8)[:, 1:8:2].T)
    module.register_buffer("empty", torch.zeros(0, 2))
    x = torch.randn(2, 3)
    for imported in from_file(module, tmp_path, x):
        close(imported.parameters["weight"], module.weight)
        close(imported.call(x.numpy()), module(x))
