"""M, C, E and G, trained jointly: eq. 1-4, 10 and 11."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zslcore.losses import kl_to_standard_normal, perturb, ramp, reconstruction, similarity_loss
from zslcore.models.cvae import Encoder, Generator, reparameterise
from zslcore.models.mappings import Projection
from zslcore.models.weights import numpy_state, put_state
from zslcore.scaling import Scaler
from zslcore.settings import Train
from zslcore.training import Curve, Terms, minimise, seeded, tensor

DEFAULT_EPOCHS = 60
"""Where neither the settings nor `select` say how long to train."""


@dataclass
class Trained:
    """The fitted modules; without M (`projection` is None) the features themselves are reconstructed."""

    settings: Train
    signature_scaler: Scaler
    projection: Projection | None
    classifier: nn.Linear | None
    encoder: Encoder
    generator: Generator
    device: torch.device
    regressor: nn.Linear | None = None
    curve: Curve = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @torch.inference_mode()
    def project(self, features: NDArray[np.float32], block: int = 8192) -> NDArray[np.float32]:
        """M(F(x)): (n, d) -> (n, m) float32, by blocks of rows."""
        if self.projection is None:
            return features
        parts = [
            self.projection(tensor(features[start : start + block], self.device)).cpu().numpy()
            for start in range(0, len(features), block)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.projection.linear.out_features), np.float32)

    @property
    def latent(self) -> int:
        """Size of z."""
        return self.generator.latent

    def draw(self, z: Tensor, signatures: Tensor) -> Tensor:
        """A synthetic feature for each z (n, latent) and scaled signature (n, a): (n, m)."""
        noise = self.settings.noise
        return perturb(self.generator(z, signatures), noise.strength if noise.on == "synthetic" else 0.0)

    def state(self) -> dict[str, NDArray[Any]]:
        """Named arrays for saving."""
        return {
            **self.signature_scaler.state("signatures."),
            **numpy_state(self.projection, "M."),
            **numpy_state(self.classifier, "C."),
            **numpy_state(self.encoder, "E."),
            **numpy_state(self.generator, "G."),
            **numpy_state(self.regressor, "R."),
        }

    @classmethod
    def from_state(cls, settings: Train, state: Mapping[str, NDArray[Any]], device: torch.device) -> Self:
        """What `state` described."""
        hidden, inputs = state["E.hidden.0.weight"].shape
        latent = len(state["E.heads.bias"]) // 2
        outputs, _ = state["G.net.2.weight"].shape
        attributes = state["G.net.0.weight"].shape[1] - latent
        projection = classifier = regressor = None
        if "R.bias" in state:
            regressor = nn.Linear(outputs, attributes).to(device)
            put_state(regressor, state, "R.")
        if "M.linear.weight" in state:
            projection = Projection(state["M.linear.weight"].shape[1], outputs).to(device)
            classifier = nn.Linear(outputs, len(state["C.bias"])).to(device)
            put_state(projection, state, "M.")
            put_state(classifier, state, "C.")
        encoder = Encoder(inputs, hidden, latent).to(device)
        generator = Generator(latent, attributes, hidden, outputs, settings.output).to(device)
        put_state(encoder, state, "E.")
        put_state(generator, state, "G.")
        scaler = Scaler.from_state(settings.signatures, state, "signatures.")
        return cls(settings, scaler, projection, classifier, encoder, generator, device, regressor)


def train(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    signatures: NDArray[np.float32],
    settings: Train,
    seed: int,
    device: torch.device,
    observe: Callable[[int, Trained], None] | None = None,
) -> Trained:
    """Minimise eq. 4 over M, C, E and G on trainval: features F(x) (n, d), labels 0..K-1, signatures (K, a).

    observe(epochs done, the model as it stands) is called after each epoch and changes nothing.
    """
    n, d = features.shape
    attributes = signatures.shape[1]
    latent = settings.latent or attributes
    m = settings.projection or d
    scaler = Scaler.fit(signatures, settings.signatures)
    x, y, a = tensor(features, device), tensor(labels, device), tensor(scaler(signatures), device)
    with seeded(seed, "train"):
        model = Trained(
            settings,
            scaler,
            Projection(d, m).to(device) if settings.projection else None,
            nn.Linear(m, len(signatures)).to(device) if settings.projection else None,
            Encoder(m + attributes * settings.encoder_signature, settings.hidden, latent).to(device),
            Generator(latent, attributes, settings.hidden, m, settings.output).to(device),
            device,
            nn.Linear(m, attributes).to(device) if settings.feedback else None,
        )
        modules = [model.projection, model.classifier, model.encoder, model.generator, model.regressor]
        model.curve = minimise(
            lambda rows, epoch: objective(model, x[rows], y[rows], a[y[rows]], epoch),
            [parameter for module in modules if module is not None for parameter in module.parameters()],
            count=n,
            epochs=settings.epochs or DEFAULT_EPOCHS,
            batch_size=settings.batch_size,
            lr=settings.lr,
            betas=(settings.beta1, settings.beta2),
            label="train",
            precision=settings.precision,
            observe=None if observe is None else lambda done: observe(done, model),
        )
    model.warnings = collapse_warnings(model, len(signatures))
    return model


def objective(model: Trained, x: Tensor, y: Tensor, a: Tensor, epoch: int) -> Terms:
    """The terms of eq. 4 on a batch: x (n, d) features, y (n,) labels, a (n, attributes) scaled signatures.

    With `feedback`, features real and rebuilt must tell their signature: not the paper's, but its stronger relatives'.
    """
    settings = model.settings
    noise = settings.noise
    projected = x if model.projection is None else model.projection(x)
    seen_by_encoder = perturb(projected, noise.strength if noise.on in ("encoder", "both") else 0.0)
    projected = projected.float()  # under bf16 only the matrix products are coarse, never the losses
    target = projected if settings.target_grad else projected.detach()
    target = perturb(target, noise.strength if noise.on in ("target", "both") else 0.0)
    inputs = torch.cat([seen_by_encoder, a], dim=1) if settings.encoder_signature else seen_by_encoder
    mean, log_variance = model.encoder(inputs)
    mean, log_variance = mean.float(), log_variance.float()
    output = model.generator(reparameterise(mean, log_variance), a).float()
    rebuilt = reconstruction(target, output, settings.reconstruction)
    kl = kl_to_standard_normal(mean, log_variance)
    total = rebuilt + settings.kl_weight * ramp(epoch + 1, 0, settings.kl_warmup) * kl
    terms = {"reconstruction": rebuilt, "kl": kl}
    if model.classifier is not None:
        real = similarity_loss(model.classifier(projected).float(), y)  # eq. 2
        synthetic = similarity_loss(model.classifier(output).float(), y)  # eq. 3
        terms |= {"cls": real, "cls_synthetic": synthetic}
        total = total + settings.lambda_cls * real + settings.lambda_synthetic * synthetic
    if model.regressor is not None:
        both = [reconstruction(a, model.regressor(features).float()) for features in (projected, output)]
        terms["feedback"] = both[0] + both[1]
        total = total + settings.feedback * terms["feedback"]
    return {"total": total, **terms}


def collapse_warnings(model: Trained, classes: int) -> list[str]:
    """Say so when M has collapsed to a constant: C learns nothing, its loss stays at ln K."""
    last = model.curve[-1] if model.curve else {}
    chance = float(np.log(classes))
    if last.get("cls", 0.0) < 0.98 * chance:
        return []
    return [
        f"M has collapsed: the classification loss stands at {last['cls']:.3f}, chance is ln {classes} = {chance:.3f}; "
        "use train.reconstruction: mean, a smaller train.kl_weight, or a larger train.lambda_cls"
    ]
