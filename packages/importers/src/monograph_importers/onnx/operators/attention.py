"""What ONNX's own bodies do for attention stays with them; here is what they leave open."""

from __future__ import annotations

from ..rules import rule

rule("Attention", "RotaryEmbedding", "CausalConvWithState", "LinearAttention")(None)
