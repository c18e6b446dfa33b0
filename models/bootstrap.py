"""What all bootstrap intervals have in common."""

from typing import Final

RESAMPLES: Final = 1000
"""Number of resamples, enough for a percentile interval (Efron and Tibshirani 1993, chapter 13)."""

INTERVAL: Final = (2.5, 97.5)
"""Percentiles that bound a 95 % interval."""
