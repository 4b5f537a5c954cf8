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
from zslcore.methods.ce_gzsl import CEGZSL, Comparator, contrast
from zslcore.methods.cvae_zsl import CVAEZSL
from zslcore.methods.f_clswgan import FCLSWGAN
from zslcore.methods.f_vaegan_d2 import FVAEGAN, bernoulli
from zslcore.methods.jgm_zsl import JGMZSL
from zslcore.methods.lisgan import LisGAN, soul_samples, to_nearest_soul, with_certain
from zslcore.methods.ocd import batch_triplet, centre_loss, over_complete
from zslcore.methods.rff_gzsl import RFFGZSL
from zslcore.methods.se_zsl import SEZSL
from zslcore.methods.tf_vaegan import TFVAEGAN
from zslcore.nn.cvae import reparameterise

ROOT = Path(__file__).resolve().parents[2]
MEANS = np.array([[-1.0, 0.0], [1.0, 0.5]])
COVARIANCES = np.array([[[0.3, 0.1], [0.1, 0.2]], [[0.2, -0.1], [-0.1, 0.4]]])
MEAN_BOUND, COVARIANCE_BOUND = 0.2, 0.2
"""Largest error of an entry of a class's mean and covariance (the classes' means are 2.06 apart)."""


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
    "cvae-zsl": VAE,
    "se-zsl": {**VAE, "realism": 0.0, "feedback": 0.1},
    "ocd": {**VAE, "kl_weight": 0.05, "feedback": 0.1, "triplet": 0.01, "centre": 0.001},
    "f-clswgan": {**GAN, "pretrain_epochs": 5},
    "lisgan": {**GAN, "pretrain_epochs": 5},
    "ce-gzsl": {**GAN, "embedding": 16, "projection": 8, "comparator": 8},
    "rff-gzsl": {**GAN, "mapped": 8},
    "f-vaegan-d2": {**GAN, "kl_weight": 0.1, "adversarial": 1.0},
    "tf-vaegan": {**GAN, "kl_weight": 0.1, "adversarial": 1.0, "strength": 0.3},
    "jgm-zsl": {**GAN, "kl_weight": 0.1, "cls_weight": 0.01, "perceptual": 0.1},
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
        assert np.linalg.eigvalsh(np.cov(x.T)).min() > 0.02, "collapsed"


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
            assert np.abs(np.cov(draws.numpy().T) - np.cov(images.T)).max() < 0.06, "the largest variance is 0.19"
            assert np.abs(method.image_decoder(draws).numpy().mean(0) - MEANS[k]).max() < 0.35


def test_paper_settings_are_valid() -> None:
    table = YAML(typ="safe", pure=True).load((ROOT / "experiments" / "paper.yaml").read_text(encoding="utf-8"))
    rows = {name: row for name, row in table.items() if not name.startswith(".")}
    assert {"cvae-zsl", "f-clswgan", "lisgan", "cada-vae", "tf-vaegan", "f-vaegan-d2", "ce-gzsl"} == set(rows)
    for name, row in rows.items():
        for dataset, given in row.items():
            assert registry.get(name).Settings(**given["settings"]), f"{name} on {dataset}"
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


def test_evidence_is_reconstruction_plus_weighted_kl() -> None:
    method = made("cvae-zsl", hidden=8, latent=3, epochs=1, kl_weight=0.7).fit(two_gaussians(20))
    assert isinstance(method, CVAEZSL)
    x, a = torch.randn(6, 2), torch.randn(6, 2)
    terms, output = method.evidence(x, a, 5)
    mean, log_variance = (part.detach().numpy() for part in method.encode(x, a))
    kl = -0.5 * (1 + log_variance - mean**2 - np.exp(log_variance)).sum() / 6
    rebuilt = ((x - output).detach().numpy() ** 2).sum() / 6
    assert float(terms["total"].detach()) == pytest.approx(rebuilt + 0.7 * kl, rel=1e-5)


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


def six() -> tuple[torch.Tensor, ...]:
    torch.manual_seed(3)
    y = torch.tensor([0, 1, 1, 0, 0, 1])
    return torch.randn(6, 2), torch.eye(2)[y], y


