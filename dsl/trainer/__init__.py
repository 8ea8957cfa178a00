"""Training on the host: batches in, losses out, checkpoints on the disk (docs/training.md).

Knows no framework: the session of a backend does the steps.
"""
