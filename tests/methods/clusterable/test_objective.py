"""The whole objective of the main method, and its gradient, against NumPy written from the paper's equations."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from zslcore.methods.clusterable.train import Member, Trained, objective, train
from zslcore.scaling import Scaler
from zslcore.settings import Noise, Train
from zslcore.training.loop import batches
from zslcore.training.seeding import seeded

CPU = torch.device("cpu")
N, D, M, LATENT, ATTRIBUTES, CLASSES = 7, 6, 4, 3, 2, 5
"""Sizes of a batch; all of them differ, so that no tensor can stand in the place of another."""
SCALE = 15.0
"""Of R's cosines."""
NOISES = ("target", "encoder", "both", "synthetic", "none")
FEEDBACK: dict[str, dict[str, Any]] = {
    "none": {},
    "regression of x′": {"feedback": 0.6},
    "regression of noisy x′": {"feedback": 0.6, "feedback_noise": 0.4},
    "regression of F(x)": {"feedback": 0.6, "feedback_from": "features", "feedback_noise": 0.4},
    "cosines of x′": {"feedback": 0.6, "feedback_loss": "cosine"},
    "cosines of noisy F(x)": {
        "feedback": 0.6, "feedback_loss": "cosine", "feedback_from": "features", "feedback_noise": 0.4,
    },
}  # fmt: skip
Arrays = dict[str, np.ndarray]


def settings_of(noise: str = "none", **changes: Any) -> Train:
    """Every weight differs from the others, from 0 and from 1."""
    weights = {"lambda_cls": 0.7, "lambda_synthetic": 0.3, "kl_weight": 0.2}
    sizes = {"hidden": 5, "projection": M, "latent": LATENT, "output": "linear"}
    return Train(noise=Noise(strength=0.8, applies_to=noise), **{**sizes, **weights, **changes})  # type: ignore[arg-type]


def terms(member: Member, settings: Train, x: Any, y: Any, a: Any) -> dict[str, torch.Tensor]:
    return objective(member, settings, *(torch.as_tensor(value) for value in (x, y, a)))


def member_of(settings: Train, seed: int = 0) -> Member:
    torch.manual_seed(seed)
    member = Member(settings, D, ATTRIBUTES, CLASSES)
    with torch.no_grad():
        member.centre.normal_()
        for parameter in member.parameters():
            parameter.mul_(2).add_(0.3)  # away from where losses are flat
    return member


