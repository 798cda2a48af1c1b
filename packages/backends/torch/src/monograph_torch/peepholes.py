"""Patterns of steps that torch does better in another way."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from monograph import Spec, ops
from monograph.graph import Value

from .lowerings import recurrent
from .lowerings.common import Pointwise
from .lowerings.composites import from_log_softmax, relu_backward, with_log_softmax
from .lowerings.convolution import Spread
from .lowerings.updates import IntoSpares
from .program import Operand, Program, Step


def improve(program: Program) -> None:
    """Rewrite the steps in place; results stay the same."""
    uses = program.uses()
    for step in program.steps:
        if isinstance(step.how, Pointwise):
            _broadcast_in_passing(program, step)
        pattern = _PATTERNS.get(step.node.op)
        if pattern:
            pattern(program, step, uses)
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


def _made_by(program: Program, x: Operand, op: Any) -> Step | None:
    """The step behind an operand, if it is of that op and read as it is."""
    made = program.maker.get(x.value)
    return made if made is not None and made.node.op is op and not x.suffix else None


# where the bias goes in the source of products that add one for nothing
_TAKE_BIAS = {
    "torch.mm(": "torch.addmm({2}, ", "onednn.mm(": "onednn.addmm({2}, ", " None,": " {2},",
}  # fmt: skip


_PRODUCTS = frozenset((ops.convolution, ops.dot_general))


def _bias(program: Program, step: Step, uses: Counter[Value]) -> None:
    """A convolution or matrix product of which this is the only reader adds the vector itself."""
    for x, bias in (step.inputs, step.inputs[::-1]):
        made = program.maker.get(x.value)
        if made is None or made.node.op not in _PRODUCTS or uses[x.value] > 1 or x.suffix:
            continue
        if not isinstance(made.how, str) or not _is_vector_of_last(bias, made):
            continue
        for old, new in _TAKE_BIAS.items():
            if old in made.how:
                step.how = made.how.replace(old, new)
                step.inputs = [*made.inputs, bias]
                return


def _is_vector_of_last(bias: Operand, made: Step) -> bool:
    """Whether ``bias`` runs over the channels, or over the right operand's only other axis."""
    rhs, one = made.node.inputs[1], len(made.node.attrs.get("rhs_contracting", ())) + 1
    single = made.node.op is not ops.dot_general or rhs.ndim == one
    return single and not bias.suffix and bias.value.shape == made.outputs[0].shape[-1:]


def _relu_gradient(program: Program, step: Step, uses: Counter[Value]) -> None:
    """``where(relu(x) > 0, g, 0)`` is one kernel; as PyTorch's own it lets g through where x is NaN."""
    condition, g, zero = step.inputs
    compared = _made_by(program, condition, ops.compare)
    if compared is None or compared.node.attrs["direction"] != "GT" or not _is_zero(program, zero):
        return
    y, threshold = compared.inputs
    if _made_by(program, y, ops.relu) and _is_zero(program, threshold):
        step.how = relu_backward
        step.inputs = [Operand(step.node.inputs[1]) if g.suffix else g, y]


def _constant_power(program: Program, step: Step, uses: Counter[Value]) -> None:
    """torch raises to a number several times faster than to an array of one."""
    base, exponent = step.inputs
    known = program.constants.get(exponent.value)
    # at 0.5 it takes the square root, which differs from a power at -0 and -inf
    if known is None or known.ndim or known.is_complex() or abs(known) == 0.5:
        return
    if math.isfinite(known):
        step.how = Pointwise(f"torch.pow({{0}}, {known.item()!r})", (0,))
        step.inputs = [base]


def _update_into_spares(program: Program, step: Step, uses: Counter[Value]) -> None:
    """An update of copies makes them itself, piece by piece, and looks at what it makes."""
    made = [(i, _made_by(program, x, ops.copy_into)) for i, x in enumerate(step.inputs)]
    copies = [(i, m) for i, m in made if m is not None and uses[m.outputs[0]] == 1]
    if not copies:
        return
    spare_at = {}
    for i, copy in copies:
        spare_at[i] = len(step.inputs)
        step.inputs.append(copy.inputs[1])
        step.inputs[i] = copy.inputs[0]
    step.how = IntoSpares(step.node, spare_at)
    step.outputs = (*step.outputs, Value(step.node, len(step.outputs), Spec((), "float32")))


