"""Checks every method passes, in the manner of scikit-learn's check_estimator."""

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from tests.methods.expected import FILE, make, measured, quick, task_for
from zslcore.datasets.dataset import Dataset
from zslcore.errors import ZSLError
from zslcore.evaluation.protocol import Task, fit, score
from zslcore.evaluation.search import candidates
from zslcore.io.layers import describe
from zslcore.methods import registry
from zslcore.methods._adversarial import Adversarial
from zslcore.methods._generative import Generative
from zslcore.methods._scaled import ScaledMethod
from zslcore.methods._trained import TrainedSettings
from zslcore.methods.base import Method, TrainData, Transductive
from zslcore.methods.clusterable.estimator import Clusterable

EXPECTED = json.loads(FILE.read_text())


@pytest.fixture(scope="module", params=sorted(registry.METHODS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def toy_task(name: str, toy: Dataset) -> Task:
    """In place of the one of vectors: with feature maps where the method learns from them."""
    return task_for(name, toy)


@pytest.fixture(scope="module")
def fitted(name: str, toy_task: Task) -> Method:
    """One fit for all checks of a method."""
    return quick(name, toy_task)


def make_brief(name: str) -> Method:
    """With its quick settings, but five epochs, where it is trained in epochs."""
    method = make(name)
    epochs = {"epochs": 5}
    if name == "clusterable":
        epochs = {"train": method.settings.train.model_copy(update=epochs)}
    elif not hasattr(method.settings, "epochs"):
        return method
    return type(method)(method.settings.model_copy(update=epochs))


@pytest.fixture(scope="module")
def brief(name: str, toy_task: Task) -> Method:
    """A fit of few epochs, for checks that fit again."""
    return fit(make_brief(name), toy_task, 0)


def joint_scores(method: Method, task: Task) -> np.ndarray:
    return method.for_classes(task.signatures, task.seen_mask, seed=0).scores(task.unseen_features)


def tolerance(method: Method) -> float:
    """How far scores may move on another processor, relative to the largest of them.

    Measured with the vector instructions of torch, MKL, OpenBLAS and NumPy beyond SSE4 turned off: by at most 2e-6
    where nothing is trained, 2e-3 after hundreds of steps of Adam, 4e-2 where two players amplify each other's
    rounding. The losses of the first epoch, before that, move by 5e-5 of the largest.
    """
    if isinstance(method, Adversarial):
        return 1e-1
    trained = isinstance(method, Generative | Clusterable) or hasattr(method.settings, "epochs")
    return 1e-2 if trained else 1e-3


def test_before_fit_it_says_fit_first(name: str, toy_task: Task, tmp_path: Path) -> None:
    kind = registry.get(name)
    method = kind(kind.Settings(**kind.quick))
    calls = [
        lambda: method.for_classes(toy_task.signatures, toy_task.seen_mask),
        method.state,
        lambda: method.save(tmp_path / "method.safetensors"),
    ]
    if isinstance(method, Transductive):
        calls.append(lambda: method.fit_unlabelled(toy_task.unseen_features))
    for call in calls:
        with pytest.raises(ZSLError, match=r"before it is fitted; fit first, or load a fitted one"):
            call()
    assert not any(tmp_path.iterdir())
    assert not hasattr(method, "no_such_attribute")


def test_scores_are_those_expected(name: str, fitted: Method, toy_task: Task) -> None:
    """`python -m tests.methods.expected NAME` stores new ones, where a method was meant to change."""
    found, wanted = measured(fitted, toy_task), EXPECTED[name]
    allowed = tolerance(fitted)
    scores = np.array(wanted["scores"])
    np.testing.assert_allclose(found["scores"], scores, rtol=0, atol=allowed * np.abs(scores).max())
    points = {1e-3: 3, 1e-2: 6, 1e-1: 12}[allowed]  # per-class figures: an image is worth up to 2.8 points
    for figure in ("T1", "U", "S", "AUSUC"):
        assert found[figure] == pytest.approx(wanted[figure], abs=points), figure
    assert found["losses"].keys() == wanted["losses"].keys()
    largest = max(map(abs, wanted["losses"].values()), default=0)
    assert found["losses"] == pytest.approx(wanted["losses"], rel=2e-3, abs=1e-4 * largest)


def test_the_seed_matters_where_the_method_says_so(name: str, brief: Method, toy_task: Task) -> None:
    other = fit(make_brief(name), toy_task, 1).for_classes(toy_task.signatures, toy_task.seen_mask, 1)
    same = np.array_equal(other.scores(toy_task.unseen_features), joint_scores(brief, toy_task))
    assert same is not brief.random


def test_what_it_says_of_itself(fitted: Method) -> None:
    assert fitted.title
    assert fitted.citation
    assert fitted.summary.endswith(".")
    assert fitted.family != "other"
    assert fitted.transductive is isinstance(fitted, Transductive)
    assert fitted.generates is isinstance(fitted, Generative | Clusterable)
    assert all(meaning for _, _, meaning in describe(type(fitted.settings))), "every setting says what it is"


def test_linear_scores_are_affine_in_scaled_features(name: str, toy_task: Task) -> None:
    """A point on the line through two features scores as the same mixture of their scores, for these methods alone."""
    cls = registry.get(name)
    if cls.generates:
        assert not cls.linear_scores, "log-probabilities are not affine"
        return
    method = fit(cls(cls.Settings(**{**cls.quick, "scaling": "standard"})), toy_task)
    scorer = method.for_classes(toy_task.signatures, toy_task.seen_mask)
    x, y = toy_task.unseen_features[:20], toy_task.unseen_features[20:40]
    straight = 3 * scorer.scores(x) - 2 * scorer.scores(y)
    affine = np.allclose(scorer.scores(3 * x - 2 * y), straight, rtol=1e-3, atol=1e-3 * np.abs(straight).max())
    assert affine is cls.linear_scores


def test_only_some_methods_make_attributes_binary(name: str, fitted: Method, toy_task: Task) -> None:
    """Signatures nearer to 0 and 1, on the same side of each attribute's mean: the same scores."""
    threshold = toy_task.train.signatures.mean(axis=0)
    binary = (toy_task.signatures > threshold).astype(np.float32)
    if len(np.unique(binary, axis=0)) < len(binary):
        pytest.fail("the toy task's classes must stay distinct when they are binary")
    clearer = (toy_task.signatures + binary) / 2
    clearer[toy_task.seen_mask] = toy_task.signatures[toy_task.seen_mask]
    scorer = fitted.for_classes(clearer, toy_task.seen_mask, seed=0)
    same = np.array_equal(scorer.scores(toy_task.unseen_features), joint_scores(fitted, toy_task))
    assert same is fitted.needs_binary_attributes


def test_beats_chance(fitted: Method, toy_task: Task) -> None:
    scores = score(fitted, toy_task)
    chance = 1 / scores.zsl.shape[1]
    assert scores.zsl_top1 > 2 * chance
    assert scores.joint_unseen.shape == (len(toy_task.unseen_labels), len(toy_task.signatures))
    assert scores.joint_seen.dtype == scores.zsl.dtype == np.float32
    assert np.isfinite(scores.joint_seen).all()


def test_deterministic_and_the_same_when_watched(name: str, brief: Method, toy_task: Task) -> None:
    """Scores after the first epochs differ from each other; looking at them changes nothing."""
    again, watched = make_brief(name), []

    def observe(done: int) -> None:
        if done <= 3:
            watched.append(joint_scores(again, toy_task).tobytes())

    fit(again, toy_task, 0, observe)
    np.testing.assert_array_equal(joint_scores(brief, toy_task), joint_scores(again, toy_task))
    in_epochs = hasattr(brief.settings, "epochs") or name == "clusterable"
    assert len(set(watched)) == len(watched) == (3 if in_epochs else 0)


def test_save_and_load(name: str, fitted: Method, toy_task: Task, tmp_path) -> None:
    method = fitted
    method.save(tmp_path / "method.safetensors")
    again = registry.get(name).load(tmp_path / "method.safetensors")
    np.testing.assert_array_equal(joint_scores(method, toy_task), joint_scores(again, toy_task))
    with pytest.raises(ZSLError, match="expected"):
        _another(name).load(tmp_path / "method.safetensors")


def _another(name: str) -> type[Method]:
    class Other(registry.get(name)):  # type: ignore[misc]
        name = "another"

    return Other


def test_image_order_of_scoring_does_not_matter(fitted: Method, toy_task: Task) -> None:
    scorer = fitted.for_classes(toy_task.signatures, toy_task.seen_mask)
    flipped = scorer.scores(toy_task.unseen_features[::-1])[::-1]
    np.testing.assert_allclose(scorer.scores(toy_task.unseen_features), flipped, rtol=1e-4, atol=1e-4)


def test_class_permutation_equivariance(name: str, fitted: Method, toy_task: Task) -> None:
    """Exact for closed forms; for seeded training too, as no starting parameter belongs to a class."""
    if not isinstance(fitted, ScaledMethod):
        pytest.skip("draws by class number: equivariant in distribution only")
    train = toy_task.train
    order = np.random.default_rng(0).permutation(len(train.signatures))
    permuted = TrainData(
        train.features,
        np.argsort(order)[train.labels],
        train.signatures[order],
        train.image_attributes,
    )
    plain = joint_scores(fitted, toy_task)
    signatures = np.concatenate([train.signatures[order], toy_task.signatures[len(order) :]])
    again = fit(make(name), replace(toy_task, train=permuted))
    scores = again.for_classes(signatures, toy_task.seen_mask).scores(toy_task.unseen_features)
    back = np.concatenate([scores[:, np.argsort(order)], scores[:, len(order) :]], axis=1)
    scale = np.abs(plain).max()
    trained = isinstance(fitted.settings, TrainedSettings)  # many steps, each with its rounding
    np.testing.assert_allclose(plain / scale, back / scale, atol=1e-2 if trained else 1e-5)


def test_the_order_of_competing_classes_does_not_matter(fitted: Method, toy_task: Task) -> None:
    """Label permutation invariance: scores follow their classes."""
    if not isinstance(fitted, ScaledMethod):
        pytest.skip("trains a classifier for the label space")
    unseen = toy_task.signatures[~toy_task.seen_mask]
    none = np.zeros(len(unseen), dtype=bool)
    plain = fitted.for_classes(unseen, none).scores(toy_task.unseen_features)
    turned = fitted.for_classes(unseen[::-1].copy(), none).scores(toy_task.unseen_features)[:, ::-1]
    np.testing.assert_allclose(plain, turned, rtol=1e-3, atol=1e-3 * np.abs(plain).max())


def test_refuses_equal_signatures(fitted: Method, toy_task: Task) -> None:
    twice = toy_task.signatures.copy()
    twice[-1] = twice[-2]
    with pytest.raises(ZSLError, match="number 14, number 15 coincide"):
        fitted.for_classes(twice, toy_task.seen_mask)


def test_refuses_signatures_that_scaling_makes_equal(fitted: Method, toy_task: Task) -> None:
    if not isinstance(fitted, ScaledMethod):
        pytest.skip("learns from signatures as they are")
    scaler = fitted.signature_scaler
    same = toy_task.signatures.copy()
    same[-1] = same[-2] * (2 if scaler.scaling in ("l2", "sphere") else 1 + 1e-7)
    with pytest.raises(ZSLError, match=f"scaled by '{scaler.scaling}' of 16 .* number 14, number 15 coincide"):
        fitted.for_classes(same, toy_task.seen_mask)


def test_refuses_features_of_another_kind(fitted: Method, toy_task: Task) -> None:
    if not isinstance(fitted, ScaledMethod):
        pytest.skip("its classifier is trained for the label space")
    scorer = fitted.for_classes(toy_task.signatures, toy_task.seen_mask)
    with pytest.raises(ZSLError, match="fitted on 24 dimensions"):
        scorer.scores(toy_task.unseen_features[:, 1:])
    spoilt = toy_task.unseen_features.copy()
    spoilt[3, 5] = np.inf
    with pytest.raises(ZSLError, match="NaN or infinity"):
        scorer.scores(spoilt)


def test_refuses_training_data_it_cannot_use(name: str, toy_task: Task) -> None:
    train = toy_task.train
    spoilt = train.signatures.copy()
    spoilt[2, 2] = np.nan
    one = train.labels == 0
    for message, arguments in {
        "do not belong together": (train.features, train.labels[1:], train.signatures),
        "only one seen class": (train.features[one], train.labels[one], train.signatures[:1]),
        "12 seen signatures but images of 11 classes": (train.features[~one], train.labels[~one], train.signatures),
        "signatures hold NaN": (train.features, train.labels, spoilt),
    }.items():
        with pytest.raises(ZSLError, match=message):
            make(name).fit(TrainData(*arguments))


SINGULAR = {
    "dap": ({"strength": 0},),
    "iap": ({"strength": 0},),
    "conse": ({"strength": 0},),
    "sae": ({"strength": 0},),
    "sync": ({"strength": 0},),
    "bidilel": ({"strength": 0},),
    "eszsl": ({"alpha": -400}, {"gamma": -400}),
    "jlse": ({"map_strength": 0}, {"target": 0, "latent": 50}),
    "lad": ({"strength": 0}, {"code": 0}),
    "cdl": ({"code": 0},),
    "gfzsl": ({"floor": 0}, {"mean_strength": 0, "signature_scaling": "l2"}),
    "gfzsl-transductive": ({"floor": 0},),
}
"""Settings without regularisation, by method name: each leaves a system singular where data are of low rank."""


@pytest.mark.parametrize("name", sorted(registry.METHODS))
def test_its_candidates_are_settings_none_twice(name: str) -> None:
    method = registry.get(name)
    found = [method.Settings(**settings) for settings in islice(candidates(method.search_space), 12)]
    assert found[0] == method.Settings()
    assert all(one not in found[1:place] for place, one in enumerate(found))


@pytest.mark.parametrize(("method_name", "settings"), [(name, one) for name, many in SINGULAR.items() for one in many])
def test_says_where_a_system_is_singular(method_name: str, settings: dict[str, float], toy: Dataset) -> None:
    toy_task = task_for(method_name, toy)
    features, signatures = toy_task.train.features.copy(), toy_task.signatures.copy()
    features[:, 0], features[:, 1] = 1, features[:, 2]
    signatures[:, 2:] = np.linspace(0.1, 1, len(signatures))[:, None]  # of rank 3
    cls = registry.get(method_name)
    method = cls(cls.Settings(**{"scaling": "none", "signature_scaling": "none", **settings}))
    with pytest.raises(ZSLError, match=r"singular|unbounded|constant within a class"):
        method.fit(TrainData(features, toy_task.train.labels, signatures[:12])).for_classes(
            signatures, toy_task.seen_mask
        )


def test_refuses_bad_input(fitted: Method, toy_task: Task) -> None:
    method = fitted
    wrong = np.zeros((3, toy_task.signatures.shape[1] + 1), dtype=np.float32)
    with pytest.raises(ZSLError, match="attributes"):
        method.for_classes(wrong, np.zeros(3, dtype=bool))
    with pytest.raises(ZSLError, match="a class lacks its signature"):
        method.for_classes(toy_task.signatures[1:], toy_task.seen_mask)
    with pytest.raises(ZSLError, match="seen_mask marks 1 of 16"):
        method.for_classes(toy_task.signatures, np.arange(len(toy_task.signatures)) < 1)
    bad = toy_task.signatures.copy()
    bad[0, 0] = np.nan
    with pytest.raises(ZSLError, match="NaN"):
        method.for_classes(bad, toy_task.seen_mask)


def test_settings_refuse_unknown_names(name: str) -> None:
    with pytest.raises(ValueError, match="wrong"):
        registry.get(name).Settings(wrong=1)
