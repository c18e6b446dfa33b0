"""Engines that run a bundle: LiteRT and TensorFlow for pictures, LiteRT for heads."""
