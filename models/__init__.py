"""Models: NumPy arrays in, NumPy arrays out. No Beam; TensorFlow is imported only when a model is built."""
