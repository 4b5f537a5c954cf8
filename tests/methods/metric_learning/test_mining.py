"""Equations 8-10 against loops, and what the mining draws against the probabilities they state (chi-square)."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from zslcore.errors import ZSLError
from zslcore.methods.metric_learning import mining
from zslcore.methods.metric_learning.mining import (
    Growth,
    Miner,
    Normalise,
    check_correlation,
    draw,
    log_correlation,
    log_masses,
    probabilities,
)

LABELS = np.array([0, 1, 2, 1, 0])
CLASSES = np.array([2, 0, 1, 1, 0, 2, 2, 1])  # of candidates, not in order
OWN = np.array([4, 2, 0, 7, 1])  # each image's true vector, of its class


@pytest.fixture
def scores() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 3, (len(LABELS), len(CLASSES)))


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 1, (len(CLASSES), 3))


def correlation(vectors: np.ndarray) -> np.ndarray:
    """Eq. 9, by loops."""
    out = []
    for y, k in zip(vectors, CLASSES, strict=True):
        same = [other for other, j in zip(vectors, CLASSES, strict=True) if j == k]
        out.append(np.exp(-1 / len(same) * sum(np.sqrt(((y - other) ** 2).sum()) for other in same)))
    return np.array(out)


def expected(scores: np.ndarray, q: np.ndarray | None = None) -> np.ndarray:
    """Eq. 8 (times eq. 9: eq. 10), by loops, normalised for each image."""
    out = np.zeros_like(scores)
    for i in range(len(LABELS)):
        true = 0.7 + i  # S_t(X, Y*), any number: it must not matter once normalised
        for j in range(len(CLASSES)):
            if CLASSES[j] != LABELS[i]:
                out[i, j] = np.exp(-(scores[i, j] - true)) * (1 if q is None else q[j])
    return out / out.sum(axis=1, keepdims=True)


def own() -> torch.Tensor:
    return torch.from_numpy(LABELS[:, None] == CLASSES)


@pytest.mark.parametrize("block", [1, 3, 1000])
def test_correlation(vectors: np.ndarray, block: int) -> None:
    found = log_correlation(torch.from_numpy(vectors), CLASSES, block).exp()
    np.testing.assert_allclose(found, correlation(vectors), rtol=1e-12)


def test_correlation_of_vectors_that_lie_far_from_zero_and_close_together() -> None:
    """By the expanded square, which torch takes from 26 vectors on, nothing of these distances would be left."""
    near = np.random.default_rng(0).uniform(0, 1, (40, 3))
    found = log_correlation(torch.tensor(near + 4096, dtype=torch.float32), np.zeros(40, int))
    distances = np.linalg.norm(near[:, None] - near, axis=2).mean(axis=1)
    np.testing.assert_allclose(found, -distances, rtol=2e-3)
    assert found.dtype == torch.float32


def test_probabilities(scores: np.ndarray, vectors: np.ndarray) -> None:
    found = probabilities(torch.from_numpy(scores), own())
    np.testing.assert_allclose(found, expected(scores), rtol=1e-12)
    q = correlation(vectors)
    found = probabilities(torch.from_numpy(scores), own(), torch.from_numpy(np.log(q)))
    np.testing.assert_allclose(found, expected(scores, q), rtol=1e-12)


def test_probabilities_of_far_candidates_stay_finite() -> None:
    found = probabilities(torch.tensor([[1e4, 1e4 + 1, 5.0]]), torch.tensor([[False, False, True]]))
    np.testing.assert_allclose(found, [[1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1)), 0]], rtol=1e-12)


def test_log_masses(scores: np.ndarray, vectors: np.ndarray) -> None:
    """An image's share of the sum over all pairs: eq. 8 or 10 before it is divided by its own sum."""
    for q in (np.ones(len(CLASSES)), correlation(vectors)):
        log_q = torch.from_numpy(np.log(q))
        found = log_masses(torch.from_numpy(scores), OWN, own(), log_q)
        true = scores[np.arange(len(OWN)), OWN]
        wanted = [
            sum(q[c] * np.exp(true[x] - scores[x, c]) for c in range(len(CLASSES)) if CLASSES[c] != LABELS[x])
            for x in range(len(OWN))
        ]
        np.testing.assert_allclose(np.exp(found), wanted, rtol=1e-12)


def test_draw_never_takes_what_has_no_weight() -> None:
    weights = torch.tensor([[0.0, 0.25, 0.0, 0.75, 0.0]], dtype=torch.float64)
    uniform = torch.tensor([[np.nextafter(0, 1), 0.25, np.nextafter(0.25, 1), 1.0]], dtype=torch.float64)
    assert draw(weights, uniform).tolist() == [[1, 1, 3, 3]]


def mined(scores: np.ndarray, epoch: int = 1, n: int = 4000, **options: object) -> np.ndarray:
    """The pairs of one epoch drawn anew."""
    miner = Miner(LABELS, CLASSES, OWN, n=n, epochs=2, growth="resample", **options)  # type: ignore[arg-type]
    miner.mine(epoch, lambda rows: torch.from_numpy(scores[rows]))
    return miner.pairs.toarray()


