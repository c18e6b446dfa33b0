"""The nightly job: list the archive, plan, decode, infer, pool, commit."""
