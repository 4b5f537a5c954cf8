"""Torch modules and losses; each names its equation."""
