"""The parts of `tests.benchmarks.gpu`. They need neither Beam, TensorFlow nor pyarrow."""
