"""Random programs and their gradients on the compiled engines, against the NumPy reference.

A night's run is ``python -m monograph.testing.fuzz 10000 --engines numpy xla torch --jobs 2``.
"""

import pytest
from monograph.testing.fuzz import findings, program_of


@pytest.mark.parametrize(("engine", "count"), [("torch", 80), ("xla", 24)])
def test_random_programs_compute_the_same(engine, count):
    for seed in range(count):
        program = program_of(seed, [engine], steps=8)
        assert findings(program, [engine], exact={}, near={}) == [], program
