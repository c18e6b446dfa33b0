"""Pretrained models by name: what there is, and this machine's copies of their weights."""
