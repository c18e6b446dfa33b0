"""What people would use instead of this project, each a program of its own: `python -m tests.peers.<name>`.

All take a text file of one path a line and the path of their output, classify the same frames with the same model, and
write one row a frame: uri, time_s, embedding, label, score.
"""
