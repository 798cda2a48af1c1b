"""What a custom operation adds to a call: a C function, and a NumPy body, over an identity program.

Both programs are `mg.jit` on the same engine and the same tensor; calls alternate, so that a busy machine
weighs on both, and results are waited for. The extra is the median of the differences. Allowed: 5 us for
a C function.
"""

from time import perf_counter

import monograph as mg
import numpy as np

CALLS = 3000
SOURCE = """
#include "monograph_op.h"
MG_OP(copied) {
  memcpy(call->out[0].data, call->in[0].data, sizeof(float) * call->out[0].size);
  return 0;
}
"""
copied = mg.custom_op_from_c(SOURCE, "copied", infer=lambda x: x)


@mg.op(infer=lambda x: x, vjp=mg.NOT_DIFFERENTIABLE)
def copied_by_numpy(x):
    """The same in NumPy."""
    return x


def measure(engine, op, size):
    """Microseconds: of the identity, and what ``op`` adds."""
    x = mg.tensor(np.arange(size, dtype="float32"), device=engine)
    ours, identity = mg.jit(lambda v: op(v), engine=engine), mg.jit(lambda v: v, engine=engine)
    np.testing.assert_array_equal(ours(x).numpy(), x.numpy())
    np.testing.assert_array_equal(identity(x).numpy(), x.numpy())
    wait = x.device.engine.wait
    times = np.empty((2, CALLS))
    for i in range(CALLS):
        for which, fn in enumerate((ours, identity)):
            start = perf_counter()
            wait([fn(x).buffer])
            times[which, i] = perf_counter() - start
    return np.median(times[1]) * 1e6, np.median(times[0] - times[1]) * 1e6


print(f"{f'us per call, medians of {CALLS}':<34}{'elements':>9}{'identity':>9}{'extra':>7}")
for engine in ("xla", "torch", "numpy"):
    for what, op in (("C function", copied), ("NumPy body", copied_by_numpy)):
        for size in (1, 1000):
            identity, extra = measure(engine, op, size)
            print(f"{f'{engine}: {what}':<34}{size:>9}{identity:>9.1f}{extra:>7.1f}")
