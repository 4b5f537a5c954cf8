"""M, C, E and G, trained jointly: eq. 1-4, 10 and 11."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from zslcore.io.rows import Rows, map_rows
from zslcore.methods.clusterable.collapse import collapse_warnings
from zslcore.nn.cvae import Encoder, Generator, reparameterise
from zslcore.nn.losses import batch_mean, kl_to_standard_normal, perturb, reconstruction, similarity_loss
from zslcore.nn.mappings import Projection
from zslcore.nn.state import numpy_state, put_state
from zslcore.scaling import Scaler
from zslcore.settings import Train, number_or
from zslcore.training.device import tensor
from zslcore.training.loop import Curve, Player, Terms, alternate
from zslcore.training.replica import ALONE, Replica
from zslcore.training.seeding import seeded
from zslcore.training.shuffled import draw_of, on_device

DEFAULT_EPOCHS = 60
"""Where neither the settings nor `select` say how long to train."""
FEEDBACK_SCALE = 15.0
"""Of R's cosines."""


class Member(nn.Module):
    """One set of M, C, E, G (and R, with feedback); without M the features themselves are reconstructed.

    centre: (a,) mean of the seen classes' scaled signatures, which R's cosines are taken from.
    """

    centre: Tensor

    def __init__(self, settings: Train, dimensions: int, attributes: int, classes: int) -> None:
        super().__init__()
        m = settings.projection or dimensions
        latent = number_or(settings.latent, attributes)
        self.M = Projection(dimensions, m) if settings.projection else None
        self.C = nn.Linear(m, classes) if settings.projection else None
        self.E = Encoder(m + attributes * settings.encoder_signature, settings.hidden, latent)
        self.G = Generator(latent, attributes, settings.hidden, m, settings.output)
        self.on_features = settings.feedback_from == "features"
        self.R = nn.Linear(dimensions if self.on_features else m, attributes) if settings.feedback else None
        self.register_buffer("centre", torch.zeros(attributes))

    def project(self, x: Tensor) -> Tensor:
        """x′ = M(x): (n, d) -> (n, m)."""
        return x if self.M is None else self.M(x)

    def predict_signature(self, x: Tensor, noise: float = 0.0) -> Tensor:
        """R(x + noise · ε): F(x) (n, d) where `on_features`, else x′ (n, m) -> (n, a)."""
        assert self.R is not None
        return self.R(perturb(x, noise)).float()

    def directions(self, signatures: Tensor) -> Tensor:
        """Unit vectors (classes, a) from the seen classes' mean to scaled signatures (classes, a)."""
        return functional.normalize(signatures - self.centre)


