"""What a gate of so many seeds can notice: the drop it finds in 95 of 100 builds."""

from collections.abc import Sequence
from math import isfinite, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtri, ndtr, stdtrit

POWER = 0.95
POINTS = 200
"""Quantiles that stand for the distribution of an observed variance; squared where there are two of them."""


def detectable_drop(old: ArrayLike, new: ArrayLike, allowed: float, level: float, pairs: bool) -> float:
    """The smallest true drop of a metric's mean that `gate` calls worse in 95 % of builds, in the metric's unit.

    old, new: the value of each seed; allowed, level, pairs: the tolerance, the level of each test and whether it is
    paired, as in `gate.compare`; then position k of both is the same seed. What is seen of noise is taken for the true
    noise: of pairs the standard deviation of their differences; else, and where no pair differs, so that nothing shows
    how alike two runs of a seed are, the pooled one of each side, and seeds for independent. `allowed` where no seed
    differs from another. NaN where a side has fewer than two seeds, or a seed is not finite: nothing is known of noise.
    """
    sides = [np.asarray(side, dtype=float) for side in (old, new)]
    if min(map(len, sides)) < 2 or not all(np.isfinite(side).all() for side in sides):
        return nan
    within = sum(((side - side.mean()) ** 2).sum() for side in sides)
    std = sqrt(within / (len(sides[0]) + len(sides[1]) - 2))
    if pairs:
        std = (sides[1] - sides[0]).std(ddof=1) / sqrt(2) or std
    if std == 0:
        return allowed
    thresholds = _thresholds(std, len(sides[0]), len(sides[1]), level, pairs)
    needed = np.maximum(thresholds, allowed)
    error = std * sqrt(1 / len(sides[0]) + 1 / len(sides[1]))
    low, high = 0.0, float(needed.max() + 10 * error)
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if ndtr((middle - needed) / error).mean() >= POWER else (middle, high)
    return high


def _thresholds(std: float, n: int, m: int, level: float, pairs: bool) -> NDArray[np.float64]:
    """Drops of the mean from which on the t test counts them, one for each equally likely observed noise."""
    shares = (np.arange(POINTS) + 0.5) / POINTS
    if pairs:
        error = std * np.sqrt(2 / n * chdtri(n - 1, shares) / (n - 1))
        return np.asarray(error * stdtrit(n - 1, 1 - level))
    first = std**2 * chdtri(n - 1, shares)[:, None] / (n - 1) / n
    second = std**2 * chdtri(m - 1, shares)[None, :] / (m - 1) / m
    freedom = (first + second) ** 2 / (first**2 / (n - 1) + second**2 / (m - 1))
    return np.asarray(np.sqrt(first + second) * stdtrit(freedom, 1 - level))


def sentence(drops: Sequence[float]) -> str:
    """What stands next to a verdict; drops: of each metric that was compared, as `detectable_drop` gives.

    >>> sentence([1.24, 2.71, float("nan")])
    'in 95 % of builds a drop of 1.2 to 2.7 would have been found; of 1 metric the noise is not known (one seed)'
    """
    known = sorted(drop for drop in drops if isfinite(drop))
    blind = len(drops) - len(known)
    parts = []
    if known:
        low, high = f"{known[0]:.1f}", f"{known[-1]:.1f}"
        size = low if low == high else f"{low} to {high}"
        parts.append(f"in 95 % of builds a drop of {size} would have been found")
    if blind:
        parts.append(f"of {blind} metric{'s' * (blind > 1)} the noise is not known (one seed)")
    return "; ".join(parts)
