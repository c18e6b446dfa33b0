"""Merges the rows of neighbouring runs into few files."""
