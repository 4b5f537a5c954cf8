"""Files: artifacts, YAML."""
