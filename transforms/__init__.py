"""Moves data: thin Beam transforms over code without Beam."""
