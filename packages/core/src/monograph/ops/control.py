"""Branches, loops and calls of nested graphs."""
