"""Reads the rows that count: the latest of each video, its frames, regions, thumbnails and runs."""
