"""LAD, CDL and JLSE: every alternation lowers the objective, and each closed form is its minimum."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import minimize

from zslcore.evaluation.protocol import Task
from zslcore.methods._linalg import simplex_codes
from zslcore.methods.cdl import CDL, CDLSettings
from zslcore.methods.jlse import JLSE, JLSESettings, bilinear_ridge
from zslcore.methods.lad import LAD, LADSettings
from zslcore.scaling import class_means

PLAIN = {"scaling": "none", "signature_scaling": "none"}


def test_lad_scores_are_cosines_of_codes_and_latent_attributes(toy_task: Task) -> None:
    settings = LADSettings(**PLAIN)
    method = LAD(settings).fit(toy_task.train)
    scores = method.for_classes(toy_task.signatures, toy_task.seen_mask).scores(toy_task.unseen_features[:3])
    d = method.dictionary
    for row, x in zip(scores, toy_task.unseen_features[:3].astype(float), strict=True):
        code = minimize(lambda y, x=x: ((x - y @ d) ** 2).sum() + settings.code * y @ y, np.zeros(len(d))).x
        latent = toy_task.signatures @ method.weights
        expected = [code @ one / np.linalg.norm(code) / np.linalg.norm(one) for one in latent]
        np.testing.assert_allclose(row, expected, atol=1e-4)


def test_lad_updates_lower_its_objective(toy_task: Task) -> None:
    """At the learned D and W, with the Y and U that suit them best."""
    train = toy_task.train
    x, s = train.features.astype(float), train.signatures[train.labels].astype(float)
    h = np.eye(toy_task.seen_count)[train.labels]

    def objective(settings: LADSettings) -> float:
        method = LAD(settings).fit(train)
        d, w = method.dictionary, method.weights
        codes, own = s, settings
        for _ in range(200):
            u = np.linalg.solve(codes.T @ codes + own.strength * np.eye(len(d)), codes.T @ h)
            system = d @ d.T + own.beta * u @ u.T + own.alpha * np.eye(len(d))
            codes = np.linalg.solve(system, (x @ d.T + own.alpha * s @ w + own.beta * h @ u.T).T).T
        terms = ((x - codes @ d, 1.0), (codes - s @ w, own.alpha), (h - codes @ u, own.beta))
        ridges = sum(
            own.strength * weight * (part**2).sum() for part, weight in ((d, 1), (w, own.alpha), (u, own.beta))
        )
        return sum(weight * (part**2).sum() for part, weight in terms) + ridges

    values = [objective(LADSettings(steps=steps, **PLAIN)) for steps in (1, 2, 4, 8)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0]


def test_cdl_updates_lower_its_objective(toy_task: Task) -> None:
    train = toy_task.train
    x, labels, s = train.features.astype(float), train.labels, train.signatures.astype(float)

    def objective(method: CDL, settings: CDLSettings) -> float:
        """At the learned dictionaries, with the codes and prototypes that suit them best."""
        both = np.hstack([method.visual, np.sqrt(settings.alpha) * method.semantic])
        counts, means = np.bincount(labels)[:, None], class_means(x, labels, toy_task.seen_count)
        prototypes = means
        for _ in range(300):
            target = np.hstack([prototypes, np.sqrt(settings.alpha) * s])
            codes = target @ np.linalg.pinv(both)
            prototypes = (counts * means + settings.coupling * codes @ method.visual) / (counts + settings.coupling)
        residual = ((prototypes - codes @ method.visual) ** 2).sum()
        residual += settings.alpha * ((s - codes @ method.semantic) ** 2).sum()
        return ((x - prototypes[labels]) ** 2).sum() + settings.coupling * residual

    values = []
    for steps in (1, 3, 10, 30):
        settings = CDLSettings(steps=steps, atoms=4, **PLAIN)
        values.append(objective(CDL(settings).fit(train), settings))
    assert all(later <= earlier + 1e-6 for earlier, later in pairwise(values))
    assert values[-1] < values[0]


def test_cdl_prototypes_of_seen_classes_reconstruct_the_class_means(toy_task: Task) -> None:
    method = CDL(CDLSettings(atoms=1000, code=1e-9, steps=1, **PLAIN)).fit(toy_task.train)
    codes = np.linalg.lstsq(method.semantic.T, toy_task.train.signatures.T.astype(float), rcond=None)[0].T
    np.testing.assert_allclose(codes @ method.semantic, toy_task.train.signatures, atol=1e-5)


def test_cdl_compares_prototypes_with_images_and_codes_with_codes(toy_task: Task) -> None:
    found = {}
    for space in ("visual", "aligned", "both"):
        method = CDL(CDLSettings(atoms=8, space=space, image_code=0.5, **PLAIN)).fit(toy_task.train)
        arguments = toy_task.signatures, toy_task.seen_mask
        found[space] = method.for_classes(*arguments).scores(toy_task.unseen_features[:4])
    system = method.semantic @ method.semantic.T + 0.1 * np.eye(8)
    for row, x in enumerate(toy_task.unseen_features[:4].astype(float)):
        image = minimize(lambda z, x=x: ((x - z @ method.visual) ** 2).sum() + 0.5 * z @ z, np.zeros(8)).x
        for column, s in enumerate(toy_task.signatures.astype(float)):
            code = np.linalg.solve(system, method.semantic @ s)
            for space, (a, b) in {"visual": (x, code @ method.visual), "aligned": (image, code)}.items():
                expected = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                assert found[space][row, column] == pytest.approx(expected, abs=1e-4)
    np.testing.assert_allclose(found["both"], found["visual"] + found["aligned"], atol=1e-5)


def test_bilinear_ridge_equals_a_direct_solve() -> None:
    random = np.random.default_rng(0)
    left, y, right = random.normal(size=(9, 3)), random.normal(size=(9, 5)), random.normal(size=(5, 4))
    kron = np.kron(left, right)
    expected = np.linalg.solve(kron.T @ kron + 0.3 * np.eye(12), kron.T @ y.ravel()).reshape(3, 4)
    np.testing.assert_allclose(bilinear_ridge(left, y, right, 0.3), expected, rtol=1e-8)


@pytest.mark.parametrize("row", range(3))
def test_jlse_scores_a_pair_with_the_image_code_that_suits_it_best(toy_task: Task, row: int) -> None:
    settings = JLSESettings(latent=5, target=2.0, **PLAIN)
    method = JLSE(settings).fit(toy_task.train)
    x = toy_task.unseen_features[row].astype(float)
    scores = method.for_classes(toy_task.signatures, toy_task.seen_mask).scores(toy_task.unseen_features)[row]
    sources = simplex_codes(toy_task.signatures, toy_task.train.signatures, settings.source)
    best = []
    for source in sources:
        target = method.weights @ source

        def cost(z: np.ndarray, target: np.ndarray = target) -> float:
            return ((x - z @ method.dictionary) ** 2).sum() + settings.target * z @ z - 2 * z @ target

        best.append(-minimize(cost, np.zeros(len(target)), options={"gtol": 1e-8}).fun)
    np.testing.assert_allclose(scores - scores[0], np.array(best) - best[0], rtol=1e-3, atol=1e-3)
