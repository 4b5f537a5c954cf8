"""Metric learning with hard negative mining (Bucher, Herbin and Jurie)."""
