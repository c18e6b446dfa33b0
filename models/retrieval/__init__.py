"""The vector index: build, add, merge, search, score."""
