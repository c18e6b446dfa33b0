"""What a person runs: the command line, its options and the wiring of the Beam jobs."""