@dataclass
class Trained:
    """The fitted members. Their projected features, and their synthetic ones, stand side by side in the columns.

    dimensions, attributes, classes: d, a and K of the training data.
    """

    settings: Train
    signature_scaler: Scaler
    modules: nn.ModuleList
    device: torch.device
    dimensions: int
    attributes: int
    classes: int
    curve: Curve = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def build(cls, settings: Train, scaler: Scaler, shape: tuple[int, int, int], device: torch.device) -> Self:
        """Untrained members for shape (d, a, K)."""
        modules = nn.ModuleList(Member(settings, *shape) for _ in range(settings.members)).to(device)
        return cls(settings, scaler, modules, device, *shape)

    @property
    def members(self) -> list[Member]:
        """The members, one after another."""
        return [cast(Member, module) for module in self.modules]

    @torch.inference_mode()
    def project(self, features: NDArray[np.float32], block: int = 8192) -> NDArray[np.float32]:
        """M(F(x)) of every member: (n, d) -> (n, members · m) float32, by blocks of rows."""
        if isinstance(features, Rows):
            return map_rows(features, self.project)
        if not self.settings.projection and len(self.members) == 1:
            return features
        starts = range(0, max(len(features), 1), block)
        parts = [self.projected(tensor(features[start : start + block], self.device)) for start in starts]
        return torch.cat(parts).cpu().numpy()

    def projected(self, x: Tensor) -> Tensor:
        """`project` of a tensor, without blocks."""
        return torch.cat([member.project(x) for member in self.members], dim=1)

    @torch.inference_mode()
    def predict_signatures(self, features: NDArray[np.float32], block: int = 8192) -> NDArray[np.float32]:
        """Mean over the members of R's predictions, each of length 1: F(x) (n, d) -> (n, a) float32, by blocks of rows.

        The model must have been trained with feedback.
        """
        parts = [np.empty((0, self.attributes), np.float32)]
        for start in range(0, len(features), block):
            x = tensor(features[start : start + block], self.device)
            parts.append(self.predicted(x).cpu().numpy())
        return np.concatenate(parts)

    def predicted(self, x: Tensor) -> Tensor:
        """`predict_signatures` of a tensor, without blocks."""
        predicted = [
            functional.normalize(member.predict_signature(x if member.on_features else member.project(x)))
            for member in self.members
        ]
        return torch.stack(predicted).mean(0)

    @torch.inference_mode()
    def signature_logits(self, predicted: NDArray[np.float32], signatures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scaled cosines, mean over the members: predicted (n, a), unscaled signatures (classes, a) -> (n, classes)."""
        directions = self.members[0].directions(tensor(self.signature_scaler(signatures), self.device))
        return FEEDBACK_SCALE * predicted @ directions.cpu().numpy().T

    def attribute_logits(self, signatures: NDArray[np.float32]) -> NDArray[np.float32]:
        """What each attribute adds to `signature_logits` when it is predicted as 1: unscaled (classes, a) -> alike."""
        attributes = np.eye(self.attributes, dtype=np.float32)
        return np.ascontiguousarray(self.signature_logits(attributes, signatures).T)

    @property
    def latent(self) -> int:
        """Size of z, of all members together."""
        return len(self.members) * number_or(self.settings.latent, self.attributes)

    def draw(self, z: Tensor, signatures: Tensor) -> Tensor:
        """A synthetic feature for each z (n, latent) and scaled signature (n, a): (n, members · m)."""
        noise = self.settings.noise
        parts = zip(self.members, z.chunk(len(self.members), dim=1), strict=True)
        drawn = torch.cat([member.G(part, signatures) for member, part in parts], dim=1)
        return perturb(drawn, noise.strength if noise.applies_to == "synthetic" else 0.0)

    def state(self) -> dict[str, NDArray[Any]]:
        """Named arrays for saving."""
        shape = np.array([self.dimensions, self.attributes, self.classes])
        return {"shape": shape, **self.signature_scaler.state("signatures."), **numpy_state(self.modules, "members.")}

    @classmethod
    def from_state(cls, settings: Train, state: Mapping[str, NDArray[Any]], device: torch.device) -> Self:
        """What `state` described."""
        dimensions, attributes, classes = (int(value) for value in state["shape"])
        scaler = Scaler.from_state(settings.signatures, state, "signatures.")
        model = cls.build(settings, scaler, (dimensions, attributes, classes), device)
        put_state(model.modules, state, "members.")
        return model


def train(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    signatures: NDArray[np.float32],
    settings: Train,
    seed: int,
    device: torch.device,
    observe: Callable[[int, Trained], None] | None = None,
    replica: Replica = ALONE,
) -> Trained:
    """Minimise eq. 4 over M, C, E and G on trainval: features F(x) (n, d), labels 0..K-1, signatures (K, a).

    Members share nothing but the order of batches, so that each takes its step in turn, while what it has just used is
    still in the processor's cache. observe(epochs done, the model as it stands) is called after each epoch and changes
    nothing. replica: this process among those that train together; they go on from its checkpoint.
    """
    scaler = Scaler.fit(signatures, settings.signatures)
    x, y, a = on_device(features, device), tensor(labels, device), tensor(scaler(signatures), device)
    with seeded(seed, "train"):
        model = Trained.build(settings, scaler, (features.shape[1], *signatures.shape[::-1]), device)
        for member in model.members:
            member.centre.copy_(a.mean(0))

        def player(member: Member) -> Player:
            def terms(rows: Tensor, epoch: int) -> Terms:
                return objective(member, settings, x[rows], y[rows], a)

            return Player(terms, member.parameters(), settings.lr, (settings.beta1, settings.beta2))

        model.curve = alternate(
            [player(member) for member in model.members],
            count=len(features),
            epochs=number_or(settings.epochs, DEFAULT_EPOCHS),
            batch_size=settings.batch_size,
            label="train",
            precision=settings.precision,
            observe=None if observe is None else lambda done: observe(done, model),
            checkpoint=replica.checkpoint,
            replica=replica,
            draw=draw_of(x),
        )
    model.warnings = collapse_warnings(model.curve[-1] if model.curve else {})
    return model


def objective(member: Member, settings: Train, x: Tensor, y: Tensor, signatures: Tensor) -> Terms:
    """The terms of eq. 4 on a batch: x (n, d) features, y (n,) labels, signatures (K, attributes), scaled.

    And `spread`, the mean over M's outputs of their standard deviation over the batch, which is minimised by none.

    With `feedback`, R must predict the signature from the features: not the paper's, but its stronger relatives'. Where
    R takes F(x), it shares nothing with the other modules.
    """
    a = signatures[y]
    noise = settings.noise
    encoder_input = member.project(x)
    projected = encoder_input.float()  # under bf16 only the matrix products are coarse, never the losses
    target = projected if settings.target_grad else projected.detach()
    if noise.strength and noise.applies_to in ("target", "encoder", "both"):
        perturbation = noise.strength * torch.randn_like(projected)  # eq. 10; one x̃′, whoever sees it
        encoder_input = encoder_input if noise.applies_to == "target" else encoder_input + perturbation
        target = target if noise.applies_to == "encoder" else target + perturbation
    inputs = torch.cat([encoder_input, a], dim=1) if settings.encoder_signature else encoder_input
    mean, log_variance = member.E(inputs)
    mean, log_variance = mean.float(), log_variance.float()
    output = member.G(reparameterise(mean, log_variance), a).float()
    rebuilt = reconstruction(target, output)
    kl = kl_to_standard_normal(mean, log_variance)
    total = rebuilt + settings.kl_weight * kl
    terms = {"reconstruction": rebuilt, "kl": kl}
    if member.C is not None:
        real = similarity_loss(member.C(projected).float(), y)  # eq. 2
        synthetic = similarity_loss(member.C(output).float(), y)  # eq. 3
        terms |= {"cls": real, "cls_synthetic": synthetic}
        total = total + settings.lambda_cls * real + settings.lambda_synthetic * synthetic
        away = projected.detach() - batch_mean(projected.detach())
        terms["spread"] = batch_mean(away.square()).sqrt().mean()  # no loss: it tells whether M has collapsed
    if member.R is not None:
        predicted = member.predict_signature(x if member.on_features else projected, settings.feedback_noise)
        if settings.feedback_loss == "cosine":
            cosines = functional.normalize(predicted) @ member.directions(signatures).T
            terms["feedback"] = functional.cross_entropy(FEEDBACK_SCALE * cosines, y)
        else:
            terms["feedback"] = reconstruction(a, predicted)
            if not member.on_features:
                terms["feedback"] = terms["feedback"] + reconstruction(a, member.R(output).float())
        total = total + settings.feedback * terms["feedback"]
    return {"total": total, **terms}
