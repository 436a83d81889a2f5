"""Scores of patches and slides that nobody has labelled, by an exported model."""
