"""The embedded data set: drawn birds of invented kinds."""
