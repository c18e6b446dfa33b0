"""Everything that is printed: progress, logs, summaries, errors with their exit codes."""
