"""Finds the same footage in several videos, from the vectors of their frames."""
