"""Whole zero-shot methods behind one estimator interface; `registry.py` lists them."""
