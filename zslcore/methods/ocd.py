"""OCD: generalised zero-shot learning via over-complete distribution (Keshari, Singh and Vatsa, CVPR 2020)."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from zslcore.methods.cvae_zsl import CVAEZSL
from zslcore.methods.se_zsl import SEZSL, SEZSLSettings
from zslcore.nn.losses import class_means
from zslcore.training.loop import Terms


class OCDSettings(SEZSLSettings):
    """The over-complete distribution and its losses. The paper states no weights."""

    realism: float = Field(0.0, ge=0, description="λreg of SE-ZSL, not part of OCD")
    cycle: float = Field(0.0, ge=0, description="λE of SE-ZSL, not part of OCD")
    reach: float = Field(0.5, ge=0, le=1, description="how far from its class a hard sample stands, 1: at the other")
    spread: float = Field(0.1, ge=0, description="σ′ of the over-complete distribution; not stated")
    triplet: float = Field(1.0, ge=0, description="weight of the online batch triplet loss; not stated")
    centre: float = Field(0.1, ge=0, description="weight of the centre loss; not stated")
    margin: float = Field(1.0, ge=0, description="of the triplet loss; not stated")


class OCD(SEZSL):
    """CVAE with a regressor's feedback + triplet and centre losses on E(x_oc), x_oc over-complete samples.

    An over-complete sample stands between a drawn feature of its class and the nearest drawn feature of another class,
    x_oc ~ N((1 − r) x̂_y + r x̂_other, σ′²): a hard sample at the class's border, which E must still keep with its
    class. E's mean is the space in which the losses act; centres are those of the batch's real images.
    """

    name = "ocd"
    title = "OCD"
    citation = "Keshari et al., CVPR 2020"
    summary = "SE-ZSL, and samples between classes, which a triplet and a centre loss keep apart."
    Settings = OCDSettings
    coupled = ("",)
    settings: OCDSettings
    search_space = {
        **CVAEZSL.search_space,
        "feedback": (0.1, 1.0),
        "triplet": (0.1, 1.0),
        "reach": (0.2, 0.5),
    }

    def terms(self, x: Tensor, a: Tensor, y: Tensor, epoch: int) -> Terms:
        """The CVAE's terms with feedback, and those of the over-complete samples."""
        settings = self.settings
        terms = super().terms(x, a, y, epoch)
        drawn = self.generator(self.noise(x), a)
        hard = over_complete(drawn, y, settings.reach)
        hard = hard + settings.spread * torch.randn_like(hard)
        codes, real = self.encode(hard, a)[0], self.encode(x, a)[0]
        triplet = batch_triplet(torch.cat([real, codes]), torch.cat([y, y]), settings.margin)
        centre = centre_loss(codes, real, y, self.seen_classes)
        total = terms["total"] + settings.triplet * triplet + settings.centre * centre
        return {**terms, "total": total, "triplet": triplet, "centre": centre}


def over_complete(drawn: Tensor, y: Tensor, reach: float) -> Tensor:
    """(1 − reach) x̂ + reach x̂′, with x̂′ the nearest of `drawn` (n, d) that has another label of y (n,).

    A batch of a single class is returned as it is.
    """
    distances = torch.cdist(drawn.detach(), drawn.detach()).masked_fill(y[:, None] == y, torch.inf)
    nearest, other = distances.min(1)
    weight = reach * torch.isfinite(nearest).to(drawn.dtype)[:, None]
    return (1 - weight) * drawn + weight * drawn[other]


def batch_triplet(codes: Tensor, y: Tensor, margin: float) -> Tensor:
    """Batch-hard triplets: mean of max(0, farthest of the same class − nearest of another + margin).

    codes: (n, k), y: (n,). Anchors without a positive or a negative are left out.
    """
    distances = torch.cdist(codes, codes)
    same = y[:, None] == y
    itself = torch.eye(len(y), dtype=torch.bool, device=y.device)
    farthest = distances.masked_fill(~same | itself, -torch.inf).amax(1)
    nearest = distances.masked_fill(same, torch.inf).amin(1)
    usable = torch.isfinite(farthest) & torch.isfinite(nearest)
    violation = functional.relu(torch.where(usable, farthest - nearest + margin, 0))
    return violation.sum() / usable.sum().clamp_min(1)


def centre_loss(codes: Tensor, real: Tensor, y: Tensor, classes: int) -> Tensor:
    """½ E‖code − c_y‖², with c_y the mean of `real` (n, k) over the batch's images of class y < classes."""
    return (codes - class_means(real, y, classes)[y]).square().sum(1).mean() / 2
