"""Graphs in other formats."""
