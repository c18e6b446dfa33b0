"""Architectures and file formats of visual models, one module each."""
