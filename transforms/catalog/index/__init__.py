"""The index as a part of a catalog: what changed since it was built, its files and their local copies."""
