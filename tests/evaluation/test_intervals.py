import math

import numpy as np
import pytest

from zslcore.errors import ZSLError
from zslcore.evaluation.intervals import mean_interval, paired_difference


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
    assert math.isnan(found.low)
    assert not found.excludes_zero


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
