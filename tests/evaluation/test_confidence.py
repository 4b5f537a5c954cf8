"""Temperature and calibration errors against closed forms, other optimisers and counting by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from zslcore.evaluation.confidence import (
    Confidence,
    calibration_error,
    fit_temperature,
    probabilities,
    reliability,
)
from zslcore.evaluation.metrics import Scores
from zslcore.evaluation.protocol import choose_confidence, evaluate
from zslcore.evaluation.strangers import withheld


@pytest.mark.parametrize(("images", "wrong"), [(100, 20), (100, 0), (7, 3)])
def test_of_two_classes_the_temperature_is_a_closed_form(images: int, wrong: int) -> None:
    lead = 2.5
    scores = np.tile([lead, 0.0], (images, 1)) + 7
    labels = np.array([1] * wrong + [0] * (images - wrong))
    expected = lead / np.log((images - wrong + 0.5) / (wrong + 0.5))
    assert fit_temperature([(scores, labels)]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_the_temperature_that_scores_were_drawn_with_is_found(scale: float) -> None:
    """Over tasks of different sizes together; a scale of the scores is a scale of the temperature."""
    random = np.random.default_rng(0)
    tasks = []
    for classes, count in ((5, 20_000), (12, 30_000)):
        scores = random.normal(size=(count, classes))
        labels = (scores / 0.4 + random.gumbel(size=scores.shape)).argmax(axis=1)
        tasks.append((scale * scores, labels))
    assert fit_temperature(tasks) == pytest.approx(0.4 * scale, rel=0.02)


def test_it_minimises_the_likelihood_of_all_images_of_all_tasks() -> None:
    """And not that of each task alike: the first has ten times the images of the second, which it contradicts."""
    random = np.random.default_rng(1)
    tasks = []
    for temperature, count in ((0.3, 2000), (3.0, 200)):
        scores = random.normal(size=(count, 6))
        tasks.append((scores, (scores / temperature + random.gumbel(size=scores.shape)).argmax(axis=1)))

    def loss(temperature: float) -> float:
        return -sum(
            float(np.log(probabilities(scores, temperature)[np.arange(len(labels)), labels]).sum())
            for scores, labels in tasks
        )

    by_hand = minimize(lambda x: loss(float(np.exp(x[0]))), [0.0], method="Nelder-Mead")
    assert fit_temperature(tasks) == pytest.approx(np.exp(by_hand.x[0]), rel=0.01)


def test_probabilities_are_a_softmax() -> None:
    scores = np.array([[0.0, np.log(3) * 2], [5.0, 5.0]])
    assert probabilities(scores, 2.0) == pytest.approx(np.array([[0.25, 0.75], [0.5, 0.5]]))
    assert probabilities(np.array([[1e5, 0.0]], "f4"))[0].tolist() == [1, 0]


def by_hand(confidence: list[float], right: list[bool], bins: int) -> float:
    total = 0.0
    for b in range(bins):
        inside = [
            (c, r) for c, r in zip(confidence, right, strict=True) if b / bins < c <= (b + 1) / bins or (c == b == 0)
        ]
        if inside:
            total += abs(sum(r - c for c, r in inside))
    return total / len(confidence)


@given(st.integers(0, 10_000), st.integers(1, 20))
def test_calibration_errors_equal_counting_by_hand(seed: int, bins: int) -> None:
    random = np.random.default_rng(seed)
    p = random.dirichlet(np.full(4, 0.5), size=30)
    labels = random.integers(0, 4, 30)
    expected = by_hand(p.max(1).tolist(), (p.argmax(1) == labels).tolist(), bins)
    assert calibration_error(p, labels, bins) == pytest.approx(expected)
    each = [by_hand(p[:, k].tolist(), (labels == k).tolist(), bins) for k in range(4)]
    assert calibration_error(p, labels, bins, classwise=True) == pytest.approx(np.mean(each))
    points = reliability(p, labels, bins)
    assert points.images.sum() == 30
    assert np.average(points.accuracy, weights=points.images) == pytest.approx((p.argmax(1) == labels).mean())
    assert np.average(points.confidence, weights=points.images) == pytest.approx(p.max(1).mean())
    assert (np.diff(points.confidence) > 0).all()


def test_what_comes_true_as_often_as_it_says_has_no_error() -> None:
    p = np.tile([0.75, 0.25], (400, 1))
    labels = np.array([0] * 300 + [1] * 100)
    assert calibration_error(p, labels) == calibration_error(p, labels, classwise=True) == 0
    assert calibration_error(p, np.zeros(400, int)) == pytest.approx(0.25)


def made_up(seed: int, sharpness: float) -> Scores:
    """Six seen and four unseen classes; an image is near the mean of its class alone."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(10), 40)
    logits = random.normal(size=(400, 10)) + 2 * np.eye(10)[labels]
    drawn = (sharpness * logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    order = np.argsort(drawn >= 6, kind="stable")
    logits, drawn = logits[order].astype("f4"), drawn[order]
    seen = int((drawn < 6).sum())
    distance = 5 - 4 * np.eye(10, dtype="f4")[drawn] + random.uniform(0, 0.1, (400, 10)).astype("f4")
    mask = np.arange(10) < 6
    return Scores(
        zsl=logits[seen:, 6:],
        joint_seen=logits[:seen] + 1.5 * mask,
        joint_unseen=logits[seen:] + 1.5 * mask,
        seen_labels=drawn[:seen],
        unseen_labels=drawn[seen:],
        seen_count=6,
        evidence={"real": distance},
    )


def test_the_choice_finds_the_temperature_and_the_score_that_knows_strangers() -> None:
    tasks = [made_up(seed, 2.0) for seed in range(6)]
    chosen, compared = choose_confidence(tasks, 1.5)
    assert chosen.joint == pytest.approx(0.5, rel=0.06), "the factor is taken off first"
    assert chosen.unseen == pytest.approx(0.5, rel=0.2)
    assert set(compared) == {"probability", "energy", "real"}
    assert (chosen.stranger, compared["real"]) == ("real", 100.0)
    found = evaluate(made_up(9, 2.0), 1.5, chosen)
    assert found["strangers"]["AUROC"] == 100
    assert found["strangers"]["false_alarms"] == pytest.approx(5, abs=4)
    assert found["confidence"]["ECE"] < found["confidence"]["ECE_before"]
    assert Confidence.read(chosen.section()).section() == chosen.section()
    assert "confidence" not in evaluate(made_up(9, 2.0), 1.5)


def test_every_figure_of_confidence_and_of_strangers_by_hand() -> None:
    """At temperatures and a threshold that were chosen elsewhere; the score of strangers is the largest probability."""
    scores = made_up(3, 1.0)
    chosen = Confidence(0.7, 1.4, "probability", np.log(np.linspace(0.2, 0.9, 201)))
    mask = np.arange(10) < 6
    joint = np.concatenate([scores.joint_seen, scores.joint_unseen]).astype(float) - 1.5 * mask
    labels = np.concatenate([scores.seen_labels, scores.unseen_labels])
    found = evaluate(scores, 1.5, chosen)
    tempered = {"": (joint, labels, 0.7), "_before": (joint, labels, 1.0)}
    for name, (values, of, temperature) in tempered.items():
        p = softmax(values / temperature, axis=1)
        assert found["confidence"][f"ECE{name}"] == pytest.approx(100 * calibration_error(p, of))
        classwise = found["confidence"][f"classwise_ECE{name}"]
        assert classwise == pytest.approx(100 * calibration_error(p, of, classwise=True))
    for name, temperature in (("", 1.4), ("_before", 1.0)):
        p = softmax(scores.zsl.astype(float) / temperature, axis=1)
        wanted = 100 * calibration_error(p, scores.unseen_labels - 6)
        assert found["confidence"][f"unseen_ECE{name}"] == pytest.approx(wanted, rel=1e-4)
    figures: dict[str, list[float]] = {"AUROC": [], "FPR95": [], "false_alarms": [], "recognised": []}
    threshold = float(np.interp(0.05, np.linspace(0, 1, 201), chosen.quantiles))
    for competing in withheld(mask):
        fits = log_softmax(joint[:, competing] / 0.7, axis=1).max(axis=1)
        known, strangers = fits[competing[labels]], fits[~competing[labels]]
        higher = (known[:, None] > strangers).mean() + (known[:, None] == strangers).mean() / 2
        passing = sum(stranger >= np.sort(known)[int(0.05 * (len(known) - 1))] for stranger in strangers)
        figures["AUROC"].append(higher)
        figures["FPR95"].append(passing / len(strangers))
        figures["false_alarms"].append((known < threshold).mean())
        figures["recognised"].append((strangers < threshold).mean())
    for name, values in figures.items():
        assert found["strangers"][name] == pytest.approx(100 * np.mean(values)), name
    chosen, compared = choose_confidence([scores], 1.5)
    by_hand = []
    for competing in withheld(mask):
        fits = log_softmax(joint[:, competing] / chosen.joint, axis=1).max(axis=1)
        known, strangers = fits[competing[labels]], fits[~competing[labels]]
        by_hand.append((known[:, None] > strangers).mean())
    assert compared["probability"] == pytest.approx(100 * np.mean(by_hand))
