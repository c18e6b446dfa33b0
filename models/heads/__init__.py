"""Classifiers trained on stored features."""
