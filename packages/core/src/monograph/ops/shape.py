"""Making, cutting and joining arrays."""
