"""The generative methods: each loss against brute force, and generators that must recover two Gaussians."""

import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from zslcore.errors import ZSLError
from zslcore.evaluation.protocol import Task
from zslcore.methods import registry
from zslcore.methods._generative import Generative
from zslcore.methods.base import TrainData
from zslcore.methods.cada_vae import CADAVAE, l1, wasserstein
from zslcore.methods.ce_gzsl import Comparator, contrast
from zslcore.methods.cvae_zsl import CVAEZSL
from zslcore.methods.f_clswgan import FCLSWGAN
from zslcore.methods.f_vaegan_d2 import bernoulli
from zslcore.methods.lisgan import LisGAN, soul_samples, to_nearest_soul, with_certain
from zslcore.methods.ocd import batch_triplet, centre_loss, over_complete
from zslcore.methods.tf_vaegan import TFVAEGAN
from zslcore.nn.critic import Critic
from zslcore.nn.cvae import Encoder, Generator, reparameterise
from zslcore.nn.mlp import MLP

ROOT = Path(__file__).resolve().parents[2]
MEANS = np.array([[-1.0, 0.0], [1.0, 0.5]])
COVARIANCES = np.array([[[0.6, 0.4], [0.4, 0.4]], [[0.3, -0.3], [-0.3, 0.6]]])
MEAN_BOUND, COVARIANCE_BOUND = 0.2, 0.25
"""Largest error of an entry of a class's mean and covariance: the classes' means are 2.06 apart, and a generator that
misses how the two dimensions go together is off by 0.3 at least, whatever its variances."""


def two_gaussians(count: int = 300) -> TrainData:
    random = np.random.default_rng(0)
    parts = [random.multivariate_normal(MEANS[k], COVARIANCES[k], count) for k in range(2)]
    labels = np.repeat([0, 1], count)
    return TrainData(np.concatenate(parts).astype(np.float32), labels, np.eye(2, dtype=np.float32))


TINY: dict[str, Any] = {
    "scaling": "none",
    "signature_scaling": "none",
    "hidden": 32,
    "latent": 2,
    "batch_size": 100,
    "lr": 5e-3,
    "epochs": 60,
}
VAE: dict[str, Any] = {**TINY, "kl_weight": 0.1}
GAN: dict[str, Any] = {
    **TINY,
    "hidden": 256,
    "epochs": 40,
    "lr": 1.5e-3,
    "critic_lr": 4e-3,
    "critic_steps": 3,
    "penalty": 1.0,
    "average": 0.98,
}
GENERATORS: dict[str, dict[str, Any]] = {
    "cvae-zsl": {**VAE, "kl_weight": 0.2, "epochs": 100},
    "se-zsl": {**VAE, "kl_weight": 0.2, "realism": 0.0, "feedback": 0.1},
    "ocd": {**VAE, "feedback": 0.1, "triplet": 0.01, "centre": 0.001},
    "f-clswgan": {**GAN, "pretrain_epochs": 5},
    "lisgan": {**GAN, "pretrain_epochs": 5},
    "ce-gzsl": {**GAN, "embedding": 16, "projection": 8, "comparator": 8},
    "rff-gzsl": {**GAN, "mapped": 8},
    "f-vaegan-d2": {**GAN, "kl_weight": 0.1, "adversarial": 1.0},
    "tf-vaegan": {**GAN, "kl_weight": 0.1, "adversarial": 1.0, "strength": 0.3},
    "jgm-zsl": {**GAN, "epochs": 60, "kl_weight": 0.1, "cls_weight": 0.01, "perceptual": 0.1},
}


def made(name: str, **settings: Any) -> Generative:
    cls = registry.get(name)
    method = cls(cls.Settings(**settings))
    assert isinstance(method, Generative)
    return method


@torch.inference_mode()
def drawn(method: Generative, k: int, count: int = 2000) -> np.ndarray:
    """Features of class k, before any embedding."""
    torch.manual_seed(1)
    z, a = torch.randn(count, method.latent), torch.eye(2)[k].expand(count, -1)
    synthesise = getattr(method, "synthesise", None) or method.generator
    return synthesise(z, a).numpy()


