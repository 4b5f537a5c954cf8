"""None of these: scores that say how well the best class fits an image, and thresholds for a stated false-alarm rate.

A stranger is an image of a class that is not among those that compete. A score is larger the better some class fits;
an image whose score is below the threshold is called none of these.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from zslcore.errors import ZSLError
from zslcore.io.rows import by_blocks


@dataclass(frozen=True)
class Known:
    """What a model knows of images.

    scores: (n, classes) joint log-scores, the calibration factor taken off. temperature: of the probabilities.
    evidence: what else a scorer knows (`Evident`), by name; each has a row an image, and a column a class or none.
    """

    scores: NDArray[np.floating[Any]]
    temperature: float = 1.0
    evidence: Mapping[str, NDArray[np.floating[Any]]] = field(default_factory=dict)

    def among(self, classes: NDArray[np.bool_]) -> "Known":
        """The same with only the classes of a mask (classes,) bool competing."""
        return Known(
            self.scores[:, classes],
            self.temperature,
            {name: values if values.ndim == 1 else values[:, classes] for name, values in self.evidence.items()},
        )

    def of(self, name: str) -> NDArray[np.floating[Any]]:
        """Evidence by name. Raises ZSLError where the scorer has none of it."""
        if name not in self.evidence:
            raise ZSLError(f"the method knows nothing of '{name}', which this score of strangers needs; use another")
        return self.evidence[name]


@dataclass(frozen=True)
class Fit:
    """A score of how well the best class fits. compute: larger, (n,), the better. needs: the evidence it takes."""

    meaning: str
    compute: Callable[[Known], NDArray[np.floating[Any]]]
    needs: str | None = None


def _probability(known: Known) -> NDArray[np.floating[Any]]:
    logits = known.scores / known.temperature
    return np.asarray(logits.max(axis=1) - logsumexp(logits, axis=1))


def _energy(known: Known) -> NDArray[np.floating[Any]]:
    total = known.temperature * logsumexp(known.scores / known.temperature, axis=1)
    return np.asarray(total + known.evidence.get("normaliser", 0.0))


STRANGERS: dict[str, Fit] = {
    "probability": Fit("logarithm of the largest probability (Hendrycks and Gimpel, ICLR 2017)", _probability),
    "energy": Fit("logarithm of the sum of exp(logit) over the classes (Liu et al., NeurIPS 2020)", _energy),
    "synthetic": Fit(
        "negative distance to the nearest mean of a class's synthetic features",
        lambda known: -known.of("synthetic").min(axis=1),
        needs="synthetic",
    ),
    "real": Fit(
        "the same with means of real features for seen classes",
        lambda known: -known.of("real").min(axis=1),
        needs="real",
    ),
}
"""Every score by name; one entry is all that a new one takes. Which one serves is chosen on validation classes."""


def usable(known: Known) -> list[str]:
    """Names of the scores that a model has the evidence for."""
    return [name for name, fit in STRANGERS.items() if fit.needs is None or fit.needs in known.evidence]


QUANTILES = np.linspace(0, 1, 201)
"""Of which the scores of known images are remembered."""


def quantiles(scores: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """(201,) ascending: from the smallest to the largest of scores (n,), in steps of half a percent of the images."""
    return np.asarray(np.quantile(scores.astype(np.float64), QUANTILES))


def fit_share(scores: NDArray[np.floating[Any]], remembered: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) in [0, 1]: the share of known images whose score is below each of these; remembered: their `quantiles`."""
    return np.asarray(np.interp(scores, remembered, QUANTILES))


def threshold(remembered: NDArray[np.float64], false_alarms: float = 0.05) -> float:
    """The score that this share, in [0, 1], of known images does not reach."""
    return float(np.interp(false_alarms, QUANTILES, remembered))


def auroc(known: NDArray[np.floating[Any]], strangers: NDArray[np.floating[Any]]) -> float:
    """The chance, in [0, 1], that a known image scores higher than a stranger; a tie counts half."""
    ascending = np.sort(known)
    below = np.searchsorted(ascending, strangers, "left") + np.searchsorted(ascending, strangers, "right")
    return 1 - float(below.mean()) / (2 * len(known))


def false_positives(
    known: NDArray[np.floating[Any]], strangers: NDArray[np.floating[Any]], recall: float = 0.95
) -> float:
    """Share, in [0, 1], of strangers that pass where this share of known images does (FPR at 95 % TPR)."""
    return float((strangers >= np.quantile(known, 1 - recall, method="lower")).mean())


def withheld(seen_mask: NDArray[np.bool_], draws: int = 10, seed: int = 0) -> Iterator[NDArray[np.bool_]]:
    """Label spaces (classes,) bool that lack half of the unseen classes, each time another half; those play strangers.

    seen_mask: (classes,) bool, with at least one class that is not seen.
    """
    random = np.random.default_rng(seed)
    unseen = np.flatnonzero(~seen_mask)
    for _ in range(draws):
        competing = np.ones(len(seen_mask), dtype=bool)
        competing[random.permutation(unseen)[: (len(unseen) + 1) // 2]] = False
        yield competing


class Sides(NamedTuple):
    """A score of images whose class competes, and of strangers."""

    known: NDArray[np.floating[Any]]
    strangers: NDArray[np.floating[Any]]


def sides(name: str, known: Known, labels: NDArray[np.int64], competing: NDArray[np.bool_]) -> Sides:
    """A score of `STRANGERS` where only some classes compete: a mask (classes,) bool. labels: (n,) of all images."""
    names, inside = tuple(known.evidence), competing[labels]

    def compute(scores: NDArray[np.floating[Any]], *evidence: NDArray[np.floating[Any]]) -> NDArray[Any]:
        block = Known(scores, known.temperature, dict(zip(names, evidence, strict=True)))
        return np.asarray(STRANGERS[name].compute(block.among(competing)))

    scores = by_blocks(compute, known.scores, *known.evidence.values())
    return Sides(scores[inside], scores[~inside])
