"""The conformance kit: every op record, run on any engine and held against the reference.

``python -m monograph.testing ENGINE`` from a shell; `assert_conforms` in a test of your own engine,
in one line. An engine's package may hold a ``conformance.toml`` with known failures, each with a
reason. `monograph.testing.oracles` checks the reference itself against outside functions.
"""

from .kit import Report, Row, assert_conforms, run

__all__ = ["Report", "Row", "assert_conforms", "run"]
