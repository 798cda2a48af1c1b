"""Rounding and finiteness."""
