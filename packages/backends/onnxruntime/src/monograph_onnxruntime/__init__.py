"""onnxruntime as an engine: ``pip install monograph-onnxruntime``, then ``engine="onnxruntime"``."""

from .engine import OnnxRuntimeEngine

MONOGRAPH_API_VERSION = 1


def engine() -> OnnxRuntimeEngine:
    """What the entry point names."""
    return OnnxRuntimeEngine()
