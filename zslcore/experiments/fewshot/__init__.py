"""Few-shot recognition (Table 5): episodes, and the learners they compare."""
