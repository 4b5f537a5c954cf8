"""The protocol against brute force: an image, a class, a factor at a time."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from zslcore.datasets.dataset import Dataset, Seen
from zslcore.errors import ZSLError
from zslcore.evaluation import protocol
from zslcore.methods.base import TrainData
from zslcore.methods.eszsl import ESZSL


def seen_of(data: Dataset) -> Seen:
    assert data.features is not None
    rows = data.trainval
    return Seen("toy", data.features[rows], data.labels[rows], data.signatures, data.seen, data.unseen)


def test_benchmark_task_keeps_features_labels_and_signatures_together(toy: Dataset) -> None:
    task = protocol.benchmark_task(toy, toy.features)
    np.testing.assert_array_equal(task.train.signatures[task.train.labels], toy.signatures[toy.labels[toy.trainval]])
    np.testing.assert_array_equal(task.signatures[task.unseen_labels], toy.signatures[toy.labels[toy.test_unseen]])
    np.testing.assert_array_equal(task.signatures[task.seen_labels], toy.signatures[toy.labels[toy.test_seen]])
    assert task.seen_mask.sum() == len(toy.seen) == task.seen_count
    assert (task.unseen_labels >= task.seen_count).all()
    assert (task.seen_labels < task.seen_count).all()


def test_validation_task_uses_no_held_out_class_for_training_and_no_real_unseen_class(toy: Dataset) -> None:
    held_out = toy.seen[:4]
    task = protocol.validation_task(seen_of(toy), held_out, holdout=0.25, seed=0)
    assert len(task.signatures) == len(toy.seen)
    assert task.seen_count == len(toy.seen) - 4
    np.testing.assert_array_equal(task.signatures[task.seen_count :], toy.signatures[held_out])
    trained, tested = ({row.tobytes() for row in rows} for rows in (task.train.features, task.seen_features))
    assert not trained & tested
    assert len(task.unseen_labels) == np.isin(toy.labels[toy.trainval], held_out).sum()


def test_validation_splits_published_first_else_by_seed(toy: Dataset) -> None:
    seen = seen_of(toy)
    derived = protocol.validation_splits(seen, 3, seed=1)
    assert [len(split) for split in derived] == [4, 4, 4]
    assert all(np.isin(split, seen.seen).all() for split in derived)
    published = Seen(**{**seen.__dict__, "validation_splits": (toy.seen[:2], toy.seen[2:4])})
    assert [split.tolist() for split in protocol.validation_splits(published)] == [[0, 1], [2, 3]]
    with pytest.raises(ZSLError, match="at least 4"):
        protocol.validation_splits(Seen(**{**seen.__dict__, "seen": toy.seen[:3]}))


def random_scores(seed: int, seen: int = 4, unseen: int = 3) -> protocol.Scores:
    """Small whole numbers, so that scores tie; classes of 1 to 7 images."""
    random = np.random.default_rng(seed)
    seen_labels = np.repeat(np.arange(seen), random.integers(1, 8, seen))
    unseen_labels = np.repeat(seen + np.arange(unseen), random.integers(1, 8, unseen))

    def scores(labels: np.ndarray, classes: int, first: int = 0) -> np.ndarray:
        right = 2 * np.eye(first + classes)[labels][:, first:]
        return (right + random.integers(0, 5, (len(labels), classes))).astype("f4")

    return protocol.Scores(
        zsl=scores(unseen_labels, unseen, seen),
        joint_seen=scores(seen_labels, seen + unseen),
        joint_unseen=scores(unseen_labels, seen + unseen),
        seen_labels=seen_labels,
        unseen_labels=unseen_labels,
        seen_count=seen,
    )


def mean_of_classes(labels: np.ndarray, right: list[bool]) -> float:
    shares = [np.mean([r for r, label in zip(right, labels, strict=True) if label == k]) for k in set(labels)]
    return 100 * float(np.mean(shares))


def at(scores: protocol.Scores, factor: float) -> tuple[float, float, float]:
    """(U, S, H) in percent, an image at a time: seen while the best seen class leads by more than the factor."""
    found = []
    for labels, rows in ((scores.unseen_labels, scores.joint_unseen), (scores.seen_labels, scores.joint_seen)):
        right = []
        for label, row in zip(labels, rows, strict=True):
            seen, unseen = list(row[: scores.seen_count]), list(row[scores.seen_count :])
            is_seen = max(seen) - max(unseen) > factor
            called = seen.index(max(seen)) if is_seen else scores.seen_count + unseen.index(max(unseen))
            right.append(called == label)
        found.append(mean_of_classes(labels, right))
    unseen, seen = found
    return unseen, seen, 2 * unseen * seen / (unseen + seen) if unseen + seen else 0.0


def leads(scores: protocol.Scores) -> list[float]:
    """Every factor at which something changes, ascending."""
    rows = [*scores.joint_seen, *scores.joint_unseen]
    return sorted({float(max(row[: scores.seen_count]) - max(row[scores.seen_count :])) for row in rows})


def hits(rows: np.ndarray, labels: np.ndarray, unseen_classes: int) -> dict[str, float]:
    """Flat hit@k; of equal scores unseen classes come first, then the earlier class."""
    places = []
    first = rows.shape[1] - unseen_classes
    for row, label in zip(rows, labels, strict=True):
        order = sorted(range(len(row)), key=lambda k, row=row: (-row[k], k < first, k))
        places.append(order.index(label))
    return {f"hit@{k}": 100 * float(np.mean([p < k for p in places])) for k in (1, 2, 5, 10, 20) if k < unseen_classes}


@pytest.mark.parametrize("seed", range(8))
def test_every_figure_by_brute_force(seed: int) -> None:
    scores = random_scores(seed)
    factors = [leads(scores)[0] - 1, *leads(scores)]
    points = [at(scores, factor) for factor in factors]
    path = [(0.0, points[0][1]), *((u, s) for u, s, _ in points), (points[-1][0], 0.0)]
    area = sum((u2 - u1) * (s1 + s2) / 2 for (u1, s1), (u2, s2) in itertools.pairwise(path)) / 100
    best = max(h for _, _, h in points)
    top1 = mean_of_classes(
        scores.unseen_labels,
        [scores.seen_count + int(row.argmax()) == k for row, k in zip(scores.zsl, scores.unseen_labels, strict=True)],
    )
    oracle_seen, oracle_unseen = at(scores, -100)[1], at(scores, 100)[0]
    unseen_classes = scores.zsl.shape[1]
    for calibration in (-2.0, 0.5, 1.0, 2.5):
        unseen, seen, harmonic = at(scores, calibration)
        found = protocol.evaluate(scores, calibration)
        factor = found["diagnostic"].pop("test_selected_calibration")
        assert at(scores, factor)[2] == pytest.approx(best)
        figures = {
            "zsl": {"T1": top1, **hits(scores.zsl, scores.unseen_labels - scores.seen_count, unseen_classes)},
            "gzsl": {
                "U": unseen, "S": seen, "H": harmonic, "AUSUC": area, "retention": 100 * unseen / top1,
                "calibration": calibration,
                **hits(scores.joint_unseen - calibration * scores.seen_mask, scores.unseen_labels, unseen_classes),
            },
            "plain": dict(zip("USH", at(scores, 0.0), strict=True)),
            "diagnostic": {
                "test_selected_H": best,
                "selection_gap_H": best - harmonic,
                "oracle_domain_U": oracle_unseen,
                "oracle_domain_S": oracle_seen,
                "oracle_domain_H": 2 * oracle_unseen * oracle_seen / (oracle_unseen + oracle_seen),
            },
        }  # fmt: skip
        assert found.keys() == figures.keys()
        for group, values in figures.items():
            assert found[group] == pytest.approx(values, abs=1e-9), group
    assert len({*points[0], *at(scores, 0.0), *at(scores, 1.0), top1, area}) > 6, "no figure stands for another"


def test_a_tie_of_seen_and_unseen_counts_as_unseen() -> None:
    rows = np.array([[1.0, 1.0]], dtype="f4")
    zeros, ones = np.zeros(1, int), np.ones(1, int)
    scores = protocol.Scores(rows[:, 1:], rows, rows, zeros, ones, seen_count=1)
    assert protocol.evaluate(scores, 0.5)["plain"] == {"U": 100.0, "S": 0.0, "H": 0.0}
    assert protocol.evaluate(scores, -0.1)["gzsl"]["S"] == 100.0


@pytest.mark.parametrize(
    ("block", "what"),
    [
        ("zsl", "2 of 3 unseen images among unseen classes"),
        ("joint_seen", "2 of 2 seen images among all classes"),
        ("joint_unseen", "2 of 3 unseen images among all classes"),
    ],
)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_no_figures(block: str, what: str, value: float) -> None:
    parts = {
        "zsl": np.eye(3, 2, dtype="f4"),
        "joint_seen": np.eye(2, 4, dtype="f4"),
        "joint_unseen": np.eye(3, 4, dtype="f4"),
    }
    labels = np.array([0, 1]), np.array([2, 3, 3])
    protocol.Scores(**parts, seen_labels=labels[0], unseen_labels=labels[1], seen_count=2)
    parts[block][:2, 1] = value
    with pytest.raises(ZSLError, match=f"{what} have scores that are not finite"):
        protocol.Scores(**parts, seen_labels=labels[0], unseen_labels=labels[1], seen_count=2)


def test_a_method_that_diverged_is_refused_where_it_is_scored(toy_task: protocol.Task) -> None:
    class Diverged(ESZSL):
        def for_classes(self, signatures, seen_mask, seed=0):
            class Scorer:
                def scores(self, features):
                    return np.full((len(features), len(signatures)), np.nan, np.float32)

            return Scorer()

    count = len(toy_task.unseen_features)
    with pytest.raises(ZSLError, match=f"{count} of {count} unseen images"):
        protocol.score(Diverged(), toy_task)


def test_nothing_is_retained_where_nothing_is_right() -> None:
    right, wrong = np.array([[0, 9, 0]], dtype="f4"), np.array([[0, 0, 9]], dtype="f4")
    scores = protocol.Scores(wrong[:, 1:], right, right, np.zeros(1, int), np.ones(1, int), seen_count=1)
    found = protocol.evaluate(scores, 0.0)
    assert found["zsl"]["T1"] == 0.0
    assert (found["gzsl"]["U"], found["gzsl"]["retention"]) == (100.0, 0.0)


def test_score_lets_unseen_classes_compete_alone_and_then_all() -> None:
    """A method whose scores are dot products with signatures it has not scaled: every block can be written down."""

    class Dot(ESZSL):
        def for_classes(self, signatures, seen_mask, seed=0):
            class Scorer:
                def scores(self, features):
                    return features @ signatures.T + 100 * seen_mask + 1000 * seed

            return Scorer()

    random = np.random.default_rng(0)
    signatures, images = random.normal(size=(5, 4)).astype("f4"), random.normal(size=(7, 4)).astype("f4")
    labels = np.array([0, 1, 2, 3, 4, 3, 4])
    task = protocol.Task(
        TrainData(images[:3], labels[:3], signatures[:3]), signatures, images[:3], labels[:3], images[3:], labels[3:]
    )
    found = protocol.score(Dot(), task, seed=2)
    mask = np.array([1, 1, 1, 0, 0])
    np.testing.assert_allclose(found.zsl, images[3:] @ signatures[3:].T + 2000, rtol=1e-6)
    np.testing.assert_allclose(found.joint_seen, images[:3] @ signatures.T + 100 * mask + 2000, rtol=1e-6)
    np.testing.assert_allclose(found.joint_unseen, images[3:] @ signatures.T + 100 * mask + 2000, rtol=1e-6)
    assert found.seen_count == 3
    np.testing.assert_array_equal(found.seen_labels, labels[:3])
    np.testing.assert_array_equal(found.unseen_labels, labels[3:])


def test_a_transductive_method_gets_the_unlabelled_images_of_unseen_classes_alone(toy_task: protocol.Task) -> None:
    class Spy(ESZSL):
        def fit_unlabelled(self, features: np.ndarray) -> None:
            assert self.seen_classes, "once fitted"
            self.looked_at = features

    np.testing.assert_array_equal(protocol.fit(Spy(), toy_task).looked_at, toy_task.unseen_features)  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", range(5))
def test_calibration_is_the_middle_of_the_best_step_of_the_mean_over_tasks(seed: int) -> None:
    tasks = [random_scores(10 * seed + k) for k in range(3)]
    curves = [scores.curve() for scores in tasks]
    chosen = protocol.choose_calibration(curves)
    factors = sorted({lead for scores in tasks for lead in leads(scores)})
    means = [np.mean([at(scores, factor)[2] for scores in tasks]) for factor in factors]
    best = int(np.argmax(means))
    assert chosen == pytest.approx((factors[best] + factors[min(best + 1, len(factors) - 1)]) / 2)
    assert np.mean([at(scores, chosen)[2] for scores in tasks]) == pytest.approx(max(means))


def curve_of(*steps: tuple[float, float, float]) -> protocol.SeenUnseenCurve:
    """A curve through (factor, seen, unseen), below which everything counts as seen."""
    return protocol.SeenUnseenCurve(*np.array([(-np.inf, 1.0, 0.0), *steps]).T)


def test_below_all_leads_of_a_task_its_harmonic_mean_is_0() -> None:
    first, second = curve_of((-5.0, 0.8, 0.8), (0.0, 0.5, 0.5)), curve_of((1.0, 0.6, 0.6), (2.0, 0.0, 1.0))
    assert protocol.choose_calibration([first, second]) == 1.5


def test_the_last_step_is_chosen_at_its_beginning() -> None:
    assert protocol.choose_calibration([curve_of((0.0, 0.9, 0.1), (1.0, 0.8, 0.3), (4.0, 0.8, 0.8))]) == 4.0


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_validation_figures_are_means_at_one_factor_for_all_tasks(seed: int) -> None:
    tasks = [random_scores(10 * seed + k) for k in range(3)]
    curves = [task.curve() for task in tasks]
    found = protocol.validation_figures(list(zip((0.9, 0.2, 0.7), curves, strict=True)))
    table = np.array([[at(task, factor)[2] for task in tasks] for factor in np.arange(-8.5, 9)])
    harmonic = table.mean(axis=1).max()
    assert table.max(axis=0).mean() > harmonic + 0.1, "with a factor of its own each task would have done better"
    assert found["T1"] == pytest.approx(60.0)
    assert found["H"] == pytest.approx(harmonic)
    assert found["score"] == pytest.approx((60.0 + harmonic) / 2)
    assert np.mean([at(task, found["calibration"])[2] for task in tasks]) == pytest.approx(harmonic)


def test_summarise_keeps_each_seed() -> None:
    runs = {0: {"zsl": {"T1": 10.0}}, 5: {"zsl": {"T1": 14.0}}}
    got = protocol.summarise(runs)["zsl"]["T1"]
    assert got == {"mean": 12.0, "std": pytest.approx(np.sqrt(8)), "seeds": {"0": 10.0, "5": 14.0}}
    assert protocol.summarise({0: runs[0]})["zsl"]["T1"]["std"] == 0.0


def test_summarise_takes_every_metric_by_itself() -> None:
    values = {seed: {"gzsl": {"U": 1.0 * seed, "S": 5.0}, "plain": {"U": 10.0 * seed}} for seed in (1, 2, 6)}
    found = protocol.summarise(values)
    assert {group: list(names) for group, names in found.items()} == {"gzsl": ["U", "S"], "plain": ["U"]}
    assert found["gzsl"]["U"] == {
        "mean": 3.0,
        "std": pytest.approx(np.sqrt(((1 - 3) ** 2 + (2 - 3) ** 2 + (6 - 3) ** 2) / 2)),
        "seeds": {"1": 1.0, "2": 2.0, "6": 6.0},
    }
    assert (found["gzsl"]["S"]["mean"], found["gzsl"]["S"]["std"], found["plain"]["U"]["mean"]) == (5.0, 0.0, 30.0)


class Writing(ESZSL):
    """A method that would write checkpoints."""

    checkpoints: Path | None = None


def test_a_seed_s_fit_is_the_method_s_scored_on_the_task(toy_task: protocol.Task, tmp_path: Path) -> None:
    settings = ESZSL.Settings(alpha=1.0)
    by_hand = protocol.score(ESZSL(settings).fit(toy_task.train, 3), toy_task, 3)
    found = protocol.fit_and_score(ESZSL, settings, toy_task, None, 3)
    for name in ("zsl", "joint_seen", "joint_unseen", "seen_labels", "unseen_labels"):
        np.testing.assert_array_equal(getattr(found, name), getattr(by_hand, name))
    fitted = protocol.fit_seed(Writing, settings, toy_task, tmp_path, 3)
    assert (fitted.settings, fitted.checkpoints) == (settings, tmp_path)
