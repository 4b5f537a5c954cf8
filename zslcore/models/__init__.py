"""Torch modules, one a file; each names its equation."""
