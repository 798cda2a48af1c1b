"""Composites that engines have natively: activations, normalisation, attention, updates."""
