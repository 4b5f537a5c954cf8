"""The main method: F, then M, C, E and G, then classifiers (Xu, Shu and Samaras, 2020)."""
