"""DAP, IAP and ConSE: what they do with classifier outputs, written out image by image."""

import numpy as np

from zslcore.evaluation.protocol import Task
from zslcore.methods.conse import ConSE, ConSESettings
from zslcore.methods.dap import DAP
from zslcore.methods.iap import IAP


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()


def product(present: np.ndarray, signature: np.ndarray, prior: np.ndarray) -> float:
    """Σ_m log p(a_m = s_m | x) − log p(a_m = s_m), one attribute after another."""
    total = 0.0
    for chance, has, share in zip(present, signature, prior, strict=True):
        total += np.log(chance / share) if has else np.log((1 - chance) / (1 - share))
    return total


def setting(task: Task) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Binary signatures of all classes and of the seen ones, and the prior."""
    lengths = np.linalg.norm(task.signatures, axis=1, keepdims=True)
    binary = task.signatures / lengths > (task.signatures / lengths)[: task.seen_count].mean(axis=0)
    seen = binary[: task.seen_count]
    return binary, seen, (seen.sum(axis=0) + 1) / (len(seen) + 2)


def test_dap_multiplies_attribute_posteriors(toy_task: Task) -> None:
    method = DAP().fit(toy_task.train)
    scores = method.for_classes(toy_task.signatures, toy_task.seen_mask).scores(toy_task.unseen_features[:5])
    binary, _, prior = setting(toy_task)
    for row, x in zip(scores, method.scaler(toy_task.unseen_features[:5]), strict=True):
        present = 1 / (1 + np.exp(-(x @ method.weights + method.bias)))
        np.testing.assert_allclose(row, [product(present, signature, prior) for signature in binary], rtol=1e-4)


def test_dap_classifiers_know_the_attributes_of_seen_images(toy_task: Task) -> None:
    method = DAP().fit(toy_task.train)
    _, seen, _ = setting(toy_task)
    guessed = method.scaler(toy_task.seen_features) @ method.weights + method.bias > 0
    assert (guessed == seen[toy_task.seen_labels]).mean() > 0.9


def test_iap_goes_through_the_seen_classes(toy_task: Task) -> None:
    method = IAP().fit(toy_task.train)
    scores = method.for_classes(toy_task.signatures, toy_task.seen_mask).scores(toy_task.unseen_features[:5])
    binary, seen, prior = setting(toy_task)
    for row, x in zip(scores, method.scaler(toy_task.unseen_features[:5]), strict=True):
        chances = softmax(x @ method.weights + method.bias)
        present = 0.99 * sum(chances[k] * seen[k] for k in range(len(seen))) + 0.01 * prior
        np.testing.assert_allclose(row, [product(present, signature, prior) for signature in binary], rtol=1e-4)


def test_conse_combines_the_most_probable_signatures(toy_task: Task) -> None:
    method = ConSE(ConSESettings(top=3)).fit(toy_task.train)
    scores = method.for_classes(toy_task.signatures, toy_task.seen_mask).scores(toy_task.unseen_features[:5])
    s = toy_task.signatures / np.linalg.norm(toy_task.signatures, axis=1, keepdims=True)
    for row, x in zip(scores, method.scaler(toy_task.unseen_features[:5]), strict=True):
        chances = softmax(x @ method.weights + method.bias)
        top = sorted(range(toy_task.seen_count), key=lambda k: -chances[k])[:3]
        mean = sum(chances[k] * s[k] for k in top)
        np.testing.assert_allclose(row, [mean @ one / np.linalg.norm(mean) for one in s], rtol=1e-4)
