"""Tables on storage: schemas, runs, commits, the lock, chunk files, pooling, latest rows, verifying; no Beam."""
