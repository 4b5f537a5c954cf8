import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zslcore.evaluation import metrics
from zslcore.evaluation.protocol import evaluate


def test_per_class_mean_is_not_the_overall_accuracy() -> None:
    labels = np.array([0, 0, 0, 0, 1])
    predictions = np.array([0, 0, 0, 0, 0])
    assert metrics.per_class_top1(labels, predictions) == 0.5


def test_accuracy_by_class_is_nan_without_images() -> None:
    got = metrics.accuracy_by_class(np.array([1, 1]), np.array([1, 0]), np.array([0, 1]))
    assert np.isnan(got[0])
    assert got[1] == 0.5


@pytest.mark.parametrize(("s", "u", "h"), [(0.5, 0.5, 0.5), (0.0, 0.9, 0.0), (0.0, 0.0, 0.0), (0.6, 0.3, 0.4)])
def test_harmonic_mean(s: float, u: float, h: float) -> None:
    assert metrics.harmonic_mean(s, u) == pytest.approx(h)


def brute_force(scores_seen, labels_seen, scores_unseen, labels_unseen, seen_mask, factor):
    shifted = [scores - factor * seen_mask for scores in (scores_seen, scores_unseen)]
    seen, unseen = (scores.argmax(axis=1) for scores in shifted)
    return metrics.per_class_top1(labels_unseen, unseen), metrics.per_class_top1(labels_seen, seen)


@given(st.integers(0, 10_000), st.floats(-3, 3))
def test_curve_equals_brute_force_at_any_factor(seed: int, factor: float) -> None:
    random = np.random.default_rng(seed)
    seen_mask = np.array([True, True, True, False, False])
    labels_seen, labels_unseen = random.integers(0, 3, 9), random.integers(3, 5, 7)
    arguments = (
        random.normal(size=(9, 5)),
        labels_seen,
        random.normal(size=(7, 5)),
        labels_unseen,
        seen_mask,
    )
    curve = metrics.seen_unseen_curve(*arguments)
    assert curve.factors[0] == -np.inf
    assert (np.diff(curve.factors) > 0).all()
    unseen, seen, harmonic = curve.at(factor)
    assert (unseen, seen) == pytest.approx(brute_force(*arguments, factor))
    assert harmonic == pytest.approx(metrics.harmonic_mean(unseen, seen))
    assert curve.harmonic.max() >= harmonic - 1e-12
    assert curve.at(curve.best_factor)[2] == pytest.approx(curve.harmonic.max())
    assert (np.diff(curve.seen) <= 1e-12).all()
    assert (np.diff(curve.unseen) >= -1e-12).all()


def test_a_step_begins_at_its_factor() -> None:
    curve = metrics.SeenUnseenCurve(np.array([-np.inf, 0.0, 2.0]), np.array([1.0, 0.6, 0.0]), np.array([0.0, 0.4, 1.0]))
    assert [curve.at(factor) for factor in (-1e-9, 0.0, 1.9, 2.0, 99.0)] == [
        (0.0, 1.0, 0.0), (0.4, 0.6, pytest.approx(0.48)), (0.4, 0.6, pytest.approx(0.48)), (1.0, 0.0, 0.0),
        (1.0, 0.0, 0.0),
    ]  # fmt: skip
    assert curve.best_factor == 1.0, "the middle of the best step"
    assert curve.area == pytest.approx(0.4 * (1.0 + 0.6) / 2 + 0.6 * (0.6 + 0.0) / 2)


def test_of_several_best_steps_the_first() -> None:
    factors = np.array([-np.inf, 0.0, 2.0, 5.0, 9.0])
    curve = metrics.SeenUnseenCurve(factors, np.array([1.0, 0.5, 0.5, 0.5, 0]), np.array([0.0, 0.5, 0.5, 0.5, 1.0]))
    assert curve.best_factor == 1.0


