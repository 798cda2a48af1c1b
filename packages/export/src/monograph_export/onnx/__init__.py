"""Graphs as ONNX models."""

from .builder import INLINE, OPSET
from .translate import LOWER, Translated, refusal, translate

__all__ = ["INLINE", "LOWER", "OPSET", "Translated", "refusal", "translate"]
