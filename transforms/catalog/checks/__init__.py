"""Checks a catalog: its files, rows, index, regions, dialogues and duplicates."""