def test_area_of_a_perfect_and_a_useless_classifier() -> None:
    eye = 10 * np.eye(2)
    perfect = metrics.seen_unseen_curve(
        eye[:1].repeat(3, 0), np.zeros(3, int), eye[1:].repeat(3, 0), np.ones(3, int), np.array([True, False])
    )
    assert perfect.area == pytest.approx(1.0)
    same = metrics.seen_unseen_curve(
        eye[:1].repeat(3, 0), np.zeros(3, int), eye[:1].repeat(3, 0), np.ones(3, int), np.array([True, False])
    )
    assert same.area == pytest.approx(0.5)


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.5, -1.0]))
def test_ranks_are_places_in_the_sorted_scores(seed: int, factor: float) -> None:
    """Whole numbers as scores, so that there are many ties; more images than are ranked at once."""
    random = np.random.default_rng(seed)
    count, seen = metrics.ROWS + 5, 4
    scores = random.integers(0, 4, (count, 9)).astype(np.float32)
    labels = random.integers(0, 9, count)
    expected = []
    for row in range(0, count, 97):
        keys = [(-(scores[row, k] - factor * (k < seen)), k < seen, k) for k in range(9)]
        expected.append(sorted(range(9), key=keys.__getitem__).index(labels[row]))
    np.testing.assert_array_equal(metrics.ranks(scores, labels, seen, factor)[::97], expected)


@pytest.fixture
def scored() -> metrics.Scores:
    """24 unseen classes, so that every hit@k says something; a class of one image beside one of many."""
    random = np.random.default_rng(0)
    labels = 3 + np.concatenate([np.repeat(0, 30), np.arange(24)])
    joint = random.normal(size=(len(labels), 27)).astype(np.float32)
    joint[np.arange(len(labels)), labels] += 1.5
    return metrics.Scores(
        zsl=joint[:, 3:],
        joint_seen=random.normal(size=(6, 27)).astype(np.float32),
        joint_unseen=joint,
        seen_labels=np.repeat(np.arange(3), 2),
        unseen_labels=labels,
        seen_count=3,
    )


def test_hit_at_k_is_the_share_of_images_whose_class_is_among_the_k_best(scored: metrics.Scores) -> None:
    found = evaluate(scored, 0.7)
    shifted = scored.joint_unseen - 0.7 * scored.seen_mask
    for k in metrics.HITS:
        best = np.argsort(-scored.zsl, axis=1)[:, :k] + 3
        assert found["zsl"][f"hit@{k}"] == pytest.approx(100 * (best == scored.unseen_labels[:, None]).any(1).mean())
        best = np.argsort(-shifted, axis=1)[:, :k]
        assert found["gzsl"][f"hit@{k}"] == pytest.approx(100 * (best == scored.unseen_labels[:, None]).any(1).mean())
    overall = 100 * (scored.zsl.argmax(axis=1) + 3 == scored.unseen_labels).mean()
    assert found["zsl"]["hit@1"] == pytest.approx(overall)
    assert found["zsl"]["T1"] != pytest.approx(overall), "T1 is a mean over classes"


def test_hit_at_k_is_left_out_where_it_is_bound_to_be_all(scored: metrics.Scores) -> None:
    few = metrics.Scores(
        zsl=scored.zsl[:, :5],
        joint_seen=scored.joint_seen[:, :8],
        joint_unseen=scored.joint_unseen[:, :8],
        seen_labels=scored.seen_labels,
        unseen_labels=np.minimum(scored.unseen_labels, 7),
        seen_count=3,
    )
    for group in ("zsl", "gzsl"):
        assert [name for name in evaluate(few, 0.0)[group] if name.startswith("hit")] == ["hit@1", "hit@2"]


def test_of_a_tie_unseen_classes_stand_first_then_those_of_the_lower_column() -> None:
    places = metrics.ranks(np.zeros((50, 50)), np.arange(50), seen_count=20)
    assert places.tolist() == [*range(30, 50), *range(30)]


def test_accuracies_stay_within_0_and_1_however_they_round() -> None:
    for classes in range(1, 40):
        labels = np.repeat(np.arange(classes), 3)
        scores = np.hstack([np.eye(classes), np.eye(classes)])[labels] + np.linspace(0, 1e-3, 2 * classes)
        mask = np.arange(2 * classes) < classes
        curve = metrics.seen_unseen_curve(scores, labels, scores, labels + classes, mask)
        assert (curve.seen.min(), curve.unseen.max()) == (pytest.approx(0), pytest.approx(1))
        assert curve.seen.min() >= 0
        assert curve.unseen.max() <= 1


def test_titles_are_short_and_say_what_is_diagnostic_and_units_what_is_no_percentage() -> None:
    table = metrics.METRICS
    assert [metric.title for metric in table.values() if metric.headline] == ["T1", "U", "S", "H", "AUSUC"]
    for name, metric in table.items():
        diagnostic = name.startswith("diagnostic.")
        assert metric.title.endswith(": diagnostic only") == diagnostic
        assert diagnostic or len(metric.title) < len(metric.meaning)
        assert metric.unit == ("score" if name.endswith("calibration") else "percent")
