"""Exponentials, roots, trigonometry, and special functions."""
