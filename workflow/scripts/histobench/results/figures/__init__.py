"""Figures of a study, one module each, and their common style."""
