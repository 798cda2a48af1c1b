"""Bits, comparison and choice."""