def test_the_running_mean_draws() -> None:
    """After t steps from m₀ the mean is decay^t m₀ + Σ (1 − decay) decay^(t−i) wᵢ; decay 0 leaves G itself."""
    train = two_gaussians(20)
    plain = made("f-clswgan", hidden=8, epochs=2, pretrain_epochs=1, average=0.0).fit(train)
    assert isinstance(plain, FCLSWGAN)
    for mean, weight in zip(plain.averaged.parameters(), plain.generator.parameters(), strict=True):
        torch.testing.assert_close(mean, weight)
    slow = made("f-clswgan", hidden=8, epochs=1, pretrain_epochs=1, average=0.9, batch_size=40).fit(train)
    start = made("f-clswgan", hidden=8, epochs=1, pretrain_epochs=1, lr=1e-30, batch_size=40).fit(train)
    assert isinstance(slow, FCLSWGAN)
    for mean, weight, first in zip(
        slow.averaged.parameters(), slow.generator.parameters(), start.generator.parameters(), strict=True
    ):
        torch.testing.assert_close(mean, 0.9 * first + 0.1 * weight)


@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_generators_recover_two_gaussians(name: str) -> None:
    method = made(name, **GENERATORS[name]).fit(two_gaussians())
    for k in range(2):
        x = drawn(method, k)
        assert np.abs(x.mean(0) - MEANS[k]).max() < MEAN_BOUND, f"mean of class {k}: {x.mean(0)}"
        assert np.abs(np.cov(x.T) - COVARIANCES[k]).max() < COVARIANCE_BOUND, f"covariance of class {k}: {np.cov(x.T)}"
        assert np.linalg.eigvalsh(np.cov(x.T)).min() > 0.005, "collapsed"


def test_the_bounds_refuse_what_generators_get_wrong() -> None:
    """Classes exchanged, the mean of both, no correlation at the best of variances, or one class's shape for both."""
    assert np.abs(MEANS[0] - MEANS[1]).max() > MEAN_BOUND
    assert np.abs(MEANS - MEANS.mean(axis=0)).max(axis=1).min() > MEAN_BOUND
    assert np.abs(COVARIANCES[:, 0, 1]).min() > COVARIANCE_BOUND
    assert np.abs(COVARIANCES[0] - COVARIANCES[1]).max() > 2 * COVARIANCE_BOUND


def test_cada_vae_aligns_two_gaussians() -> None:
    """Its draws are latent: a class's have the mean and covariance of its encoded images, and decode to its mean."""
    method = made(
        "cada-vae",
        scaling="none",
        signature_scaling="none",
        latent=2,
        image_hidden=(32, 32),
        signature_hidden=(32, 32),
        batch_size=100,
        lr=5e-3,
        epochs=60,
        beta_span=(0, 40),
        cross_span=(5, 30),
        alignment_span=(0, 10),
    )
    assert isinstance(method, CADAVAE)
    train = two_gaussians()
    method.fit(train)
    with torch.inference_mode():
        torch.manual_seed(1)
        codes = reparameterise(*method.image_encoder(torch.from_numpy(train.features))).numpy()
        for k in range(2):
            draws = method.draw(torch.randn(2000, 2), torch.eye(2)[k].expand(2000, -1))
            images = codes[train.labels == k]
            assert np.abs(draws.numpy().mean(0) - images.mean(0)).max() < 0.15, "the classes' means are 1.4 apart"
            error = np.abs(np.cov(draws.numpy().T) - np.cov(images.T)).max()
            assert error < 0.3 * np.cov(images.T).max(), "encoded images correlate a little, draws of one class do not"
            assert np.abs(method.image_decoder(draws).numpy().mean(0) - MEANS[k]).max() < 0.35


def test_paper_settings_are_read_as_they_stand() -> None:
    """Every value of the papers' table reaches its method's settings, and differs from the default there somewhere."""
    table = YAML(typ="safe", pure=True).load((ROOT / "experiments" / "paper.yaml").read_text(encoding="utf-8"))
    rows = {name: row for name, row in table.items() if not name.startswith(".")}
    for name, row in rows.items():
        cls = registry.get(name)
        for dataset, given in row.items():
            found, default = cls.Settings(**given["settings"]).model_dump(), cls.Settings().model_dump()
            for setting, value in given["settings"].items():
                read = found[setting]
                if isinstance(value, dict):
                    read = {key: read[key] for key in value}
                wanted = tuple(value) if isinstance(value, list) else value
                assert read == wanted, f"{name} on {dataset}: {setting}"
            assert found != default, f"{name} on {dataset}"
    cub = registry.get("f-clswgan").Settings(**rows["f-clswgan"]["cub"]["settings"])
    assert (cub.lr, cub.epochs, cub.generate.per_unseen, cub.cls_weight) == (1e-4, 56, 300, 0.01)


