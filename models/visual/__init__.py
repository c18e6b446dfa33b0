"""Frames to embeddings and class scores."""
