"""The conformance kit: every op record, run on any engine and held against the reference.

``python -m monograph.testing ENGINE`` prints a summary and exits with 1 on a failure. An engine's
package may hold a ``conformance.toml`` with known failures, each with a reason.
"""

from .kit import Report, run

__all__ = ["Report", "run"]
