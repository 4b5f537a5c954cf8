"""Synthetic features: z ~ N(0, I) and a class signature through the generator."""

import numpy as np
import torch
from numpy.typing import NDArray

from zslcore.losses import perturb
from zslcore.steps.train import Trained
from zslcore.training import seeded, tensor


@torch.inference_mode()
def generate(
    model: Trained,
    signatures: NDArray[np.float32],
    per_class: int,
    seed: int,
    purpose: str,
    extra_noise: float = 0.0,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """`per_class` synthetic features of each class, class after class.

    signatures: (classes, a) unscaled. Returns features (classes · per_class, m) and labels 0..classes-1.
    purpose: names the random stream ("unseen", "seen"), so that one never shifts the other.
    extra_noise: spread of Gaussian noise on top of what eq. 10 asks for.
    """
    labels = np.repeat(np.arange(len(signatures)), per_class)
    noise = model.settings.noise
    strength = extra_noise + (noise.strength if noise.on == "synthetic" else 0.0)
    scaled = tensor(model.signature_scaler(signatures), model.device)
    parts = []
    with seeded(seed, f"generate/{purpose}"):
        for signature in scaled:
            z = torch.randn(per_class, model.generator.latent).to(model.device)
            output = model.generator(z, signature.expand(per_class, -1))
            parts.append(perturb(output, strength).cpu().numpy())
    return np.concatenate([*parts, np.empty((0, model.generator.outputs), np.float32)]), labels