@pytest.mark.parametrize("name", sorted([*GENERATORS, "cada-vae"]))
def test_search_spaces_are_valid(name: str) -> None:
    cls = registry.get(name)
    assert cls.search_space
    for setting, values in cls.search_space.items():
        for value in values:
            cls.Settings(**{setting: value})


def gaussian_pairs(seed: int = 0, n: int = 12, d: int = 5) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(seed)
    return random.normal(size=(n, d)), random.normal(size=(n, d)), random.integers(0, 4, n)


def tensors(*arrays: np.ndarray) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(array) for array in arrays)


def test_l1_and_bernoulli() -> None:
    x, output, _ = gaussian_pairs()
    assert float(l1(*tensors(x, output))) == pytest.approx(np.abs(x - output).sum() / len(x))
    p, q = 1 / (1 + np.exp(-x)), 1 / (1 + np.exp(-output))
    wanted = -(p * np.log(q) + (1 - p) * np.log(1 - q)).sum() / len(x)
    assert float(bernoulli(*tensors(p, q))) == pytest.approx(wanted)


def test_wasserstein() -> None:
    """W₂² of diagonal Gaussians is ‖m₁ − m₂‖² + ‖σ₁ − σ₂‖²."""
    m1, m2, _ = gaussian_pairs(0)
    l_1, l_2, _ = gaussian_pairs(1)
    rows = [
        np.sqrt(((m1[i] - m2[i]) ** 2).sum() + ((np.exp(l_1[i] / 2) - np.exp(l_2[i] / 2)) ** 2).sum())
        for i in range(len(m1))
    ]
    first, second = tensors(m1, l_1), tensors(m2, l_2)
    assert float(wasserstein((first[0], first[1]), (second[0], second[1]))) == pytest.approx(np.mean(rows))


def test_contrast() -> None:
    codes, _, y = gaussian_pairs()
    y[0] = 9  # an anchor without positives is left out
    unit = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    terms = []
    for i in range(len(y)):
        others = [j for j in range(len(y)) if j != i]
        positives = [j for j in others if y[j] == y[i]]
        total = sum(np.exp(unit[i] @ unit[j] / 0.1) for j in others)
        if positives:
            terms.append(np.mean([-np.log(np.exp(unit[i] @ unit[j] / 0.1) / total) for j in positives]))
    x, labels = tensors(codes, y)
    assert float(contrast(x, labels, 0.1)) == pytest.approx(np.mean(terms))


def test_comparator_is_an_mlp_on_pairs() -> None:
    torch.manual_seed(0)
    compare = Comparator(4, 3, 6)
    h, a = torch.randn(5, 4), torch.randn(2, 3)
    first = torch.cat([compare.of_image.weight, compare.of_class.weight], dim=1)
    for i in range(5):
        for k in range(2):
            hidden = torch.nn.functional.leaky_relu(first @ torch.cat([h[i], a[k]]) + compare.of_image.bias, 0.2)
            torch.testing.assert_close(compare(h, a)[i, k], compare.last(hidden)[0])


def test_soul_terms() -> None:
    random = np.random.default_rng(0)
    x = np.concatenate([random.normal(c, 0.01, (10, 2)) for c in (0.0, 5.0, 9.0)])
    souls = soul_samples(torch.from_numpy(x), torch.zeros(30, dtype=torch.long), 3)
    np.testing.assert_allclose(np.sort(souls[0, :, 0].numpy()), [0, 5, 9], atol=0.05)
    few = soul_samples(torch.from_numpy(x[:2]), torch.zeros(2, dtype=torch.long), 3)
    assert few.shape == (1, 3, 2), "a class with two images repeats a soul"
    points = random.normal(size=(6, 2))
    wanted = [min(((p - s) ** 2).mean() for s in souls[0].numpy()) for p in points]
    np.testing.assert_allclose(to_nearest_soul(torch.from_numpy(points), souls.expand(6, -1, -1)).numpy(), wanted)


def test_cascade_learns_from_the_most_certain_images() -> None:
    taught = np.zeros((1, 2), np.float32), np.array([1])
    images = np.array([[1, 1], [2, 2], [3, 3]], np.float32)
    scores = np.log(np.array([[0.5, 0.5], [0.99, 0.01], [0.2, 0.8]], np.float32))
    x, y = with_certain(taught, images, scores, 2 / 3)
    np.testing.assert_array_equal(x, [[0, 0], [2, 2], [3, 3]])
    np.testing.assert_array_equal(y, [1, 0, 1])


