"""Factorisations."""
