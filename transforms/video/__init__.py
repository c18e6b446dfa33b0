"""Beam-free: probing, sampling and segment arithmetic, decoding, the decoder pool."""