def test_over_complete_samples_lie_towards_the_nearest_other_class() -> None:
    x, _, y = gaussian_pairs()
    found = over_complete(*tensors(x, y), 0.25).numpy()
    for i in range(len(y)):
        others = [j for j in range(len(y)) if y[j] != y[i]]
        nearest = min(others, key=lambda j: float(np.linalg.norm(x[i] - x[j])))
        np.testing.assert_allclose(found[i], 0.75 * x[i] + 0.25 * x[nearest])
    same = torch.zeros(len(y), dtype=torch.long)
    np.testing.assert_array_equal(over_complete(torch.from_numpy(x), same, 0.5).numpy(), x)


def test_batch_triplet_and_centre_loss() -> None:
    x, own, y = gaussian_pairs()
    terms = []
    for i in range(len(y)):
        distance = np.linalg.norm(x - x[i], axis=1)
        positives = [distance[j] for j in range(len(y)) if y[j] == y[i] and j != i]
        negatives = [distance[j] for j in range(len(y)) if y[j] != y[i]]
        if positives and negatives:
            terms.append(max(0.0, max(positives) - min(negatives) + 0.5))
    codes, images, labels = tensors(x, own, y)
    assert float(batch_triplet(codes, labels, 0.5)) == pytest.approx(np.mean(terms))
    assert float(batch_triplet(codes, torch.zeros(len(y), dtype=torch.long), 0.5)) == 0
    wanted = np.mean([((x[i] - own[y == y[i]].mean(0)) ** 2).sum() / 2 for i in range(len(y))])
    assert float(centre_loss(codes, images, labels, 4)) == pytest.approx(wanted)


def test_generator_terms_of_the_wgans() -> None:
    method = made("lisgan", hidden=8, epochs=1, pretrain_epochs=1, cls_weight=0.3).fit(two_gaussians(20))
    assert isinstance(method, LisGAN)
    x, a, y = torch.randn(6, 2), torch.eye(2)[[0, 1, 1, 0, 0, 1]], torch.tensor([0, 1, 1, 0, 0, 1])
    guided = method.guidance(x, x, a, y)
    p = torch.softmax(method.judge(x), 1)[torch.arange(6), y]
    torch.testing.assert_close(guided["cls"], -0.3 * p.log().mean())
    souls = method.souls.numpy()
    near = [min(((x[i].numpy() - s) ** 2).mean() for s in souls[y[i]]) for i in range(6)]
    assert float(guided["soul"]) == pytest.approx(0.01 * np.mean(near), rel=1e-5)
    centres = [x[y == k].mean(0).numpy() for k in range(2)]
    wanted = np.mean([min(((centres[k] - s) ** 2).mean() for s in souls[k]) for k in range(2)])
    assert float(guided["mean"]) == pytest.approx(0.01 * wanted, rel=1e-5)


# The networks and losses of the papers in NumPy, in float64, with every number drawn recorded.

Array = np.ndarray


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> list[Array]:
    """Every z and ε that is drawn, in order."""
    found: list[Array] = []

    def recording(draw: Any) -> Any:
        def recorded(*arguments: Any, **options: Any) -> torch.Tensor:
            made = draw(*arguments, **options)
            found.append(made.double().numpy())
            return made

        return recorded

    monkeypatch.setattr(torch, "randn", recording(torch.randn))
    monkeypatch.setattr(torch, "randn_like", recording(torch.randn_like))
    return found


def linear(layer: torch.nn.Linear, x: Array) -> Array:
    bias = 0.0 if layer.bias is None else layer.bias.detach().double().numpy()
    return x @ layer.weight.detach().double().numpy().T + bias


def leaky(x: Array) -> Array:
    return np.where(x > 0, x, 0.2 * x)


def mlp(module: MLP, x: Array) -> Array:
    return linear(module.out, leaky(linear(module.hidden[0], x)))


def encoded(module: Encoder, *x: Array) -> tuple[Array, Array]:
    """Mean and log-variance."""
    mean, log_variance = np.split(linear(module.heads, leaky(linear(module.hidden[0], np.hstack(x)))), 2, axis=1)
    return mean, log_variance


def drawn_from(posterior: tuple[Array, Array], epsilon: Array) -> Array:
    mean, log_variance = posterior
    return mean + np.exp(log_variance / 2) * epsilon


def generate(module: Generator, z: Array, a: Array, feedback: Array | float = 0.0) -> Array:
    return linear(module.net[2], leaky(linear(module.net[0], np.hstack([z, a]))) + feedback)


