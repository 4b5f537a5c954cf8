import numpy as np
from scipy.stats import norm

from zslcore.evaluation.protocol import Task
from zslcore.methods.gfzsl import GFZSL, GFZSLSettings, TransductiveGFZSL, TransductiveSettings, log_likelihood

PLAIN = {"scaling": "none", "signature_scaling": "none"}


def test_log_likelihood_is_the_normal_density_up_to_a_constant() -> None:
    random = np.random.default_rng(0)
    x, means, variances = random.normal(size=(5, 3)), random.normal(size=(4, 3)), random.uniform(0.5, 2, (4, 3))
    expected = [[norm.logpdf(row, m, np.sqrt(v)).sum() for m, v in zip(means, variances, strict=True)] for row in x]
    np.testing.assert_allclose(log_likelihood(x, means, variances) - 1.5 * np.log(2 * np.pi), expected, rtol=1e-8)


def test_moments_are_kernel_ridge_regressions(toy_task: Task) -> None:
    """Against the primal solution in the explicit feature space of (1 + s·s′)²."""
    train = toy_task.train
    method = GFZSL(GFZSLSettings(mean_strength=0.3, variance_strength=2.0, **PLAIN)).fit(train)

    def explicit(signatures: np.ndarray) -> np.ndarray:
        extended = np.column_stack([np.ones(len(signatures)), signatures.astype(float)])
        return np.array([np.outer(row, row).ravel() for row in extended])

    phi, new = explicit(train.signatures), explicit(toy_task.signatures)
    own = [train.features[train.labels == k].astype(float) for k in range(toy_task.seen_count)]
    means = np.array([rows.mean(axis=0) for rows in own])
    logs = np.log(np.array([rows.var(axis=0) for rows in own]) + 0.05)
    found = method.moments(toy_task.signatures)
    for target, strength, got in ((means, 0.3, found[0]), (logs, 2.0, np.log(found[1]))):
        centre = target.mean(axis=0)
        system = phi.T @ phi + strength * np.eye(phi.shape[1])
        expected = centre + new @ np.linalg.solve(system, phi.T @ (target - centre))
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_one_step_of_em_by_loop(toy_task: Task) -> None:
    settings = TransductiveSettings(steps=1, prior=3.0, **PLAIN)
    method = TransductiveGFZSL(settings).fit(toy_task.train)
    unseen = toy_task.signatures[~toy_task.seen_mask]
    means, variances = method.moments(unseen)
    x = toy_task.unseen_features.astype(float)
    density = np.array(
        [[norm.logpdf(row, m, np.sqrt(v)).sum() for m, v in zip(means, variances, strict=True)] for row in x]
    )
    share = np.exp(density - density.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    expected = np.empty_like(density)
    for k in range(len(unseen)):
        count = share[:, k].sum() + 3.0
        mean = (share[:, k] @ x + 3.0 * means[k]) / count
        square = (share[:, k] @ x**2 + 3.0 * (variances[k] + means[k] ** 2)) / count
        expected[:, k] = norm.logpdf(x, mean, np.sqrt(square - mean**2 + settings.floor)).sum(axis=1)
    method.fit_unlabelled(toy_task.unseen_features)
    scores = method.for_classes(unseen, np.zeros(len(unseen), dtype=bool)).scores(toy_task.unseen_features)
    differences = scores - scores[:, :1]
    np.testing.assert_allclose(differences, expected - expected[:, :1], rtol=1e-3, atol=1e-2)


def test_without_unlabelled_images_it_is_inductive_and_seen_classes_never_move(toy_task: Task) -> None:
    inductive, transductive = (cls().fit(toy_task.train) for cls in (GFZSL, TransductiveGFZSL))
    arguments = toy_task.signatures, toy_task.seen_mask
    plain = inductive.for_classes(*arguments).scores(toy_task.unseen_features)
    np.testing.assert_array_equal(plain, transductive.for_classes(*arguments).scores(toy_task.unseen_features))
    transductive.fit_unlabelled(toy_task.unseen_features)
    moved = transductive.for_classes(*arguments).scores(toy_task.unseen_features)
    seen = toy_task.seen_mask
    np.testing.assert_allclose(moved[:, seen], plain[:, seen], rtol=1e-5)
    assert np.abs(moved[:, ~seen] - plain[:, ~seen]).max() > 1e-3
