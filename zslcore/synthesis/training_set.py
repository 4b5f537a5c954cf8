"""What a final classifier learns from: real or synthetic features of seen classes, synthetic ones of unseen classes."""

import numpy as np
from numpy.typing import NDArray

from zslcore.io.rows import join
from zslcore.settings import Classify, Generate
from zslcore.synthesis.classifier import FeaturesAndLabels
from zslcore.synthesis.generate import Source, draw_classes


def training_set(
    real: FeaturesAndLabels | None,
    seen: FeaturesAndLabels,
    unseen: FeaturesAndLabels,
    seen_mask: NDArray[np.bool_],
    settings: Classify,
) -> FeaturesAndLabels:
    """What the classifier of one label space learns from: features (n, m), labels 0..classes-1.

    real: projected trainval features with labels among the seen classes, or None where only unseen classes compete.
    seen, unseen: synthetic features, labels among the seen and the unseen classes. seen_mask: (classes,) bool.
    """
    seen_classes, unseen_classes = np.flatnonzero(seen_mask), np.flatnonzero(~seen_mask)
    parts = [(unseen[0], unseen_classes[unseen[1]])]
    if real is not None and settings.seen in ("real", "both"):
        parts.append((real[0], seen_classes[real[1]]))
    if real is not None and settings.seen in ("synthetic", "both"):
        parts.append((seen[0], seen_classes[seen[1]]))
    return join([features for features, _ in parts]), np.concatenate([labels for _, labels in parts])


def draw_training_set(
    source: Source,
    real: FeaturesAndLabels | None,
    signatures: NDArray[np.float32],
    seen_mask: NDArray[np.bool_],
    counts: Generate,
    classify: Classify,
    seed: int,
) -> FeaturesAndLabels:
    """Draw features of every class, and take what the classifier learns from: (n, m), labels (n,) in 0..classes-1.

    signatures: (classes, a) unscaled.
    real: features (n, m) of seen classes as the classifier sees them, or None where only unseen classes compete.
    """
    seen, unseen = draw_classes(source, signatures, seen_mask, counts, seed)
    return training_set(real, seen, unseen, seen_mask, classify)
