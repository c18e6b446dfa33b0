"""Models: numpy in, numpy out, no Beam; TensorFlow is imported only when a model is built."""
