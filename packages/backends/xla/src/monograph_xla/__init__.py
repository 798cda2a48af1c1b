"""The XLA engine of Monograph, over jax's public interface."""

from .engine import XlaEngine


def engine() -> XlaEngine:
    """The engine object; what the entry point ``monograph.engines: xla`` names."""
    return XlaEngine()


__all__ = ["XlaEngine", "engine"]
