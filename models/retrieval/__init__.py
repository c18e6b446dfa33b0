"""The vector index: build it, add to it, search it; and turn words and pictures into queries."""
