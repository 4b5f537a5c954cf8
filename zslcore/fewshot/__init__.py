"""Few-shot recognition on fixed features (Table 5): learners fitted on base classes, tried on novel ones."""