def judged(module: Critic, x: Array, a: Array) -> tuple[Array, Array]:
    """The critic's hidden layer, and its opinion."""
    hidden = leaky(linear(module.first, np.hstack([x, a])))
    return hidden, linear(module.last, hidden)[:, 0]


def cross_entropy(logits: Array, y: Array) -> float:
    return float(np.mean([np.log(np.exp(row).sum()) - row[k] for row, k in zip(logits, y, strict=True)]))


def squares(first: Array, second: Array) -> float:
    """‖first − second‖², mean over the batch."""
    return float(((first - second) ** 2).sum(axis=1).mean())


def kl(posterior: tuple[Array, Array]) -> float:
    mean, log_variance = posterior
    return float(0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).sum(axis=1).mean())


def contrasted(codes: Array, y: Array, temperature: float) -> float:
    """For each anchor with positives: the mean of −log of each positive's share of the softmax over all others."""
    unit, terms = codes / np.linalg.norm(codes, axis=1, keepdims=True), []
    for i in range(len(y)):
        shares = np.exp(unit @ unit[i] / temperature)
        shares /= shares.sum() - shares[i]
        positives = [j for j in range(len(y)) if y[j] == y[i] and j != i]
        if positives:
            terms.append(-np.log(shares[positives]).mean())
    return float(np.mean(terms))


def six() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(3)
    y = torch.tensor([0, 1, 1, 0, 0, 1])
    return torch.randn(6, 2), torch.eye(2)[y], y


def doubles(*values: torch.Tensor) -> list[Array]:
    return [value.double().numpy() if value.is_floating_point() else value.numpy() for value in values]


def floats(terms: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: float(value.detach()) for name, value in terms.items()}


def training(name: str, **settings: Any) -> Any:
    """A method as it stands in training, after an epoch."""
    method = made(name, hidden=8, latent=3, epochs=1, lr=0.05, batch_size=10, **settings).fit(two_gaussians(20))
    method._mode(training=True)
    return method


@pytest.mark.parametrize(("epoch", "share"), [(0, 0.1), (4, 0.5), (9, 1.0), (30, 1.0)])
def test_terms_of_the_cvae_while_its_kl_warms_up(epoch: int, share: float, draws: list[Array]) -> None:
    method = training("cvae-zsl", kl_weight=0.7, kl_warmup=10)
    x, a, y = six()
    draws.clear()
    found = floats(method.terms(x, a, y, epoch))
    (epsilon,), (x, a) = draws, doubles(x, a)
    posterior = encoded(method.encoder, x, a)
    rebuilt = squares(x, generate(method.generator, drawn_from(posterior, epsilon), a))
    wanted = {"reconstruction": rebuilt, "kl": kl(posterior), "total": rebuilt + 0.7 * share * kl(posterior)}
    assert found == pytest.approx(wanted, rel=1e-5)


def test_terms_of_se_zsl(draws: list[Array]) -> None:
    """Feedback on x̂ = G(z, a) of the prior, each a sum over dimensions but the signature's, which is a mean of them."""
    method = training("se-zsl", feedback=0.7, realism=0.3, cycle=0.2, kl_weight=0.4)
    x, a, y = six()
    draws.clear()
    found, regression = floats(method.terms(x, a, y, 9)), floats(method.regression(x, a, y))
    (epsilon, z, other), (x, a) = draws, doubles(x, a)
    posterior, drawn = encoded(method.encoder, x, a), generate(method.generator, z, a)
    wanted = {
        "reconstruction": squares(x, generate(method.generator, drawn_from(posterior, epsilon), a)),
        "kl": kl(posterior),
        "feedback": squares(mlp(method.regressor, drawn), a),  # as many attributes as dimensions: 2
        "realism": squares(drawn, x),
        "cycle": 2 / 3 * squares(encoded(method.encoder, drawn, a)[0], z),
    }
    weights = {"reconstruction": 1.0, "kl": 0.4, "feedback": 0.7, "realism": 0.3, "cycle": 0.2}
    total = sum(weights[name] * value for name, value in wanted.items())
    assert found == pytest.approx({**wanted, "total": total}, rel=1e-5)
    synthetic = squares(mlp(method.regressor, generate(method.generator, other, a)), a) / 2
    real = squares(mlp(method.regressor, x), a) / 2
    assert regression == pytest.approx({"real": real, "synthetic": synthetic, "total": real + synthetic}, rel=1e-5)


