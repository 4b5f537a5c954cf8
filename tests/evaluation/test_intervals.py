import math
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from zslcore.errors import ZSLError
from zslcore.evaluation import intervals
from zslcore.evaluation.intervals import (
    RESAMPLES,
    Bootstrap,
    Interval,
    beyond_chance,
    bootstrap,
    holm,
    is_mean,
    mean_interval,
    paired_difference,
    resampled,
    resampled_means,
)


def test_hand_computed() -> None:
    # values 1, 2, 3: mean 2, standard error 1/√3, t(0.975, 2) = 4.302653
    found = mean_interval([1.0, 2.0, 3.0])
    assert found.mean == pytest.approx(2.0)
    assert found.high - found.mean == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert found.low == pytest.approx(2 * found.mean - found.high)
    assert found.count == 3
    assert not found.excludes_zero
    assert mean_interval([5.0, 5.1, 5.2]).excludes_zero


def test_covers_the_true_mean_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    found = [mean_interval(random.normal(3.0, 2.0, 5)) for _ in range(2000)]
    assert np.mean([interval.low <= 3.0 <= interval.high for interval in found]) == pytest.approx(0.95, abs=0.02)


def test_one_value_leaves_the_interval_open() -> None:
    found = mean_interval([4.0])
    assert found.mean == 4.0
    assert (found.count, math.isnan(found.low), math.isnan(found.high)) == (1, True, True)
    assert not found.excludes_zero


def test_an_interval_that_ends_at_zero_has_it() -> None:
    assert not Interval(1.0, 0.0, 2.0, 3).excludes_zero
    assert not Interval(-1.0, -2.0, 0.0, 3).excludes_zero
    assert Interval(-1.0, -2.0, -0.1, 3).excludes_zero


def test_pairing_removes_what_seeds_share() -> None:
    seeds = {str(k): 10.0 * k for k in range(4)}
    found = paired_difference({k: v + 1 for k, v in seeds.items()}, seeds)
    assert (found.mean, found.low, found.high) == (1.0, 1.0, 1.0)
    assert paired_difference({"0": 3.0, "9": 100.0}, {"0": 1.0, "2": 50.0}).mean == 2.0


def test_nothing_to_compare() -> None:
    with pytest.raises(ZSLError, match="no seed in common"):
        paired_difference({"0": 1.0}, {"1": 1.0})
    with pytest.raises(ZSLError, match="no values"):
        mean_interval([])


def test_p_value_is_that_of_the_t_test() -> None:
    random = np.random.default_rng(0)
    for count in (2, 3, 5, 600):
        values = random.normal(0.5, 1.0, count)
        assert mean_interval(values).p_value == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=1e-6)
    assert math.isnan(mean_interval([4.0]).p_value)
    assert mean_interval([0.0]).p_value == 1.0
    assert mean_interval([0.0, 0.0]).p_value == 1.0
    assert mean_interval([2.0, 2.0]).p_value == 0.0
    for values in (random.normal(0.8, 1.0, 5) for _ in range(50)):
        found = mean_interval(values)
        assert (found.p_value < 0.05) == found.excludes_zero


def test_holm_is_the_closed_test_by_bonferroni() -> None:
    """A hypothesis is rejected where every set of hypotheses that holds it is, by the least p times their number."""
    random = np.random.default_rng(0)
    for _ in range(200):
        p = random.uniform(size=4) ** 3
        sets = [group for size in range(1, 5) for group in combinations(range(4), size)]
        closed = [max(min(1, len(g) * min(p[i] for i in g)) for g in sets if one in g) for one in range(4)]
        assert holm(p) == pytest.approx(closed)


def test_a_family_of_nothing_claims_something_in_one_of_twenty() -> None:
    """Thirteen rows that share a baseline of which none differs, as in the ablation; without Holm 44 % claim one."""
    random = np.random.default_rng(0)
    plain = corrected = 0
    for _ in range(400):
        base = random.normal(size=5)
        found = [mean_interval(random.normal(size=5) - base).p_value for _ in range(13)]
        plain += min(found) < 0.05
        corrected += min(holm(found)) < 0.05
    assert plain / 400 > 0.25
    assert corrected / 400 < 0.075


def test_what_was_not_tested_counts_for_nothing() -> None:
    assert holm([0.03, math.nan, 0.01]) == pytest.approx([0.03, math.nan, 0.02], nan_ok=True)
    assert len(holm([])) == 0


def test_classes_are_drawn_with_replacement() -> None:
    counts = resampled(10) * 10
    assert counts.shape == (RESAMPLES, 10)
    assert np.all(counts.sum(axis=1).round() == 10)
    assert counts.mean() == pytest.approx(1.0)
    assert counts.var() == pytest.approx(0.9, rel=0.02)  # of a binomial, 10 draws at 1/10
    assert np.array_equal(resampled(10), resampled(10))


def test_many_classes_are_drawn_by_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=7)
    whole = resampled_means(values, 3)
    monkeypatch.setattr(intervals, "AT_ONCE", 7 * 3001)  # the last block is smaller
    assert resampled_means(values, 3) == pytest.approx(whole)


def test_bootstrap_is_the_percentile_interval() -> None:
    values = np.linspace(-1, 9, 1001)
    found = bootstrap(4.0, values, 50)
    assert (found.low, found.high) == pytest.approx((-0.75, 8.75))
    assert found.p_value == pytest.approx(2 * 102 / 1002)
    assert not found.excludes_zero
    assert bootstrap(4.0, values + 2, 50).p_value == pytest.approx(2 / 1002)
    assert bootstrap(-4.0, -values, 50).p_value == pytest.approx(2 * 102 / 1002)
    assert bootstrap(0.0, np.array([-1.0, 0.0, 0.0, 1.0]), 3).p_value == 1.0, "0 is on both sides"
    nothing = bootstrap(math.nan, values, 7)
    assert (nothing.count, math.isnan(nothing.p_value), math.isnan(nothing.low)) == (7, True, True)


def test_of_a_family_those_below_the_level_are_beyond_chance() -> None:
    """The least p is doubled, of two; one at the level is not below it."""
    family = {name: Bootstrap(1.0, 0.5, 1.5, 10, p) for name, p in {"a": 0.02, "b": 0.05}.items()}
    assert beyond_chance(family) == {"a"}
    assert beyond_chance({"a": family["a"]}, level=0.02) == set()
    assert beyond_chance({}) == set()


def test_a_stored_mean_is_that_of_its_values_but_for_rounding() -> None:
    assert is_mean(2.0 + 1e-12, [1.0, 3.0])
    assert is_mean(2e9 + 0.1, [1e9, 3e9]), "in proportion"
    assert is_mean(math.nan, [1.0, math.nan])
    assert is_mean(math.nan, [math.inf, -math.inf])
    assert not is_mean(2.001, [1.0, 3.0])
    assert not is_mean(2e9 + 100, [1e9, 3e9])
    assert not is_mean(5e-9, [0.0, 0.0])
