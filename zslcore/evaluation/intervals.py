"""Confidence intervals of a mean: over seeds, over episodes, and of paired differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from zslcore.errors import ZSLError


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval; low and high are NaN where a single value leaves it open."""

    mean: float
    low: float
    high: float
    count: int

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside; False where the interval is open."""
        return self.low > 0 or self.high < 0


def mean_interval(values: Sequence[float] | NDArray[np.floating], confidence: float = 0.95) -> Interval:
    """Student's t interval of the mean of independent values (n,). Raises ZSLError for no values."""
    found = np.asarray(values, dtype=float)
    if not len(found):
        raise ZSLError("no values to take a mean of; run the stage with at least one seed")
    mean = float(found.mean())
    if len(found) == 1:
        return Interval(mean, float("nan"), float("nan"), 1)
    t = stdtrit(len(found) - 1, 0.5 + confidence / 2)  # not scipy.stats: a second of every stage's start
    half = float(t * found.std(ddof=1) / np.sqrt(len(found)))
    return Interval(mean, mean - half, mean + half, len(found))


def paired_difference(first: Mapping[str, float], second: Mapping[str, float], confidence: float = 0.95) -> Interval:
    """Interval of first − second over the seeds both were run with: what the seeds share cancels out.

    Raises ZSLError when they share no seed.
    """
    shared = [seed for seed in first if seed in second]
    if not shared:
        raise ZSLError(f"no seed in common (seeds {', '.join(first)} and {', '.join(second)}); run both again")
    return mean_interval([first[seed] - second[seed] for seed in shared], confidence)
