"""Metrics, the protocol (ZSL, GZSL, validation classes), clusterability, few-shot, published numbers."""