@pytest.mark.parametrize("name", ["f-vaegan-d2", "jgm-zsl", "tf-vaegan"])
def test_terms_of_the_vaegans(name: str, draws: list[Array]) -> None:
    """JGM-ZSL adds a perceptual error and a categoriser; TF-VAEGAN a decoder, whose hidden layer leads half a batch."""
    own: dict[str, Any] = {"jgm-zsl": {"perceptual": 0.3, "cls_weight": 0.6}, "tf-vaegan": {"decoding": 0.4}}
    method = training(name, adversarial=0.5, kl_weight=0.7, **own.get(name, {}))
    tensors = six()
    draws.clear()
    found = floats(method.generator_terms(*tensors))
    (epsilon, z), (x, a, y) = draws, doubles(*tensors)

    def synthesised(z: Array) -> Array:
        first = generate(method.generator, z, a)
        if name != "tf-vaegan":
            return first
        led = mlp(method.feedback, leaky(linear(method.decoder.hidden[0], first)))
        return np.vstack([first[:3], generate(method.generator, z, a, method.settings.strength * led)[3:]])

    posterior = encoded(method.encoder, x, a)
    output, drawn = synthesised(drawn_from(posterior, epsilon)), synthesised(z)
    both, twice = np.vstack([drawn, output]), np.vstack([a, a])
    wanted = {
        "reconstruction": squares(x, output),
        "kl": 0.7 * kl(posterior),
        "adversarial": -0.5 * judged(method.critic, drawn, a)[1].mean(),
    }
    if name == "jgm-zsl":
        looks = [judged(method.critic, features, a)[0] for features in (x, output)]
        wanted["perceptual"] = 0.3 * squares(*looks)
        wanted["cls"] = 0.6 * cross_entropy(linear(method.categoriser, both), np.hstack([y, y]))
    if name == "tf-vaegan":
        wanted["decoding"] = 0.4 * np.abs(mlp(method.decoder, both) - twice).sum(axis=1).mean()
        decoder = floats(method.decoder_terms(*tensors))
        assert decoder == pytest.approx({"total": np.abs(mlp(method.decoder, x) - a).mean()}, rel=1e-5)
    assert found == pytest.approx({**wanted, "total": sum(wanted.values())}, rel=1e-5)


@pytest.mark.parametrize("epoch", [0, 1, 3, 9])
def test_terms_of_cada_vae(epoch: int, draws: list[Array]) -> None:
    """Each weight climbs over its own span: β over 8 epochs, the crossing over 2 to 4, the alignment over 0 to 2."""
    spans = {"beta_span": (0, 8), "cross_span": (2, 4), "alignment_span": (0, 2)}
    sizes = {"image_hidden": (8, 7), "signature_hidden": (6, 5), "latent": 3}
    method = made("cada-vae", epochs=1, **sizes, **spans, beta=0.5, cross=1.5, alignment=2.0).fit(two_gaussians(20))
    assert isinstance(method, CADAVAE)
    x, a, y = six()
    draws.clear()
    found = floats(method.terms(x, a, y, epoch))
    (of_image, of_signature), (x, a) = draws, doubles(x, a)
    image, signature = encoded(method.image_encoder, x), encoded(method.signature_encoder, a)
    z = drawn_from(image, of_image), drawn_from(signature, of_signature)
    decoders = (method.image_decoder, x), (method.signature_decoder, a)
    error = np.array([[np.abs(mlp(net, code) - real).sum(axis=1).mean() for net, real in decoders] for code in z])
    spread = [np.exp(log_variance / 2) for _, log_variance in (image, signature)]
    apart = np.sqrt(((image[0] - signature[0]) ** 2 + (spread[0] - spread[1]) ** 2).sum(axis=1)).mean()
    wanted = {
        "reconstruction": error[0, 0] + error[1, 1],
        "kl": 0.5 * min(epoch / 8, 1) * (kl(image) + kl(signature)),
        "cross": 1.5 * {0: 0.0, 1: 0.0, 3: 0.5, 9: 1.0}[epoch] * (error[0, 1] + error[1, 0]),
        "alignment": 2.0 * min(epoch / 2, 1) * apart,
    }
    assert found == pytest.approx({**wanted, "total": sum(wanted.values())}, rel=1e-5)


