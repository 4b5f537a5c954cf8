"""Confidence intervals of a mean: over seeds, over episodes, and of paired differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from zslcore.errors import ZSLError


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval; low and high are NaN for a single value."""

    mean: float
    low: float
    high: float
    count: int

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside; False for a single value."""
        return self.low > 0 or self.high < 0


def mean_interval(values: Sequence[float] | NDArray[np.floating], confidence: float = 0.95) -> Interval:
    """Student's t interval of the mean of independent values (n,). Raises ZSLError for no values."""
    sample = np.asarray(values, dtype=float)
    if not len(sample):
        raise ZSLError("no values to take a mean of; run the stage with at least one seed")
    mean = float(sample.mean())
    if len(sample) == 1:
        return Interval(mean, float("nan"), float("nan"), 1)
    t = stdtrit(len(sample) - 1, 0.5 + confidence / 2)  # not scipy.stats: a second of every stage's start
    half = float(t * sample.std(ddof=1) / np.sqrt(len(sample)))
    return Interval(mean, mean - half, mean + half, len(sample))


def paired_difference(first: Mapping[str, float], second: Mapping[str, float], confidence: float = 0.95) -> Interval:
    """Interval of the mean of first − second over the seeds that both have: what a seed does to both cancels out.

    Raises ZSLError when they share no seed.
    """
    shared = [seed for seed in first if seed in second]
    if not shared:
        raise ZSLError(f"no seed in common (seeds {', '.join(first)} and {', '.join(second)}); run both again")
    return mean_interval([first[seed] - second[seed] for seed in shared], confidence)
