"""Searches a catalog through its index."""
