"""The drop that a gate finds, against the gate's own decisions on simulated builds."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from zslcore.evaluation.metrics import METRICS
from zslcore.project.gate import GateSettings, counts, p_value
from zslcore.project.params import Params
from zslcore.project.power import detectable_drop, sentence


def seeds_of(std: float, count: int) -> list[float]:
    """Values with exactly this standard deviation."""
    values = np.arange(count) - (count - 1) / 2
    return list(60 + std * values / values.std(ddof=1))


def found(
    drop: float, std: float, sizes: tuple[int, int], allowed: float, level: float, pairs: bool, shared: float = 0.0
) -> float:
    """Share of builds that the gate calls worse. shared: of the variance, by the same seed on both sides."""
    random = np.random.default_rng(0)
    common = math.sqrt(shared) * random.normal(size=(40_000, max(sizes)))
    old, new = (
        60 + std * (common[:, :size] + math.sqrt(1 - shared) * random.normal(size=(40_000, size))) for size in sizes
    )
    new -= drop
    change = new.mean(axis=1) - old.mean(axis=1)
    return float((counts(change, allowed, p_value(old, new, pairs), level) & (change < 0)).mean())


@pytest.mark.parametrize("std", [0.3, 0.7])
@pytest.mark.parametrize(("sizes", "pairs"), [((3, 3), True), ((5, 5), True), ((5, 5), False), ((3, 8), False)])
def test_is_found_in_95_of_100_builds(std: float, sizes: tuple[int, int], pairs: bool) -> None:
    level = 0.01 / 3
    drop = detectable_drop(seeds_of(std, sizes[0]), seeds_of(std, sizes[1]), 0.5, level, pairs)
    assert found(drop, std, sizes, 0.5, level, pairs) == pytest.approx(0.95, abs=0.006)


@pytest.mark.parametrize("shared", [0.0, 0.5, 0.9])
def test_is_found_at_the_noise_of_differences_where_seeds_are_the_same(shared: float) -> None:
    old = np.array(seeds_of(1.15, 5))
    new = old + np.array(seeds_of(1.15 * math.sqrt(2 * (1 - shared)), 5))[[2, 0, 4, 1, 3]]
    drop = detectable_drop(old, new, 0.5, 0.05 / 3, True)
    assert found(drop, 1.15, (5, 5), 0.5, 0.05 / 3, True, shared) == pytest.approx(0.95, abs=0.006)


@pytest.mark.parametrize("shared", [0.0, 0.75, 0.9])
@pytest.mark.parametrize("drop", [0.0, 1.0, 2.0])
def test_pairs_fail_as_often_as_the_noncentral_t_says(shared: float, drop: float) -> None:
    expected = chance(drop, 1.15, shared, 5, 0.05 / 3)
    assert found(drop, 1.15, (5, 5), 0.0, 0.05 / 3, True, shared) == pytest.approx(expected, abs=0.008)


def chance(drop: float, std: float, shared: float, seeds: int, level: float) -> float:
    """Of a paired t test at this level to find a drop: in closed form, with no tolerance."""
    effect = drop / (std * math.sqrt(2 * (1 - shared) / seeds))
    return float(stats.nct.sf(stats.t.isf(level, seeds - 1), seeds - 1, effect))


def test_the_shipped_gate_finds_a_drop_of_two_points() -> None:
    """docs/gate.md: in 95 of 100 builds, at birds' spread of T1, where a seed shares three quarters of its variance."""
    params = Params(Path(__file__).resolve().parents[2])
    settings = GateSettings(**params.top("gate"))
    tested = sum(metric.tolerance is not None for metric in METRICS.values())
    seeds = len(params.raw["seeds"])
    assert chance(2.0, 1.15, 0.75, seeds, settings.alpha / tested) >= 0.95
    assert settings.alpha == GateSettings().alpha, "without params.yaml's section the gate is the same"


def test_tolerance_alone_where_noise_is_small() -> None:
    """A drop is found where its mean is beyond the tolerance: 1.645 standard errors more find it in 95 %."""
    drop = detectable_drop(seeds_of(0.01, 5), seeds_of(0.01, 5), 0.5, 0.003, False)
    assert drop == pytest.approx(0.5 + 1.645 * 0.01 * math.sqrt(2 / 5), rel=1e-3)
    assert detectable_drop([60.0, 60.0], [58.0, 58.0], 0.5, 0.003, True) == 0.5


def test_more_seeds_find_less() -> None:
    drops = [detectable_drop(seeds_of(0.7, n), seeds_of(0.7, n), 0.5, 0.01 / 3, False) for n in (2, 3, 5, 8, 10)]
    assert drops == sorted(drops, reverse=True)


def test_noise_of_one_seed_is_not_known() -> None:
    assert math.isnan(detectable_drop([60.0], [61.0, 62.0], 0.5, 0.003, False))
    assert math.isnan(detectable_drop([60.0, math.nan], [61.0, 62.0], 0.5, 0.003, False))


def test_sentence() -> None:
    assert sentence([2.71, 1.24]) == "in 95 % of builds a drop of 1.2 to 2.7 would have been found"
    assert sentence([1.24]) == "in 95 % of builds a drop of 1.2 would have been found"
    assert sentence([math.nan] * 2) == "of 2 metrics the noise is not known (one seed)"
    assert sentence([]) == ""
