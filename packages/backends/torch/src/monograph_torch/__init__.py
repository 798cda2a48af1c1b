"""The Torch engine of Monograph: graphs become flat Python source that calls torch."""

from .engine import TorchEngine


def engine() -> TorchEngine:
    """The engine object; what the entry point ``monograph.engines: torch`` names."""
    return TorchEngine()


__all__ = ["TorchEngine", "engine"]