@pytest.mark.parametrize("strategy", ["random", "uncertainty", "uncertainty-correlation"])
def test_frequencies(scores: np.ndarray, vectors: np.ndarray, strategy: str) -> None:
    q = correlation(vectors)
    uniform = expected(np.zeros_like(scores))
    counts, probability = {
        "random": lambda: (mined(scores, mined=False), uniform),
        "uncertainty": lambda: (mined(scores), expected(scores)),
        "uncertainty-correlation": lambda: (
            mined(scores, log_q=torch.from_numpy(np.log(q))),
            expected(scores, q),
        ),
    }[strategy]()
    assert (counts.sum(axis=1) == 4000).all()
    assert counts.dtype == np.int32
    assert (counts[own().numpy()] == 0).all()
    for row, p in zip(counts, probability, strict=True):
        assert chisquare(row[p > 0], 4000 * p[p > 0]).pvalue > 1e-4
    if strategy == "uncertainty-correlation":  # the test has the power to tell eq. 10 from eq. 8
        other = expected(scores)
        assert min(chisquare(r[p > 0], 4000 * p[p > 0]).pvalue for r, p in zip(counts, other, strict=True)) < 1e-4


@pytest.mark.parametrize("growth", ["accumulate", "resample"])
@pytest.mark.parametrize("normalise", ["image", "pairs"])
@pytest.mark.parametrize("n", [1, 2, 100])
def test_a_mined_set_starts_with_one_random_pair_an_image(n: int, growth: Growth, normalise: Normalise) -> None:
    counts = np.zeros((5, 8))
    for seed in range(300):
        miner = Miner(LABELS, CLASSES, OWN, n, epochs=20, growth=growth, normalise=normalise, seed=seed)
        miner.mine(0, lambda rows: pytest.fail("nothing is learned yet"))
        assert (miner.pairs.sum(axis=1) == 1).all()
        counts += miner.pairs.toarray()
    for row, p in zip(counts, expected(np.zeros((5, 8))), strict=True):
        assert (row[p == 0] == 0).all()
        assert chisquare(row[p > 0], 300 * p[p > 0]).pvalue > 1e-4


@pytest.mark.parametrize("with_q", [False, True])
def test_normalised_over_all_pairs(scores: np.ndarray, vectors: np.ndarray, with_q: bool) -> None:
    """Eq. 8 (and 10) as probabilities of pairs, by loops: S(X, Y*) stays, so that badly placed images draw more."""
    q = correlation(vectors) if with_q else np.ones(len(CLASSES))
    p = np.zeros_like(scores)
    for i in range(len(LABELS)):
        for j in range(len(CLASSES)):
            if CLASSES[j] != LABELS[i]:
                p[i, j] = np.exp(-(scores[i, j] - scores[i, OWN[i]])) * q[j]
    p /= p.sum()
    found = mined(scores, normalise="pairs", log_q=torch.from_numpy(np.log(q)) if with_q else None)
    assert found.sum() == 5 * 4000
    assert (found[p == 0] == 0).all()
    assert chisquare(found[p > 0], 20000 * p[p > 0]).pvalue > 1e-4
    shares = expected(scores, q)[p > 0] / 5  # the test has the power to tell the two readings apart
    assert chisquare(found[p > 0], 20000 * shares).pvalue < 1e-4


def test_all_pairs_of_a_set_that_grows(scores: np.ndarray) -> None:
    """Over all pairs, too, D₋ grows evenly to n a positive, and one image may have them all."""
    scores = scores.copy()
    scores[3, OWN[3]] = 1e4
    miner = Miner(LABELS, CLASSES, OWN, n=7, epochs=4, normalise="pairs")
    sizes = []
    for epoch in range(4):
        miner.mine(epoch, lambda rows: torch.from_numpy(scores[rows]))
        sizes.append(miner.size)
    assert sizes == [5, 15, 25, 35]
    assert miner.pairs.sum(axis=1).ravel().tolist()[0] == [1, 1, 1, 31, 1]


def test_all_pairs_are_shared_out_even_where_few_images_take_their_turn(scores: np.ndarray) -> None:
    """One pair an epoch is added: whose turn it is does not matter, the worst placed image has it."""
    scores = scores.copy()
    scores[3, OWN[3]] = 1e4
    miner = Miner(LABELS, CLASSES, OWN, n=2, epochs=6, normalise="pairs")
    for epoch in range(6):
        miner.mine(epoch, lambda rows: torch.from_numpy(scores[rows]))
    assert miner.pairs.sum(axis=1).ravel().tolist()[0] == [1, 1, 1, 6, 1]


def test_all_pairs_of_an_image_are_independent_draws(scores: np.ndarray) -> None:
    """Variance of the counts over seeds is that of a multinomial, not of a sample without replacement."""
    counts = np.array([mined(scores, n=10, seed=seed)[0] for seed in range(400)])
    p = expected(scores)[0]
    np.testing.assert_allclose(counts.var(axis=0), 10 * p * (1 - p), rtol=0.3, atol=0.02)