def batch(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x, a = random.normal(size=(N, D)), random.normal(size=(CLASSES, ATTRIBUTES))
    return x.astype("f4"), random.integers(0, CLASSES, N), a.astype("f4")


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Every ε ~ N(0, 1) that is drawn, in order."""
    found: list[np.ndarray] = []
    draw = torch.randn_like

    def recorded(x: torch.Tensor, **options: Any) -> torch.Tensor:
        epsilon = draw(x, **options)
        found.append(epsilon.detach().double().numpy())
        return epsilon

    monkeypatch.setattr(torch, "randn_like", recorded)
    return found


# The paper's networks and equations, in float64.


def linear(p: Arrays, name: str, x: np.ndarray) -> np.ndarray:
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def leaky(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0.2 * x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


OUTPUT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda x: x, "relu": lambda x: np.maximum(x, 0), "sigmoid": sigmoid,
}  # fmt: skip


def generated(p: Arrays, z: np.ndarray, a: np.ndarray, output: str) -> np.ndarray:
    return OUTPUT[output](linear(p, "G.net.2", leaky(linear(p, "G.net.0", np.concatenate([z, a], axis=1)))))


def cross_entropy(logits: np.ndarray, y: np.ndarray) -> float:
    """Eq. 2 and 3: the mean of −log of the softmax at the label."""
    return float(np.mean([np.log(np.exp(row).sum()) - row[k] for row, k in zip(logits, y, strict=True)]))


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def expected(
    p: Arrays, s: Train, noise: str, x: np.ndarray, y: np.ndarray, a: np.ndarray, draws: list[np.ndarray],
    target_of: Arrays | None = None,
) -> dict[str, float]:  # fmt: skip
    """Eq. 1-4, 10 and 11, and R's feedback.

    draws: ε of x̃′, which the encoder's input and the target share, of z and of what R sees, where each is drawn.
    target_of: the weights of M that x̃′, the target of eq. 11, is computed with, where it is a constant.
    """
    epsilon: Iterator[np.ndarray] = iter(draws)

    def noisy(value: np.ndarray, strength: float) -> np.ndarray:
        return value + strength * next(epsilon) if strength else value

    def projected(weights: Arrays) -> np.ndarray:
        return sigmoid(linear(weights, "M.linear", x)) if s.projection else x

    signature, mapped = a[y], projected(p)
    perturbation = 0.8 * next(epsilon) if noise in ("target", "encoder", "both") else np.zeros(mapped.shape)
    encoder_sees = mapped if noise == "target" else mapped + perturbation
    target = mapped if target_of is None else projected(target_of)
    target = target if noise == "encoder" else target + perturbation
    inputs = np.concatenate([encoder_sees, signature], axis=1) if s.encoder_signature else encoder_sees
    mean, log_variance = np.split(linear(p, "E.heads", leaky(linear(p, "E.hidden.0", inputs))), 2, axis=1)
    z = mean + np.exp(log_variance / 2) * next(epsilon)
    rebuilt = generated(p, z, signature, s.output)
    found = {
        "reconstruction": float(((target - rebuilt) ** 2).mean()),
        "kl": float(0.5 * (np.exp(log_variance) + mean**2 - 1 - log_variance).sum() / len(x)),
    }
    total = found["reconstruction"] + s.kl_weight * found["kl"]
    if s.projection:
        found["cls"] = cross_entropy(linear(p, "C", mapped), y)
        found["cls_synthetic"] = cross_entropy(linear(p, "C", rebuilt), y)
        found["spread"] = float(np.mean([column.std() for column in mapped.T]))
        total += s.lambda_cls * found["cls"] + s.lambda_synthetic * found["cls_synthetic"]
    if s.feedback:
        from_features = s.feedback_from == "features"
        answer = linear(p, "R", noisy(x if from_features else mapped, s.feedback_noise))
        if s.feedback_loss == "cosine":
            found["feedback"] = cross_entropy(SCALE * unit(answer) @ unit(a - p["centre"]).T, y)
        else:
            found["feedback"] = float(((answer - signature) ** 2).mean())
            if not from_features:
                found["feedback"] += float(((linear(p, "R", rebuilt) - signature) ** 2).mean())
        total += s.feedback * found["feedback"]
    return {**found, "total": total}


def arrays(member: Member) -> Arrays:
    return {name: value.detach().double().numpy().copy() for name, value in member.state_dict().items()}


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("feedback", FEEDBACK)
def test_every_term_is_its_equations(noise: str, feedback: str, draws: list[np.ndarray]) -> None:
    switches = product((False, True), (False, True), (M, 0), ("linear", "relu", "sigmoid"))
    for signature, target_grad, projection, output in switches:
        changes = {"encoder_signature": signature, "target_grad": target_grad, "projection": projection}
        settings = settings_of(noise, **changes, output=output, **FEEDBACK[feedback])
        member = member_of(settings)
        draws.clear()
        found = {name: float(value.detach()) for name, value in terms(member, settings, *batch()).items()}
        wanted = expected(arrays(member), settings, noise, *batch(), draws)
        assert found == pytest.approx(wanted, rel=1e-5), changes
        asked = (noise in ("both", "target", "encoder")) + ("noisy" in feedback or "F(x)" in feedback)
        assert len(draws) == 1 + asked, "ε of z, one of x̃′ wherever it goes, and one of what R sees"


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("noise", NOISES)
def test_the_encoder_and_the_target_see_one_noisy_feature(
    noise: str, precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eq. 10 has one x̃′: what `both` adds to the encoder's input is, number by number, what it adds to the target."""
    settings = settings_of(noise)
    member = member_of(settings)
    x, y, a = batch()
    seen: dict[str, torch.Tensor] = {}
    member.E.register_forward_pre_hook(lambda module, inputs: seen.update(encoder=inputs[0].detach()))
    monkeypatch.setattr(
        "zslcore.methods.clusterable.train.reconstruction",
        lambda target, output: seen.update(target=target.detach()) or (target - output).square().mean(),
    )
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        terms(member, settings, x, y, a)
        mapped = member.project(torch.tensor(x)).detach().float()
    added = {name: value.float() - mapped for name, value in seen.items()}
    for name, value in added.items():
        noisy = noise in ("both", name)
        assert value.std() == (pytest.approx(0.8, rel=0.4) if noisy else 0), name
    if noise == "both":
        torch.testing.assert_close(added["encoder"], added["target"], rtol=0, atol=0)


@pytest.mark.parametrize("target_grad", [True, False])
@pytest.mark.parametrize(
    ("noise", "feedback"),
    [
        ("target", "none"),
        ("encoder", "regression of noisy x′"),
        ("both", "cosines of x′"),
        ("none", "regression of F(x)"),
        ("target", "cosines of noisy F(x)"),
    ],
)
def test_gradients_are_finite_differences(
    noise: str, feedback: str, target_grad: bool, draws: list[np.ndarray]
) -> None:
    """Of every weight of every module; where the target is a constant, M learns nothing through it."""
    settings = settings_of(noise, target_grad=target_grad, encoder_signature=True, **FEEDBACK[feedback])
    member = member_of(settings)
    terms(member, settings, *batch())["total"].backward()
    p = arrays(member)
    constant = None if target_grad else {name: value.copy() for name, value in p.items()}
    step = 1e-5
    for name, parameter in member.named_parameters():
        slope = np.zeros(parameter.shape)
        for index in np.ndindex(slope.shape):
            before, sides = p[name][index], []
            for side in (1, -1):
                p[name][index] = before + side * step
                sides.append(expected(p, settings, noise, *batch(), draws, constant)["total"])
            p[name][index] = before
            slope[index] = (sides[0] - sides[1]) / (2 * step)
        gradient = np.zeros(slope.shape) if parameter.grad is None else parameter.grad.numpy()
        np.testing.assert_allclose(gradient, slope, rtol=2e-3, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("feedback", [{}, {"feedback": 0.6, "feedback_loss": "cosine"}])
def test_training_is_adam_on_the_members_objectives(feedback: dict[str, Any]) -> None:
    """Three epochs of two batches by Adam as its authors print it; R's centre is the mean signature."""
    beta1, beta2, lr = 0.4, 0.7, 0.02
    settings = settings_of("both", members=2, epochs=3, batch_size=4, lr=lr, beta1=beta1, beta2=beta2, **feedback)
    x, y, signatures = batch()
    y[:CLASSES] = np.arange(CLASSES)
    model = train(x, y, signatures, settings, 3, CPU)
    scaler = Scaler.fit(signatures, settings.signatures)
    a, curve = torch.tensor(scaler(signatures)), []
    with seeded(3, "train"):
        wanted = Trained.build(settings, scaler, (D, ATTRIBUTES, CLASSES), CPU)
        for member in wanted.members:
            member.centre.copy_(a.mean(0))
        weights = list(wanted.modules.parameters())
        first, second = ([torch.zeros_like(weight) for weight in weights] for _ in range(2))
        for epoch in range(3):
            curve.append(0.0)
            for part, rows in enumerate(batches(N, 4, CPU)):
                t = 1 + 2 * epoch + part
                losses = [terms(member, settings, x[rows], y[rows], a)["total"] for member in wanted.members]
                curve[-1] += sum(loss.item() for loss in losses) / 2 * len(rows) / N
                gradients = torch.autograd.grad(sum(losses, torch.zeros(())), weights)
                for weight, m, v, g in zip(weights, first, second, gradients, strict=True):
                    m.copy_(beta1 * m + (1 - beta1) * g)
                    v.copy_(beta2 * v + (1 - beta2) * g**2)
                    weight.data -= lr * (m / (1 - beta1**t)) / ((v / (1 - beta2**t)).sqrt() + 1e-8)
    for name, value in wanted.modules.state_dict().items():
        torch.testing.assert_close(model.modules.state_dict()[name], value, rtol=1e-4, atol=1e-5)
    assert [entry["total"] for entry in model.curve] == pytest.approx(curve, rel=1e-4)


@pytest.mark.parametrize(("output", "members"), [("linear", 1), ("relu", 2), ("sigmoid", 3)])
def test_each_member_draws_from_a_z_of_its_own(output: str, members: int) -> None:
    settings = settings_of("target", output=output, members=members)
    model = Trained.build(settings, Scaler.fit(np.eye(2, dtype="f4"), "none"), (D, ATTRIBUTES, CLASSES), CPU)
    assert model.latent == members * LATENT
    z, a = torch.randn(9, model.latent), torch.randn(9, ATTRIBUTES)
    parts = [
        generated(arrays(member), part, a.double().numpy(), output)
        for member, part in zip(model.members, np.split(z.double().numpy(), members, axis=1), strict=True)
    ]
    np.testing.assert_allclose(model.draw(z, a).detach(), np.concatenate(parts, axis=1), rtol=1e-4, atol=1e-5)
