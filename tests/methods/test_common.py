"""Checks every method passes, in the manner of scikit-learn's check_estimator."""

import numpy as np
import pytest

from zslcore.errors import ZSLError
from zslcore.evaluation.protocol import Task, score
from zslcore.methods import registry
from zslcore.methods._scaled import ScaledMethod
from zslcore.methods.base import Method, TrainData

SMALL = {
    "hidden": 64,
    "latent": 4,
    "batch_size": 32,
    "epochs": 30,
    "lr": 3e-3,
    "generate": {"per_unseen": 40},
    "classify": {"lr": 0.03, "batch_size": 128, "epochs": 5},
}
GAN = {**SMALL, "hidden": 256, "epochs": 60, "lr": 1.5e-3, "critic_lr": 4e-3, "average": 0.95}
WGAN = {**GAN, "cls_weight": 0.1, "pretrain_epochs": 5}
QUICK: dict[str, dict[str, object]] = {
    "cada-vae": {
        **SMALL,
        "image_hidden": (64, 64),
        "signature_hidden": (64, 64),
        "latent": 16,
        "epochs": 60,
        "beta_span": (0, 30),
        "cross_span": (0, 20),
        "alignment_span": (0, 20),
        "per_seen": 20,
        "lr": 1e-3,
    },
    "ce-gzsl": {**GAN, "embedding": 32, "projection": 16, "comparator": 16, "class_level": 0.1},
    "cvae-zsl": SMALL,
    "f-clswgan": WGAN,
    "f-vaegan-d2": GAN,
    "jgm-zsl": GAN,
    "lisgan": WGAN,
    "ocd": {**SMALL, "regressor_hidden": 32},
    "rff-gzsl": {**WGAN, "mapped": 32},
    "se-zsl": {**SMALL, "regressor_hidden": 32},
    "tf-vaegan": {**GAN, "strength": 0.3, "adversarial": 1.0},
    "clusterable": {
        "train": {"hidden": 64, "projection": 32, "epochs": 40, "batch_size": 32, "lr": 3e-3},
        "generate": {"per_unseen": 40},
        "classify": {"lr": 0.03, "batch_size": 64},
    },
    "metric-learning": {"epochs": 40, "batch_size": 32, "lr": 0.02},
    "ale": {"lr": 0.01, "epochs": 40, "batch_size": 32, "signature_scaling": "standard"},
    "cn": {"hidden": 64, "epochs": 20, "batch_size": 32, "lr": 0.003},
    "dem": {"hidden": 64, "epochs": 60, "batch_size": 32, "lr": 0.01},
    "devise": {"lr": 0.01, "epochs": 20, "batch_size": 32},
    "latem": {"lr": 0.01, "epochs": 3, "batch_size": 32, "maps": 2, "margin": 3.0, "signature_scaling": "standard"},
    "sje": {"lr": 0.01, "epochs": 20, "batch_size": 32},
    "sse": {"epochs": 20, "batch_size": 32},
    "conse": {"signature_scaling": "standard"},
}
"""Settings that keep a method's training short on the toy set, by method name."""


def make(name: str) -> Method:
    cls = registry.get(name)
    return cls(cls.Settings(**QUICK.get(name, {})))


@pytest.fixture(scope="module", params=sorted(registry.METHODS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def fitted(name: str, toy_task: Task) -> Method:
    """One fit for all checks of a method."""
    return make(name).fit(toy_task.train, seed=0)


def joint_scores(method: Method, task: Task) -> np.ndarray:
    return method.for_classes(task.signatures, task.seen_mask, seed=0).scores(task.unseen_features)


def test_beats_chance(fitted: Method, toy_task: Task) -> None:
    scores = score(fitted, toy_task)
    chance = 1 / scores.zsl.shape[1]
    assert scores.zsl_top1 > 2 * chance
    assert scores.joint_unseen.shape == (len(toy_task.unseen_labels), len(toy_task.signatures))
    assert scores.joint_seen.dtype == scores.zsl.dtype == np.float32
    assert np.isfinite(scores.joint_seen).all()


def test_deterministic(name: str, fitted: Method, toy_task: Task) -> None:
    again = make(name).fit(toy_task.train, seed=0)
    np.testing.assert_array_equal(joint_scores(fitted, toy_task), joint_scores(again, toy_task))


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
    scores = make(name).fit(permuted).for_classes(signatures, toy_task.seen_mask).scores(toy_task.unseen_features)
    back = np.concatenate([scores[:, np.argsort(order)], scores[:, len(order) :]], axis=1)
    scale = np.abs(plain).max()
    np.testing.assert_allclose(plain / scale, back / scale, atol=1e-3 if not registry.get(name).random else 1e-2)


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


def test_refuses_bad_input(fitted: Method, toy_task: Task) -> None:
    method = fitted
    wrong = np.zeros((3, toy_task.signatures.shape[1] + 1), dtype=np.float32)
    with pytest.raises(ZSLError, match="attributes"):
        method.for_classes(wrong, np.zeros(3, dtype=bool))
    with pytest.raises(ZSLError, match="seen_mask"):
        method.for_classes(toy_task.signatures, np.arange(len(toy_task.signatures)) < 1)
    bad = toy_task.signatures.copy()
    bad[0, 0] = np.nan
    with pytest.raises(ZSLError, match="NaN"):
        method.for_classes(bad, toy_task.seen_mask)


def test_settings_refuse_unknown_names(name: str) -> None:
    with pytest.raises(ValueError, match="wrong"):
        registry.get(name).Settings(wrong=1)
