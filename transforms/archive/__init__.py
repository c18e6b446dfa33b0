"""Lists an archive, compares it with the catalog, and writes the todo lists of a run."""
