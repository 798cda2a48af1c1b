"""Engines that ship with core: NumPy, the reference."""
