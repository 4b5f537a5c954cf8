"""A fitted model that names images: one file, with all it takes to name them on another machine."""
