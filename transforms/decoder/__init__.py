"""Decodes videos in child processes, under limits on time and memory."""
