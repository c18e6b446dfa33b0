"""Beam-free: the catalog's schemas, storage, runs and latest rows."""