@pytest.mark.parametrize("n", [1, 3, 100])
@pytest.mark.parametrize("epochs", [2, 4, 7])
def test_accumulated_pairs_end_at_n_an_image(scores: np.ndarray, n: int, epochs: int) -> None:
    miner = Miner(LABELS, CLASSES, OWN, n, epochs)
    sizes = []
    before = np.zeros((5, 8))
    for epoch in range(epochs):
        miner.mine(epoch, lambda rows: torch.from_numpy(scores[rows]))
        now = miner.pairs.toarray()
        assert (now >= before).all(), "pairs are only added"
        assert np.ptp(now.sum(axis=1)) <= 1, "images take turns"
        before = now
        sizes.append(miner.size)
    np.testing.assert_allclose(sizes, 5 * (1 + (n - 1) * np.arange(epochs) / (epochs - 1)), atol=1)
    assert (before.sum(axis=1) == n).all()


@pytest.mark.parametrize("mined", [False, True])
def test_resampled_pairs_are_n_an_image_each_epoch(scores: np.ndarray, mined: bool) -> None:
    miner = Miner(LABELS, CLASSES, OWN, 6, 3, mined=mined, growth="resample")
    found = []
    for epoch in range(3):
        miner.mine(epoch, lambda rows: torch.from_numpy(scores[rows]))
        found.append(miner.pairs.toarray())
    assert [set(pairs.sum(axis=1)) for pairs in found] == [{1 if mined else 6}, {6}, {6}]
    assert not np.array_equal(found[1], found[2])


def test_random_has_all_its_pairs_from_the_start(scores: np.ndarray) -> None:
    miner = Miner(LABELS, CLASSES, OWN, 6, 3, mined=False)
    found = []
    for epoch in range(3):
        miner.mine(epoch, lambda rows: pytest.fail("the random strategy needs no scores"))
        found.append(miner.pairs.toarray())
    assert (found[0].sum(axis=1) == 6).all()
    np.testing.assert_array_equal(found[0], found[2])


def test_scores_only_images_that_draw() -> None:
    asked = []
    miner = Miner(LABELS, CLASSES, OWN, n=2, epochs=6)
    for epoch in range(6):
        miner.mine(epoch, lambda rows: asked.append(len(rows)) or torch.zeros(len(rows), len(CLASSES)))
    assert asked == [1, 1, 1, 1, 1]


@pytest.mark.parametrize("options", [{}, {"mined": False}, {"growth": "accumulate", "n": 7}, {"normalise": "pairs"}])
def test_same_bytes_whatever_the_block(scores: np.ndarray, options: dict[str, object]) -> None:
    def run(block: int, seed: int = 5) -> list[bytes]:
        chosen = {"n": 50, "growth": "resample", **options}
        miner = Miner(LABELS, CLASSES, OWN, epochs=3, seed=seed, block=block, **chosen)  # type: ignore[arg-type]
        out = []
        for epoch in range(3):
            miner.mine(epoch, lambda rows: torch.from_numpy(scores[rows]))
            out.append(miner.pairs.toarray().tobytes())
        return out

    assert run(1) == run(17) == run(2**22)
    assert run(1) != run(1, seed=6)


def test_memory_is_bounded_by_the_block(scores: np.ndarray) -> None:
    asked = []
    miner = Miner(LABELS, CLASSES, OWN, n=4, epochs=2, growth="resample", block=2 * len(CLASSES))
    miner.mine(1, lambda rows: asked.append(len(rows)) or torch.from_numpy(scores[rows]))
    assert max(asked) == 2


def test_refuses() -> None:
    with pytest.raises(ZSLError, match="at least one negative"):
        Miner(LABELS, CLASSES, OWN, n=0, epochs=1)
    with pytest.raises(ZSLError, match="one seen class"):
        Miner(np.zeros(3, dtype=int), np.zeros(2, dtype=int), np.zeros(3, dtype=int), n=1, epochs=1)


def test_refuses_more_pairs_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    Miner(LABELS, CLASSES, OWN, n=10**9, epochs=1)  # counts of 8 candidates, however many draws
    monkeypatch.setattr(mining, "PAIRS_LIMIT", 8 * 3 * len(LABELS))
    Miner(LABELS, CLASSES, OWN, n=3, epochs=1)
    with pytest.raises(ZSLError, match="smaller n"):
        Miner(LABELS, CLASSES, OWN, n=4, epochs=1)


def test_refuses_correlation_of_constant_attributes(vectors: np.ndarray) -> None:
    check_correlation(vectors, CLASSES)
    constant = vectors.copy()
    constant[CLASSES == 1] = 0.5
    with pytest.raises(ZSLError, match=r"1 of 3 seen classes.*number 1.*strategy: uncertainty"):
        check_correlation(constant, CLASSES)
