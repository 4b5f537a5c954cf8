"""CADA-VAE: cross- and distribution-aligned auto-encoders (Schönfeld et al., CVPR 2019)."""

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from zslcore.methods._generative import Data, Generative, GenerativeSettings
from zslcore.nn.cvae import Encoder, reparameterise
from zslcore.nn.losses import kl_to_standard_normal, ramp
from zslcore.nn.mlp import MLP
from zslcore.settings import Classify
from zslcore.synthesis.classifier import FeaturesAndLabels
from zslcore.training.loop import Player, Terms
from zslcore.training.seeding import seeded

Span = tuple[float, float]
"""First and last epoch of a warm-up."""


class CADAVAESettings(GenerativeSettings):
    """Weights as published; widths and training length for standardised features, chosen on validation classes."""

    latent: int | None = Field(64, ge=1, description="size of z, shared by images and signatures")
    image_hidden: tuple[int, int] = Field((512, 512), description="units of the image encoder and decoder")
    signature_hidden: tuple[int, int] = Field((512, 512), description="units of the signature encoder and decoder")
    epochs: int = Field(20, ge=1, description="passes over trainval")
    batch_size: int = Field(64, ge=1, description="images")
    lr: float = Field(5e-4, gt=0, description="Adam's step (amsgrad)")
    beta: float = Field(0.25, ge=0, description="β, weight of the KL terms")
    beta_span: Span = Field((0, 18), description="epochs over which that weight rises from 0")
    cross: float = Field(2.37, ge=0, description="γ, weight of the cross-reconstruction")
    cross_span: Span = Field((4, 15), description="epochs over which that weight rises from 0")
    alignment: float = Field(8.13, ge=0, description="δ, weight of the distance between the two posteriors")
    alignment_span: Span = Field((1, 5), description="epochs over which that weight rises from 0")
    per_seen: int = Field(200, ge=1, description="latent features drawn for a seen class from its images")
    classify: Classify = Classify(kind="prototype")


class CADAVAE(Generative[CADAVAESettings]):
    """Two VAEs, of images and of signatures, with one latent space in which the classifier learns.

    min of both evidence bounds (L1 errors, KL weighted by β) + γ cross-reconstruction (signature decoded from the
    image's z, image from the signature's) + δ 2-Wasserstein distance of the two posteriors; all three weights warm up.

    Departures from the authors' code: hidden layers are LeakyReLU for ReLU, and the last classifier is by default the
    nearest mean of a class's z; theirs is a softmax (`classify: {kind: softmax}`).
    """

    name = "cada-vae"
    title = "CADA-VAE"
    citation = "Schönfeld et al., CVPR 2019"
    summary = "Two VAEs, of images and of signatures, aligned in one latent space, in which the classifier learns."
    Settings = CADAVAESettings
    quick = {
        **Generative.quick,
        "image_hidden": (64, 64),
        "signature_hidden": (64, 64),
        "latent": 16,
        "epochs": 60,
        "beta_span": (0, 30),
        "cross_span": (0, 20),
        "alignment_span": (0, 20),
        "per_seen": 20,
        "lr": 1e-3,
    }
    search_space = {
        "signature_scaling": ("sphere", "centred_sphere"),
        "lr": (1.5e-4, 5e-4),
        "beta": (0.1, 0.25, 1.0),
        "classify": ({"kind": "softmax", "epochs": 5}, {"kind": "prototype"}),
    }

    def build(self, dimensions: int, attributes: int, classes: int) -> None:
        """Encoders and decoders of both kinds."""
        image_in, image_out = self.settings.image_hidden
        signature_in, signature_out = self.settings.signature_hidden
        self.image_encoder = Encoder(dimensions, image_in, self.latent)
        self.image_decoder = MLP(self.latent, image_out, dimensions)
        self.signature_encoder = Encoder(attributes, signature_in, self.latent)
        self.signature_decoder = MLP(self.latent, signature_out, attributes)

    def players(self, data: Data) -> list[Player]:
        """All four together."""
        modules = [self.image_encoder, self.image_decoder, self.signature_encoder, self.signature_decoder]
        return [self.player(lambda rows, epoch: self.terms(*data[rows], epoch), modules, amsgrad=True)]

    def terms(self, x: Tensor, a: Tensor, y: Tensor, epoch: int) -> Terms:
        """The weighted terms; all of them sums over dimensions and means over the batch."""
        settings = self.settings
        image, signature = self.image_encoder(x), self.signature_encoder(a)
        z_image, z_signature = reparameterise(*image), reparameterise(*signature)
        rebuilt = l1(x, self.image_decoder(z_image)) + l1(a, self.signature_decoder(z_signature))
        crossed = l1(x, self.image_decoder(z_signature)) + l1(a, self.signature_decoder(z_image))
        terms = {
            "reconstruction": rebuilt,
            "kl": settings.beta
            * ramp(epoch, *settings.beta_span)
            * (kl_to_standard_normal(*image) + kl_to_standard_normal(*signature)),
            "cross": settings.cross * ramp(epoch, *settings.cross_span) * crossed,
            "alignment": settings.alignment * ramp(epoch, *settings.alignment_span) * wasserstein(image, signature),
        }
        return {"total": torch.stack(list(terms.values())).sum(), **terms}

    def embed(self, x: Tensor) -> Tensor:
        """The mean of an image's z."""
        return self.image_encoder(x)[0]

    def draw(self, z: Tensor, signatures: Tensor) -> Tensor:
        """A draw from the signature's posterior."""
        mean, log_variance = self.signature_encoder(signatures)
        return mean + (log_variance / 2).exp() * z

    @torch.inference_mode()
    def real(self, seed: int) -> FeaturesAndLabels:
        """`per_seen` draws from the posteriors of each seen class's images, taken in turn."""
        labels = np.repeat(np.arange(self.seen_classes), self.settings.per_seen)
        images = [np.resize(np.flatnonzero(self.labels == k), self.settings.per_seen) for k in range(self.seen_classes)]
        x = torch.from_numpy(self.features[np.concatenate(images)]).to(self.device)
        with seeded(seed, f"{self.name}/real"):
            return reparameterise(*self.image_encoder(x)).cpu().numpy(), labels


def l1(target: Tensor, output: Tensor) -> Tensor:
    """Σ|target − output| over dimensions, mean over the batch."""
    return (target - output).abs().sum(1).mean()


def wasserstein(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """2-Wasserstein distance of diagonal Gaussians, each (mean, log-variance) (n, latent): mean over the batch."""
    means = (first[0] - second[0]).square().sum(1)
    deviations = ((first[1] / 2).exp() - (second[1] / 2).exp()).square().sum(1)
    return (means + deviations).clamp_min(1e-12).sqrt().mean()