def test_mapping_terms_of_rff_gzsl(draws: list[Array]) -> None:
    """The multiplier of the bound is softplus(value); it climbs with the excess, M descends it."""
    method = training("rff-gzsl", mapped=4, bound=0.2, centre=0.3)
    tensors = six()
    draws.clear()
    terms = method.mapping_terms(*tensors)
    (z, epsilon), (x, a, y) = draws, doubles(*tensors)
    labels = np.hstack([y, y])
    posterior = encoded(method.mapping, np.vstack([x, generate(method.generator, z, a)]))
    code = drawn_from(posterior, epsilon)
    centres = method.centres.weight.detach().double().numpy()
    wanted = {
        "cls": cross_entropy(linear(method.judge, code), labels),
        "centre": squares(code, centres[labels]) / 4,
        "excess": kl(posterior) / 4 - 0.2,
    }
    total = wanted["cls"] + 0.3 * wanted["centre"]  # the multiplier's two halves cancel in value, not in gradient
    assert floats(terms) == pytest.approx({**wanted, "total": total}, rel=1e-5)
    (slope,) = torch.autograd.grad(terms["total"], method.multiplier.value, retain_graph=True)
    value = float(method.multiplier.value.detach())
    assert float(slope) == pytest.approx(-wanted["excess"] / (1 + np.exp(-value)), rel=1e-5)
    weight = np.log1p(np.exp(value))
    found = torch.autograd.grad(terms["total"], method.mapping.heads.bias, retain_graph=True)[0]
    parts = {"cls": 1.0, "centre": 0.3, "excess": weight}
    pulls = [
        part * torch.autograd.grad(terms[name], method.mapping.heads.bias, retain_graph=True)[0]
        for name, part in parts.items()
    ]
    torch.testing.assert_close(found, sum(pulls, torch.zeros_like(found)), rtol=1e-4, atol=1e-6)


def test_terms_of_ce_gzsl(draws: list[Array]) -> None:
    sizes = {"embedding": 6, "projection": 4, "comparator": 5}
    method = training("ce-gzsl", **sizes, temperature=0.5, instance=0.3, class_level=0.2)
    tensors = six()
    draws.clear()
    embedding = floats(method.embedding_terms(*tensors, torch.eye(2)))
    terms = floats(method.generator_terms(*tensors, torch.eye(2)))
    (z,), (x, a, y) = draws, doubles(*tensors)

    def embed(features: Array) -> Array:
        return np.maximum(linear(method.embedding[0], features), 0)

    def compared(h: Array) -> Array:
        net = method.comparator
        hidden = linear(net.of_image, h)[:, None] + linear(net.of_class, np.eye(2))
        return linear(net.last, leaky(hidden))[:, :, 0] / 0.5

    codes = linear(method.projection, embed(x))
    instance, among = contrasted(codes, y, 0.5), cross_entropy(compared(embed(x)), y)
    assert embedding == pytest.approx({"instance": instance, "class": among, "total": instance + among}, rel=1e-5)
    drawn = generate(method.generator, z, a)
    wanted = {
        "adversarial": -judged(method.critic, drawn, a)[1].mean(),
        "instance": contrasted(np.vstack([linear(method.projection, embed(drawn)), codes]), np.hstack([y, y]), 0.5),
        "class": cross_entropy(compared(embed(drawn)), y),
    }
    total = wanted["adversarial"] + 0.3 * wanted["instance"] + 0.2 * wanted["class"]
    assert terms == pytest.approx({**wanted, "total": total}, rel=1e-5)


def test_feedback_changes_the_generator_and_the_classifier_sees_the_decoder() -> None:
    method = made("tf-vaegan", hidden=8, latent=3, epochs=1).fit(two_gaussians(20))
    assert isinstance(method, TFVAEGAN)
    z, a = torch.randn(5, 3), torch.eye(2)[[0, 1, 1, 0, 0]]
    assert not torch.allclose(method.synthesise(z, a), method.averaged(z, a))
    method._mode(training=True)
    first = method.generator(z, a)
    again = method.generator(z, a, method.feedback(method.decoder.hidden(first)))
    torch.testing.assert_close(method.synthesise(z, a), torch.cat([first[:2], again[2:]]))
    method._mode(training=False)
    x = torch.randn(5, 2)
    seen = method.embed(x)
    assert seen.shape == (5, 2 + 8 + 2)
    torch.testing.assert_close(seen[:, :2], x)
    torch.testing.assert_close(seen[:, -2:], method.decoder(x))


def test_dropout_is_off_once_fitted() -> None:
    method = made("cvae-zsl", hidden=8, latent=3, epochs=1, dropout=0.5).fit(two_gaussians(20))
    assert isinstance(method, CVAEZSL)
    x, a = torch.randn(5, 2), torch.randn(5, 2)
    assert torch.equal(method.encode(x, a)[0], method.encode(x, a)[0])


