"""The training loop, its optimisers, checkpoints, devices and random streams."""
