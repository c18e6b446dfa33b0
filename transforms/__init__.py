"""Data in motion: thin PTransforms over Beam-free code."""
