"""Forgets videos: remembers and removes them, and looks for what is left."""
