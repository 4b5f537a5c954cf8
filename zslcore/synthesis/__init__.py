"""What every generative method shares once it is fitted: drawing features, and the final classifiers."""
