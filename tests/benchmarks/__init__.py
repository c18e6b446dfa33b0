"""Measurements; each prints ratios from one run, because absolute times depend on the machine."""