def test_a_cascade_depends_on_the_images_scored_together(toy_task: Task) -> None:
    quick: dict[str, Any] = {"hidden": 16, "epochs": 2, "pretrain_epochs": 1, "critic_steps": 1}
    method = made("lisgan", **quick, generate={"per_unseen": 20}, classify={"epochs": 3, "lr": 0.03})
    method.fit(toy_task.train)
    images, mask = toy_task.unseen_features, toy_task.seen_mask
    alone = method.for_classes(toy_task.signatures, mask).scores(images[:5])
    np.testing.assert_allclose(method.for_classes(toy_task.signatures, mask).scores(images)[:5], alone, atol=1e-4)
    method.settings = method.settings.model_copy(update={"cascade": 0.5})
    together = method.for_classes(toy_task.signatures, mask).scores(images)[:5]
    assert not np.allclose(together, alone, atol=1e-3)


def test_checkpoints_of_a_method_belong_to_its_data_seed_settings_and_code(tmp_path, monkeypatch) -> None:
    train = two_gaussians(20)
    for seed, data, lr in ((0, train, 1e-3), (1, train, 1e-3), (0, replace(train, features=train.features * 2), 1e-3)):
        method = made("f-clswgan", hidden=8, epochs=1, pretrain_epochs=1, lr=lr)
        method.checkpoints = tmp_path
        method.fit(data, seed)
    assert len(list(tmp_path.glob("f-clswgan-*.safetensors"))) == 3
    again = made("f-clswgan", hidden=8, epochs=1, pretrain_epochs=1, lr=1e-3)
    assert isinstance(again, FCLSWGAN)
    again.checkpoints = tmp_path
    again.fit(train, 0)
    assert len(list(tmp_path.glob("*"))) == 3, "the same run uses the same file"
    monkeypatch.setattr("zslcore.io.artifacts.code", lambda: "edited")
    again.fit(train, 0)
    assert len(list(tmp_path.glob("*"))) == 4, "other code is another run"


def short(name: str, folder: Path | None) -> Generative:
    quick = {"hidden": 8, "image_hidden": (8, 8), "signature_hidden": (8, 8), "pretrain_epochs": 1, "batch_size": 20}
    known = {key: value for key, value in quick.items() if key in registry.get(name).Settings.model_fields}
    method = made(name, **known, latent=3, epochs=5)
    method.checkpoints, method.checkpoint_every = folder, 2
    return method


def fit_and_die(name: str, folder: Path, after: int) -> None:
    def observe(done: int) -> None:
        if done == after:
            os.kill(os.getpid(), signal.SIGKILL)

    short(name, folder).fit(two_gaussians(20), 0, observe)


@pytest.mark.parametrize("name", sorted([*GENERATORS, "cada-vae"]))
def test_killed_and_resumed_ends_in_the_same_bytes(name: str, tmp_path: Path) -> None:
    """Killed after epoch 3, it goes on from the checkpoint of epoch 2."""
    run = multiprocessing.get_context("forkserver").Process(target=fit_and_die, args=(name, tmp_path, 3))
    run.start()
    run.join(timeout=60)
    assert run.exitcode == -signal.SIGKILL
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    begun: list[int] = []
    resumed = short(name, tmp_path).fit(two_gaussians(20), 0, begun.append)
    assert begun == [3, 4, 5], "the first two epochs are not repeated"
    whole = short(name, None).fit(two_gaussians(20), 0, lambda done: None)
    assert resumed.curve == whole.curve
    wanted, found = whole.state(), resumed.state()
    assert wanted.keys() == found.keys()
    for key, value in wanted.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


@pytest.mark.parametrize("name", ["f-clswgan", "f-vaegan-d2"])
def test_a_diverging_gan_names_the_last_good_checkpoint(name: str, tmp_path: Path) -> None:
    """A critic without gradient penalty explodes, some epochs after the first checkpoint."""
    method = made(name, hidden=8, epochs=50, critic_lr=300.0, lr=1e-3, penalty=0.0, batch_size=20, latent=3)
    method.checkpoints, method.checkpoint_every = tmp_path, 1
    with pytest.raises(
        ZSLError, match=rf"{name}: the loss \(\w+\.total\) is .* in epoch \d+; use a smaller lr"
    ) as error:
        method.fit(two_gaussians(20))
    (checkpoint,) = tmp_path.glob("*.safetensors")
    assert str(error.value).endswith(f"the last good checkpoint is {checkpoint}")
