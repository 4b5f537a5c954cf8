"""Confidence intervals: of a mean over seeds or episodes, of paired differences, over classes; families of them."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from zslcore.errors import ZSLError

Name = TypeVar("Name", bound=Hashable)


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

    @property
    def p_value(self) -> float:
        """How likely so large a mean is where the true one is 0: of a 95 % interval by Student's t; two-sided.

        1 for a mean of 0; NaN for a single value that is not 0.
        """
        if self.mean == 0 or self.high == self.mean:
            return 0.0 if self.mean else 1.0
        if self.count == 1:
            return float("nan")
        error = (self.high - self.mean) / stdtrit(self.count - 1, 0.975)
        return float(2 * stdtr(self.count - 1, -abs(self.mean) / error))


@dataclass(frozen=True)
class Bootstrap(Interval):
    """A figure and its percentile interval over resampled classes; count: of classes, the smaller kind."""

    p: float

    @property
    def p_value(self) -> float:
        """Twice the share of resamples on the other side of 0."""
        return self.p


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


def holm(p_values: Sequence[float]) -> NDArray[np.float64]:
    """Adjusted p values of a family of tests: below 0.05 they give any false claim with a chance of 5 % at most.

    Step-down (Holm, 1979), whatever depends on what. NaN, of a comparison that was not tested, stays and counts for
    nothing.
    """
    found = np.asarray(p_values, dtype=float)
    tested = np.flatnonzero(~np.isnan(found))
    order = tested[np.argsort(found[tested], kind="stable")]
    steps = len(order) - np.arange(len(order))
    found[order] = np.minimum(np.maximum.accumulate(found[order] * steps), 1.0)
    return found


def beyond_chance(family: Mapping[Name, Interval], level: float = 0.05) -> set[Name]:
    """The differences of a family that are not 0, by Holm's correction for all of them."""
    adjusted = holm([interval.p_value for interval in family.values()])
    return {name for name, p in zip(family, adjusted, strict=True) if p < level}


RESAMPLES = 10_000


AT_ONCE = 2**25
"""Shares that are drawn at once."""


@cache
def resampled(classes: int, seed: int = 0) -> NDArray[np.float64]:
    """(RESAMPLES, classes) shares: how often each class is drawn, of as many draws with replacement as classes."""
    return next(_drawn(classes, seed, RESAMPLES))


def _drawn(classes: int, seed: int, at_once: int) -> Iterator[NDArray[np.float64]]:
    """The shares of `resampled`, so many resamples at once."""
    random = np.random.default_rng(seed)
    for start in range(0, RESAMPLES, at_once):
        size = min(at_once, RESAMPLES - start)
        yield random.multinomial(classes, np.full(classes, 1 / classes), size=size) / classes


def resampled_means(values: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    """(classes,) -> (RESAMPLES,): the mean of each resample of the classes; of many classes a block at a time."""
    if RESAMPLES * len(values) <= AT_ONCE:
        return resampled(len(values), seed) @ values
    drawn = _drawn(len(values), seed, max(1, AT_ONCE // len(values)))
    return np.concatenate([shares @ values for shares in drawn])


def bootstrap(value: float, resamples: NDArray[np.float64], classes: int) -> Bootstrap:
    """The 95 % percentile interval of a figure from its values on resampled classes.

    NaN of NaN. With ten classes or fewer it is somewhat too narrow: what it excludes is less certain than 95 %.
    """
    if np.isnan(value):
        return Bootstrap(value, value, value, classes, value)
    low, high = np.percentile(resamples, [2.5, 97.5])
    tail = (1 + min((resamples <= 0).sum(), (resamples >= 0).sum())) / (1 + len(resamples))
    return Bootstrap(value, float(low), float(high), classes, min(1.0, float(2 * tail)))


def is_mean(value: float, values: Iterable[float]) -> bool:
    """Whether a stored mean is that of the values stored with it, but for rounding; NaN is the mean of what has one."""
    with np.errstate(invalid="ignore"):  # infinite values of both signs
        return bool(np.isclose(value, np.mean(list(values)), rtol=1e-9, atol=1e-9, equal_nan=True))
