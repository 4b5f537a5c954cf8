"""The steps of the main method, one a file: the pipeline's stages and the estimator call the same functions."""
