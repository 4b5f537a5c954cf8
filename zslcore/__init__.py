"""Zero-shot learning: data sets, features, methods and an honest evaluation protocol."""
