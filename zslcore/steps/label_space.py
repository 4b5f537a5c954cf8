"""What the classifier of one label space learns from, in memory: drawn features where there are no real ones."""

import numpy as np
from numpy.typing import NDArray

from zslcore.settings import Classify, Generate
from zslcore.steps.classify import Labelled, training_set
from zslcore.steps.generate import Source, generate

DEFAULT_PER_UNSEEN = 200
"""Where neither the settings nor `select` say how many features to draw for an unseen class."""


def label_space(
    source: Source,
    real: Labelled | None,
    signatures: NDArray[np.float32],
    seen_mask: NDArray[np.bool_],
    counts: Generate,
    classify: Classify,
    seed: int,
) -> Labelled:
    """Features (n, m) and labels (n,), row numbers of `signatures` (classes, a).

    real: features (n, m) of seen classes as the classifier sees them, or None where only unseen classes compete.
    """
    unseen = generate(
        source, signatures[~seen_mask], counts.per_unseen or DEFAULT_PER_UNSEEN, seed, "unseen", counts.noise
    )
    seen = generate(source, signatures[seen_mask], counts.per_seen, seed, "seen", counts.noise)
    return training_set(real, seen, unseen, seen_mask, classify)