def floats(terms: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: float(value.detach()) for name, value in terms.items()}


def cross_entropy(logits: torch.Tensor, y: torch.Tensor) -> float:
    z = logits.detach().double().numpy()
    return float(np.mean([np.log(np.exp(z[i]).sum()) - z[i, y[i]] for i in range(len(z))]))


def mean_square(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(((first.detach().numpy() - second.detach().numpy()) ** 2).mean())


def kl(mean: torch.Tensor, log_variance: torch.Tensor) -> float:
    m, v = mean.detach().numpy(), np.exp(log_variance.detach().numpy())
    return float(0.5 * (m**2 + v - 1 - np.log(v)).sum(1).mean())


def test_feedback_terms_of_se_zsl() -> None:
    weights = {"feedback": 0.7, "realism": 0.3, "cycle": 0.2}
    method = made("se-zsl", hidden=8, latent=3, epochs=1, **weights).fit(two_gaussians(20))
    assert isinstance(method, SEZSL)
    x, a, y = six()
    torch.manual_seed(5)
    terms = floats(method.terms(x, a, y, 9))
    torch.manual_seed(5)
    evidence = floats(method.evidence(x, a, 9)[0])
    z = method.noise(x)
    drawn = method.generator(z, a)
    wanted = {
        "feedback": 2 * mean_square(method.regressor(drawn), a),
        "realism": 2 * mean_square(drawn, x),
        "cycle": 2 * mean_square(method.encode(drawn, a)[0], z),
    }
    total = evidence["total"] + sum(weights[name] * value for name, value in wanted.items())
    assert terms == pytest.approx({**evidence, **wanted, "total": total}, rel=1e-5)
    torch.manual_seed(5)
    regression = floats(method.regression(x, a, y))
    torch.manual_seed(5)
    synthetic = mean_square(method.regressor(method.generator(method.noise(x), a)), a)
    real = mean_square(method.regressor(x), a)
    assert regression == pytest.approx({"real": real, "synthetic": synthetic, "total": real + synthetic}, rel=1e-5)


def test_generator_terms_of_the_vaegans() -> None:
    """Those of JGM-ZSL and TF-VAEGAN are f-VAEGAN's and their guidance."""
    x, a, y = six()
    for name, settings in (("jgm-zsl", {"perceptual": 0.3, "cls_weight": 0.6}), ("tf-vaegan", {"decoding": 0.4})):
        weights = {"adversarial": 0.5, "kl_weight": 0.7}
        method = made(name, hidden=8, latent=3, epochs=1, **weights, **settings).fit(two_gaussians(20))
        assert isinstance(method, FVAEGAN)
        torch.manual_seed(5)
        terms = floats(method.generator_terms(x, a, y))
        torch.manual_seed(5)
        mean, log_variance = method.encoder(torch.cat([x, a], dim=1))
        output = method.synthesise(reparameterise(mean, log_variance), a)
        drawn = method.synthesise(method.noise(x), a)
        wanted = {
            "reconstruction": 2 * mean_square(x, output),
            "kl": 0.7 * kl(mean, log_variance),
            "adversarial": -0.5 * float(method.critic(drawn, a).detach().numpy().mean()),
        }
        both, signatures, labels = torch.cat([drawn, output]), torch.cat([a, a]), torch.cat([y, y])
        if isinstance(method, JGMZSL):
            wanted["perceptual"] = 0.3 * 8 * mean_square(method.critic.hidden(x, a), method.critic.hidden(output, a))
            wanted["cls"] = 0.6 * cross_entropy(method.categoriser(both), labels)
        else:
            assert isinstance(method, TFVAEGAN)
            apart = np.abs(method.decoder(both).detach().numpy() - signatures.numpy())
            wanted["decoding"] = 0.4 * apart.sum(1).mean()
            decoder = floats(method.decoder_terms(x, a, y))
            assert decoder == pytest.approx({"total": np.abs(method.decoder(x).detach().numpy() - a.numpy()).mean()})
        assert terms == pytest.approx({**wanted, "total": sum(wanted.values())}, rel=1e-5)


def test_terms_of_cada_vae() -> None:
    spans = {"beta_span": (0, 8), "cross_span": (0, 4), "alignment_span": (0, 2)}
    sizes = {"image_hidden": (8, 8), "signature_hidden": (8, 8), "latent": 3}
    weights = {"beta": 0.5, "cross": 1.5, "alignment": 2.0}
    method = made("cada-vae", epochs=1, **sizes, **spans, **weights).fit(two_gaussians(20))
    assert isinstance(method, CADAVAE)
    x, a, y = six()
    torch.manual_seed(5)
    terms = floats(method.terms(x, a, y, 1))
    torch.manual_seed(5)
    image, signature = method.image_encoder(x), method.signature_encoder(a)
    z = {"x": reparameterise(*image), "a": reparameterise(*signature)}

    def error(source: str, target: str) -> float:
        decoder, real = (method.image_decoder, x) if target == "x" else (method.signature_decoder, a)
        return float(np.abs(decoder(z[source]).detach().numpy() - real.numpy()).sum(1).mean())

    wanted = {
        "reconstruction": error("x", "x") + error("a", "a"),
        "kl": 0.5 / 8 * (kl(*image) + kl(*signature)),
        "cross": 1.5 / 4 * (error("a", "x") + error("x", "a")),
        "alignment": 2.0 / 2 * float(wasserstein(image, signature).detach()),
    }
    assert terms == pytest.approx({**wanted, "total": sum(wanted.values())}, rel=1e-5)


def test_mapping_terms_of_rff_gzsl() -> None:
    """The multiplier of the bound is softplus(value); it climbs with the excess, M descends it."""
    method = made("rff-gzsl", hidden=8, latent=3, mapped=4, epochs=1, bound=0.2, centre=0.3).fit(two_gaussians(20))
    assert isinstance(method, RFFGZSL)
    x, a, y = six()
    torch.manual_seed(5)
    found = method.mapping_terms(x, a, y)
    torch.manual_seed(5)
    mean, log_variance = method.mapping(torch.cat([x, method.synthesise(method.noise(x), a)]))
    z, labels = reparameterise(mean, log_variance), torch.cat([y, y])
    wanted = {
        "cls": cross_entropy(method.judge(z), labels),
        "centre": mean_square(z, method.centres.weight[labels]),
        "excess": kl(mean, log_variance) / 4 - 0.2,
    }
    total = wanted["cls"] + 0.3 * wanted["centre"]  # the multiplier's two halves cancel in value, not in gradient
    assert floats(found) == pytest.approx({**wanted, "total": total}, rel=1e-5)
    (slope,) = torch.autograd.grad(found["total"], method.multiplier.value, retain_graph=True)
    value = float(method.multiplier.value.detach())
    assert float(slope) == pytest.approx(-wanted["excess"] / (1 + np.exp(-value)), rel=1e-5)


def test_terms_of_ce_gzsl() -> None:
    sizes = {"hidden": 8, "latent": 3, "embedding": 6, "projection": 4, "comparator": 5}
    method = made("ce-gzsl", epochs=1, **sizes, temperature=0.5, instance=0.3, class_level=0.2).fit(two_gaussians(20))
    assert isinstance(method, CEGZSL)
    x, a, y = six()
    h = method.embedding(x)
    instance = float(contrast(method.projection(h), y, 0.5).detach())
    among = cross_entropy(method.comparator(h, a[:2]) / 0.5, y)
    embedding = floats(method.embedding_terms(x, a, y, a[:2]))
    assert embedding == pytest.approx({"instance": instance, "class": among, "total": instance + among}, rel=1e-5)
    torch.manual_seed(5)
    terms = floats(method.generator_terms(x, a, y, a[:2]))
    torch.manual_seed(5)
    drawn = method.synthesise(method.noise(x), a)
    codes = torch.cat([method.projection(method.embedding(drawn)), method.projection(h)])
    wanted = {
        "adversarial": -float(method.critic(drawn, a).detach().numpy().mean()),
        "instance": float(contrast(codes, torch.cat([y, y]), 0.5).detach()),
        "class": cross_entropy(method.comparator(method.embedding(drawn), a[:2]) / 0.5, y),
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
