"""Synthetic features: z ~ N(0, I) and a class signature through a generator."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zslcore.io.rows import collect
from zslcore.nn.losses import perturb
from zslcore.scaling import Scaler
from zslcore.settings import Generate, number_or
from zslcore.training.device import tensor
from zslcore.training.seeding import seeded

DEFAULT_PER_UNSEEN = 200
"""Where neither the settings nor `select` say how many features to draw for an unseen class."""


class Source(Protocol):
    """A fitted generative model, as far as drawing from it goes."""

    device: torch.device
    signature_scaler: Scaler

    @property
    def latent(self) -> int:
        """Size of z."""
        ...

    def draw(self, z: Tensor, signatures: Tensor) -> Tensor:
        """z (n, latent) and scaled signatures (n, a) -> synthetic features (n, m), as classifiers see them."""
        ...


@torch.inference_mode()
def generate(
    model: Source,
    signatures: NDArray[np.float32],
    per_class: int,
    seed: int,
    purpose: str,
    extra_noise: float = 0.0,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """`per_class` synthetic features of each class, class after class; `Rows` where they are too many for memory.

    signatures: (classes, a) unscaled. Returns features (classes · per_class, m) and labels 0..classes-1.
    purpose: names the random stream ("unseen", "seen"), so that one never shifts the other.
    extra_noise: spread of Gaussian noise on top of what eq. 10 asks for.
    """
    labels = np.repeat(np.arange(len(signatures)), per_class)
    scaled = tensor(model.signature_scaler(signatures), model.device)
    nothing = torch.empty(0, model.latent, device=model.device)

    def parts() -> Iterator[NDArray[np.float32]]:
        yield model.draw(nothing, scaled[:0]).cpu().numpy()  # so that no classes still give (0, m)
        for signature in scaled:
            z = torch.randn(per_class, model.latent).to(model.device)
            drawn = model.draw(z, signature.expand(per_class, -1))
            yield perturb(drawn, extra_noise).cpu().numpy()

    with seeded(seed, f"generate/{purpose}"):
        return collect(parts(), len(labels)), labels


def draw_classes(
    model: Source, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_], counts: Generate, seed: int
) -> tuple[tuple[NDArray[np.float32], NDArray[np.int64]], tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Synthetic features and labels of the seen classes, and of the unseen ones: as many as `counts` says.

    signatures: (classes, a) unscaled. Labels are 0.. among the seen, and 0.. among the unseen classes.
    """
    per_unseen = number_or(counts.per_unseen, DEFAULT_PER_UNSEEN)
    return (
        generate(model, signatures[seen_mask], counts.per_seen, seed, "seen", counts.noise),
        generate(model, signatures[~seen_mask], per_unseen, seed, "unseen", counts.noise),
    )
