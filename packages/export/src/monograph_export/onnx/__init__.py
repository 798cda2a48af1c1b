"""Graphs as ONNX models."""

from .translate import LOWER, Translated, refusal, translate

__all__ = ["LOWER", "Translated", "refusal", "translate"]
