"""Slices, gathers and scatters at positions known only at run time."""
