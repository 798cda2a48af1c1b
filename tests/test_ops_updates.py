"""Parameter updates against torch.optim in float64."""

import pytest
import torch
from monograph import ops
from monograph.testing.oracles import cases, check


def sgd(lr, *arrays, count, momentum=0.0, nesterov=False):
    params, grads, velocities = (
        [torch.tensor(x) for x in arrays[i * count : (i + 1) * count]] for i in range(3)
    )
    for p, g in zip(params, grads):
        p.grad = g
    optimizer = torch.optim.SGD(params, lr=float(lr), momentum=momentum, nesterov=nesterov)
    for p, v in zip(params, velocities):
        optimizer.state[p]["momentum_buffer"] = v
    optimizer.step()
    return [x.numpy() for x in (*params, *(velocities if momentum else ()))]


ORACLES = {ops.sgd_update: sgd}


@pytest.mark.parametrize("op", ORACLES, ids=lambda op: op.name)
def test_the_records_samples(op):
    found = list(cases(op, ("float64",)))
    assert found
    for sample in found:
        check(op, ORACLES[op], sample)
