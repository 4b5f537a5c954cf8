"""Scores of strangers on cases whose every figure is known, and ranks by counting pairs."""

from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zslcore.errors import ZSLError
from zslcore.evaluation import strangers
from zslcore.evaluation.strangers import STRANGERS, Known

KNOWN = Known(
    np.log([[0.5, 0.25, 0.25], [0.9, 0.05, 0.05]]),
    1.0,
    {
        "normaliser": np.array([2.0, -1.0]),
        "synthetic": np.array([[3.0, 1.0, 2.0], [5.0, 4.0, 6.0]]),
        "real": np.array([[3.0, 9.0, 2.0], [5.0, 4.0, 6.0]]),
    },
)


def test_each_score_by_hand() -> None:
    expected = {
        "probability": [log(0.5), log(0.9)],
        "energy": [2.0, -1.0],
        "synthetic": [-1, -4],
        "real": [-2, -4],
    }
    assert list(expected) == list(STRANGERS) == strangers.usable(KNOWN)
    for name, values in expected.items():
        assert STRANGERS[name].compute(KNOWN) == pytest.approx(values), name


def test_a_class_taken_out_of_the_label_space_counts_in_none() -> None:
    left = KNOWN.among(np.array([False, True, True]))
    assert STRANGERS["probability"].compute(left) == pytest.approx([log(0.5), log(0.5)])
    assert np.exp(STRANGERS["energy"].compute(left)) == pytest.approx([0.5 * exp(2), 0.1 * exp(-1)])
    assert STRANGERS["real"].compute(left).tolist() == [-2, -4]
    assert STRANGERS["synthetic"].compute(KNOWN.among(np.array([True, False, True]))).tolist() == [-2, -5]


def test_energy_of_raw_scores_needs_no_normaliser_and_distances_need_their_evidence() -> None:
    plain = Known(np.zeros((2, 4)))
    assert strangers.usable(plain) == ["probability", "energy"]
    assert STRANGERS["energy"].compute(plain) == pytest.approx([log(4)] * 2)
    colder = Known(KNOWN.scores, 0.5, KNOWN.evidence)
    assert STRANGERS["probability"].compute(colder)[0] == pytest.approx(log(0.25 / (0.25 + 2 * 0.0625)))
    assert STRANGERS["energy"].compute(colder)[0] == pytest.approx(0.5 * log(0.25 + 2 * 0.0625) + 2)
    with pytest.raises(ZSLError, match="knows nothing of 'real'"):
        STRANGERS["real"].compute(plain)


@given(st.integers(0, 10_000))
def test_auroc_counts_pairs_and_fpr_counts_strangers(seed: int) -> None:
    random = np.random.default_rng(seed)
    known, others = random.integers(0, 6, 30).astype(float), random.integers(-2, 5, 20).astype(float)
    pairs = [(k > s) + 0.5 * (k == s) for k in known for s in others]
    assert strangers.auroc(known, others) == pytest.approx(np.mean(pairs))
    cut = strangers.false_positives(known, others)
    passing = [t for t in np.unique(known) if (known >= t).mean() >= 0.95]
    assert cut == pytest.approx((others >= max(passing)).mean())


def test_a_threshold_keeps_the_rate_it_promises() -> None:
    random = np.random.default_rng(0)
    remembered = strangers.quantiles(random.gamma(2.0, size=20_000))
    assert len(remembered) == 201
    assert (np.diff(remembered) >= 0).all()
    fresh = random.gamma(2.0, size=20_000)
    for rate in (0.01, 0.05, 0.1234, 0.5):
        below = fresh < strangers.threshold(remembered, rate)
        assert below.mean() == pytest.approx(rate, abs=0.01)
        assert np.array_equal(below, strangers.fit_share(fresh, remembered) < rate)
    assert strangers.fit_share(np.array([-1.0, 1e9]), remembered).tolist() == [0, 1]


def test_half_of_the_unseen_classes_are_withheld_in_turn_and_no_seen_one() -> None:
    seen = np.array([True] * 3 + [False] * 5)
    draws = np.array(list(strangers.withheld(seen, 40, seed=1)))
    assert draws.shape == (40, 8)
    assert draws[:, :3].all()
    assert (draws[:, 3:].sum(axis=1) == 2).all(), "of five three are strangers"
    assert draws[:, 3:].any(axis=0).all()
    assert not draws[:, 3:].all(axis=0).any()
    assert np.array_equal(draws, list(strangers.withheld(seen, 40, seed=1)))
