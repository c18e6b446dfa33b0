"""The vector index: build, add, merge, search, score; and how words and pictures become queries of it."""
