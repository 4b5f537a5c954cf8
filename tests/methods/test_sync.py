import numpy as np

from zslcore.evaluation.protocol import Task
from zslcore.methods._convex import fit_linear
from zslcore.methods.sync import SYNC, SYNCSettings


def test_classifiers_are_mixtures_of_phantoms(toy_task: Task) -> None:
    method = SYNC().fit(toy_task.train)
    scores = method.for_classes(toy_task.signatures, toy_task.seen_mask).scores(toy_task.unseen_features[:4])
    a, b = method.signature_scaler(toy_task.signatures), method.signature_scaler(toy_task.train.signatures)
    for row, x in zip(scores, method.scaler(toy_task.unseen_features[:4]), strict=True):
        for found, signature in zip(row, a, strict=True):
            near = np.array([np.exp(-((signature - phantom) ** 2).sum() / method.variance) for phantom in b])
            synthesised = sum(share * v for share, v in zip(near / near.sum(), method.phantoms, strict=True))
            np.testing.assert_allclose(found, x @ synthesised[:-1] + synthesised[-1], rtol=1e-3, atol=1e-3)


def test_with_little_regularisation_phantoms_give_back_the_seen_classifiers(toy_task: Task) -> None:
    settings = SYNCSettings(ridge=1e-12, width=0.05)
    method = SYNC(settings).fit(toy_task.train)
    x = method.scaler(toy_task.train.features)
    targets = 2 * np.eye(toy_task.seen_count)[toy_task.train.labels] - 1
    weights, bias = fit_linear(x, targets, "squared_hinge", settings.strength)
    scorer = method.for_classes(toy_task.train.signatures, np.ones(toy_task.seen_count, dtype=bool))
    np.testing.assert_allclose(scorer.scores(toy_task.train.features), x @ weights + bias, atol=1e-2)
