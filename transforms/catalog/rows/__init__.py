"""Makes rows of the tables: of chunks, videos, labels, actions, regions and moved files."""
