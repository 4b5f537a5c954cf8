"""What the classifier of one label space learns from, in memory: drawn features where there are no real ones."""

import numpy as np
from numpy.typing import NDArray

from zslcore.settings import Classify, Generate
from zslcore.synthesis.classifier import FeaturesAndLabels, training_set
from zslcore.synthesis.generate import Source, draw_classes


def label_space(
    source: Source,
    real: FeaturesAndLabels | None,
    signatures: NDArray[np.float32],
    seen_mask: NDArray[np.bool_],
    counts: Generate,
    classify: Classify,
    seed: int,
) -> FeaturesAndLabels:
    """Features (n, m) and labels (n,), row numbers of `signatures` (classes, a).

    real: features (n, m) of seen classes as the classifier sees them, or None where only unseen classes compete.
    """
    seen, unseen = draw_classes(source, signatures, seen_mask, counts, seed)
    return training_set(real, seen, unseen, seen_mask, classify)
