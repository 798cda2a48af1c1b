"""Patterns of steps that torch does better in another way."""

from __future__ import annotations

from monograph import ops

from .lowerings.common import Pointwise
from .lowerings.products import dot
from .program import Operand, Program, Step


def improve(program: Program) -> None:
    """Rewrite the steps in place; results stay the same."""
    uses = program.uses()
    for step in program.steps:
        if isinstance(step.how, Pointwise):
            _broadcast_in_passing(program, step)
        elif step.node.op is ops.transpose:
            _swap_product(program, step, uses)
    program.sweep()


def _broadcast_in_passing(program: Program, step: Step) -> None:
    """Elementwise operands that are broadcasts are read as they were: torch broadcasts for nothing."""
    full = step.outputs[0].spec.shape
    for i, x in enumerate(step.inputs):
        beneath = _beneath(program, x)
        if beneath is None:
            continue
        others = [y.value.spec.shape for k, y in enumerate(step.inputs) if k != i]
        if any(s == full for s in others):
            step.inputs[i] = beneath


def _beneath(program: Program, x: Operand) -> Operand | None:
    """What a broadcast repeats, with axes of length 1 put where torch needs them."""
    made = program.maker.get(x.value)
    if made is None or made.node.op is not ops.broadcast_in_dim:
        return None
    value, dims, n = made.inputs[0].value, made.node.attrs["dims"], x.value.ndim
    while (inner := program.maker.get(value)) and inner.node.op is ops.broadcast_in_dim:
        value, dims = inner.inputs[0].value, [dims[d] for d in inner.node.attrs["dims"]]
    first = dims[0] if dims else n
    if list(dims) == list(range(first, n)):
        return Operand(value)
    shape = [1] * (n - first)
    for size, d in zip(value.shape, dims):
        shape[d - first] = size
    return Operand(value, f".view({tuple(shape)})")


def _swap_product(program: Program, step: Step, uses: dict) -> None:
    """The transpose of a product is the product of the operands swapped."""
    made = program.maker.get(step.inputs[0].value)
    if made is None or made.node.op is not ops.dot_general or uses[step.inputs[0].value] > 1:
        return
    a = made.node.attrs
    if a["lhs_batching"]:
        return
    lhs, rhs = made.node.inputs
    left = lhs.ndim - len(a["lhs_contracting"])
    n = step.outputs[0].ndim
    if step.node.attrs["permutation"] != (*range(left, n), *range(left)):
        return
    step.how = dot(
        rhs.spec, lhs.spec, step.outputs[0].spec, (), (), a["rhs_contracting"], a["lhs_contracting"],
        program.device,
    )  # fmt: skip
    step.inputs = made.inputs[::-1]
