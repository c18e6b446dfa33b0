"""Reads one video and decodes its sampled frames; knows no processes, no tables and no Beam."""
