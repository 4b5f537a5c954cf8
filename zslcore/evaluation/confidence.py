"""How sure: the temperature that makes scores probabilities, and how far these are from what comes true.

A temperature T divides log-scores before the softmax; it changes no ranking (Guo et al., ICML 2017).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp

from zslcore.io.rows import Rows, blocks, by_blocks, map_rows

Scored = tuple[NDArray[np.floating[Any]], NDArray[np.int64]]
"""Log-scores (n, classes), the calibration factor taken off, and labels (n,), positions among these classes."""
BINS = 15
AT_ONCE = 2**21
"""Scores that a temperature is fitted on, of those of a task that are not in memory."""


@dataclass(frozen=True)
class Confidence:
    """What was chosen on validation classes: the section `confidence` of selected.json.

    joint, unseen: temperatures of the joint scores, and of those among unseen classes. stranger: the score of
    `STRANGERS` that says whether any class fits. quantiles: (201,) ascending, of that score on images of known classes.
    """

    joint: float
    unseen: float
    stranger: str
    quantiles: NDArray[np.float64]

    @classmethod
    def read(cls, section: Mapping[str, Any]) -> Self:
        """From what `section` gives."""
        temperature = section["temperature"]
        return cls(temperature["joint"], temperature["unseen"], section["stranger"], np.array(section["quantiles"]))

    def section(self) -> dict[str, Any]:
        """For JSON; to six digits."""

        def rounded(value: float) -> float:
            return float(f"{value:.6g}")

        return {
            "temperature": {"joint": rounded(self.joint), "unseen": rounded(self.unseen)},
            "stranger": self.stranger,
            "quantiles": [rounded(value) for value in self.quantiles],
        }


def fit_temperature(tasks: Iterable[Scored]) -> float:
    """The temperature with the smallest negative log-likelihood of the labels of all images of all tasks; above 0.

    One more image counts, whose label says nothing (each class alike, scored as the mean image is): it keeps the
    temperature above 0 where every image is right, as Platt's targets do (1999). With two classes whose scores differ
    by m, of n images w wrong, T = m / log((n − w + ½) / (w + ½)).
    """
    leads, images = [], 0
    for scores, labels in tasks:
        if isinstance(scores, Rows):  # a temperature is one number: so many images, evenly spaced, say what it is
            spaced = np.linspace(0, len(scores) - 1, min(len(scores), AT_ONCE // scores.width)).astype(np.int64)
            scores, labels = np.asarray(scores[spaced]), labels[spaced]
        lead = scores.astype(np.float64)
        lead -= lead[np.arange(len(labels)), labels][:, None]
        leads.append(lead)
        images += len(labels)
    below = sum(float(lead.mean(axis=1).sum()) for lead in leads) / images  # of that image: its classes' mean lead

    def loss(log_temperature: float) -> float:  # convex in 1 / T, so it has one minimum
        sharpness = np.exp(-log_temperature)
        likelihoods = [float(logsumexp(sharpness * lead, axis=1).sum()) for lead in leads]
        return sum(likelihoods) * (1 + 1 / images) - sharpness * below

    spread = float(np.mean([lead.std() for lead in leads]))
    if not spread:  # a single class, or scores that say nothing
        return 1.0
    scale = np.log(spread)
    found = minimize_scalar(loss, bounds=(scale - 9, scale + 9), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def probabilities(scores: NDArray[np.floating[Any]], temperature: float = 1.0) -> NDArray[np.float64]:
    """Log-scores (n, classes) -> rows that sum to 1."""
    if isinstance(scores, Rows):
        return map_rows(scores, partial(probabilities, temperature=temperature))
    return np.exp(log_softmax(scores.astype(np.float64) / temperature, axis=1))


class Reliability(NamedTuple):
    """The points of a reliability diagram: (k,) each, a point a bin that holds images.

    confidence, accuracy: means in [0, 1] over the bin's images. images: their number.
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    images: NDArray[np.int64]


def reliability(probabilities: NDArray[np.float64], labels: NDArray[np.int64], bins: int = BINS) -> Reliability:
    """How often the likeliest class is right, by its probability in bins of equal width; probabilities (n, classes)."""
    confidence, right = by_blocks(
        lambda rows, own: (rows.max(axis=1), rows.argmax(axis=1) == own), probabilities, labels
    )
    return _binned(confidence, right, bins)


def calibration_error(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], bins: int = BINS, *, classwise: bool = False
) -> float:
    """ECE in [0, 1]: the gap between probability and accuracy, mean over the images by bins (Naeini et al., 2015).

    classwise: of the probability of each class, not of the likeliest alone, mean over classes (Kull et al., 2019).
    """
    if not classwise:
        return _gap(reliability(probabilities, labels, bins))
    classes = probabilities.shape[1]
    images, said, came_true = np.zeros((3, classes * bins))
    for rows, own in blocks(probabilities, labels):
        place = (_bin(rows, bins) + bins * np.arange(classes)).ravel()
        right = np.arange(classes) == own[:, None]
        images += np.bincount(place, minlength=classes * bins)
        said += np.bincount(place, rows.ravel(), classes * bins)
        came_true += np.bincount(place, right.ravel(), classes * bins)
    each = zip(*(values.reshape(classes, bins) for values in (images, said, came_true)), strict=True)
    return float(np.mean([_gap(_means(*of_class)) for of_class in each]))


def _binned(confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int) -> Reliability:
    place = _bin(confidence, bins)
    said, came_true = (np.bincount(place, values, bins).astype(np.float64) for values in (confidence, right))
    return _means(np.bincount(place, minlength=bins), said, came_true)


def _bin(confidence: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """Bins (0, 1/bins], … (1 − 1/bins, 1]."""
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


def _means(images: NDArray[Any], said: NDArray[np.float64], came_true: NDArray[np.float64]) -> Reliability:
    """From sums over each bin's images."""
    held = images > 0
    return Reliability(said[held] / images[held], came_true[held] / images[held], images[held].astype(np.int64))


def _gap(found: Reliability) -> float:
    return float(np.average(np.abs(found.accuracy - found.confidence), weights=found.images))
