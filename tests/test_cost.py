"""Counted operations against what XLA and PyTorch count."""

import monograph as mg
import pytest
from monograph.cost import FLOPS, FREE, flops
from monograph.op import all_ops

jax = pytest.importorskip("jax", reason="XLA's cost analysis is one reference")
torch = pytest.importorskip("torch", reason="PyTorch's flop counter is the other")


def test_the_tables_name_operations_that_there_are():
    assert set(FLOPS) | FREE <= {o.name for o in all_ops()}
    assert not set(FLOPS) & FREE


def test_products_and_convolutions_are_counted_as_xla_counts_them():
    x, w = mg.Spec((4, 9, 9, 6)), mg.Spec((3, 3, 2, 9))
    ours = mg.trace(lambda x, w: mg.conv(x, w, strides=2, groups=3), x, w)

    def theirs(x, w):
        return jax.lax.conv_general_dilated(
            x, w, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=3
        )

    arrays = [jax.numpy.zeros(s.shape) for s in (x, w)]
    assert flops(ours) == jax.jit(theirs).lower(*arrays).compile().cost_analysis()["flops"]


@pytest.mark.parametrize("causal", [False, True])
def test_attention_and_its_gradient_are_counted_as_torch_counts_products(causal):
    from torch.utils.flop_counter import FlopCounterMode

    shape = (2, 7, 3, 4)  # batch, time, heads, features

    def loss(q, k, v):
        return mg.sum(mg.attention(q, k, v, is_causal=causal))

    graph = mg.trace(mg.grad(loss, argnums=(0, 1, 2)), *[mg.Spec(shape)] * 3)
    q, k, v = (torch.zeros(shape).movedim(1, 2).requires_grad_() for _ in range(3))
    with FlopCounterMode(display=False) as counter:
        weights = torch.softmax(q @ k.mT / 2, -1)
        (weights @ v).sum().backward()
    assert counter.get_total_flops() <= flops(graph) <= 1.8 * counter.get_total_flops()


def test_a_scan_costs_its_body_times_its_length_and_a_branch_the_dearer_one():
    w = mg.ones((5, 5))
    many = mg.trace(lambda x: mg.scan(lambda c, _: (c @ w, None), x, length=7)[0], mg.Spec((1, 5)))
    assert flops(many) == 7 * 50
    either = mg.trace(
        lambda x: mg.cond(mg.sum(x) > 0, lambda: x @ w, lambda: x + 1.0), mg.Spec((1, 5))
    )
    assert flops(either) == 50 + 5 + 1
