"""Answers questions about videos from the rows of a catalog, and checks what a language model makes of the answers."""
