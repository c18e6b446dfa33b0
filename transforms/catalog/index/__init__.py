"""The index as a part of a catalog: where its rows come from, what changed, its files and their local copies."""