def _looked_at_before(program: Program, step: Step, uses: Counter[Value]) -> None:
    """What an update looked at itself is not read again."""
    rest: dict[Operand, None] = {}
    for x in step.inputs:
        made = program.maker.get(x.value)
        known = made is not None and isinstance(made.how, IntoSpares) and not x.suffix
        if known and x.value.index in made.how.summed:  # type: ignore[union-attr]
            x = Operand(made.outputs[-1])  # type: ignore[union-attr]
        rest[x] = None
    step.inputs = list(rest)


def _is_zero(program: Program, x: Operand) -> bool:
    known = program.constants.get(x.value)
    return known is not None and not known.ndim and not known


def _statistics(spec: Spec) -> Spec:
    return spec.with_(dtype="float32") if spec.dtype.bits < 32 else spec


def _share_log_softmax(program: Program, step: Step, uses: Counter[Value]) -> None:
    """A loss and its gradient take the logarithm of the same softmax once."""
    g, logits, labels = step.inputs
    for forward in program.steps[: program.steps.index(step)]:
        if forward.node.op is ops.cross_entropy and forward.inputs[0].value is logits.value:
            if len(forward.outputs) == 1:
                low = Value(forward.node, 1, _statistics(logits.value.spec))
                forward.outputs, forward.how = (
                    (*forward.outputs, low),
                    with_log_softmax(forward.node, program.device),
                )
            step.inputs = [g, Operand(forward.outputs[1]), labels]
            step.how = from_log_softmax(step.node, program.device)
            return


def _lstm(program: Program, step: Step, uses: Counter[Value]) -> None:
    """oneDNN's kernels, where nobody reads the gates, or only the gradient of the outputs."""
    x, (_, cells, gates) = step.inputs[0].value, step.outputs
    on_cpu = program.device.type == "cpu" and x.dtype.name == "float32" and x.spec.size
    if not on_cpu or uses[cells] != uses[gates] or uses[gates] > 1 or not recurrent.works():
        return
    if not uses[gates]:
        step.how = recurrent.forward(step.node, program.device, train=False)
        return
    wants = [*step.inputs[:3], *step.inputs[4:], *map(Operand, step.outputs)]  # no bias
    for later in program.steps:
        reads = later.inputs[1:]  # the first is the cotangent
        if later.node.op is ops.lstm_backward and all(map(_same, reads, wants)):
            step.how = recurrent.forward(step.node, program.device, train=True)
            later.how = recurrent.backward(later.node, program.device)


def _same(x: Operand, y: Operand) -> bool:
    return x.value is y.value and x.suffix == y.suffix


def _share_spread(program: Program, step: Step, uses: Counter[Value]) -> None:
    """A convolution and its kernel's gradient put zeros into the image once."""
    how, x = step.how, step.inputs[0]
    if not isinstance(how, Spread):
        return
    for forward in program.steps[: program.steps.index(step)]:
        by = getattr(forward.how, "__self__", forward.how)  # one that keeps it already
        if not isinstance(by, Spread) or by.like != how.like:
            continue
        if forward.inputs[0].value is x.value and forward.inputs[0].suffix == x.suffix:
            if len(forward.outputs) == 1:
                wide = Value(forward.node, 1, x.value.spec.with_(by.wide))
                forward.outputs, forward.how = (*forward.outputs, wide), by.kept
            step.how, step.inputs[0] = how.run, Operand(forward.outputs[1])
            return


_PATTERNS = {
    ops.lstm: _lstm,
    **dict.fromkeys((ops.adam_update, ops.sgd_update), _update_into_spares),
    ops.all_finite: _looked_at_before,
    ops.power: _constant_power,
    ops.add: _bias,
    ops.select: _relu_gradient,
    ops.cross_entropy_backward: _share_log_softmax,
    ops.convolution_kernel_grad: _share_spread,
}
