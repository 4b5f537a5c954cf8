"""Where independent jobs run: here, or on a Ray cluster."""
