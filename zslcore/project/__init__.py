"""The folder around the library: its settings, data files, results, and what DVC and git know of them."""
