"""F as a whole backbone, or its last stage: eq. 9 on images, before features are extracted."""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zslcore.features.backbones import Backbone
from zslcore.features.halves import last_stage, learned, upper
from zslcore.nn.losses import class_means, similarity_loss
from zslcore.nn.mappings import SimilarityClassifier
from zslcore.nn.state import numpy_state
from zslcore.scaling import Scaler
from zslcore.settings import Finetune
from zslcore.training.checkpoint import Checkpoint
from zslcore.training.device import tensor
from zslcore.training.loop import Curve, Terms, minimise
from zslcore.training.seeding import seeded

Weights = Mapping[str, NDArray[Any]]
Inputs = Callable[[Tensor], Tensor]
"""Of rows (n,) of the images: normalised pictures (n, 3, height, width), or what a stage takes."""


def finetune_backbone(
    backbone: Backbone,
    inputs: Inputs,
    cut: str | None,
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    settings: Finetune,
    epochs: int,
    device: torch.device,
    observe: Callable[[int, Weights], None],
    checkpoint: Checkpoint | None = None,
) -> Curve:
    """Minimise the Gaussian similarity loss (eq. 8), or the cross-entropy of eq. 5, over a copy of the backbone and W′.

    inputs: of the images that `features` (n, d) and `labels` (n,) 0..K-1 belong to; no other image takes part. cut: the
    stage that takes them; None: they are pictures. features: of the backbone as it is. Each dimension is scaled by
    their mean and spread, which stay as they are, so that γ means what it means on features, and W′ starts at the class
    means (with cross-entropy at 2γ times these, the linear part of eq. 7). Batch normalisations keep their statistics,
    dropout is off: a class may have one image, and a batch in parts gives the gradient of the whole.
    observe(epochs done, weights) is called before the first epoch and after each.
    """
    of, batches = settings.backbone, settings.images
    module = copy.deepcopy(backbone.module).to(device).eval()
    network = module if cut is None else upper(module, cut)
    parameters = learned(module, last_stage(backbone) if of.layers == "last" else None)
    for parameter in parameters:
        parameter.requires_grad_(True)
    scaler = Scaler.fit(features, "standard")
    shift, factor = tensor(scaler.shift, device), tensor(scaler.factor, device)
    y = tensor(labels, device)
    prototypes = class_means(tensor(scaler(features), device), y, int(y.max()) + 1)
    gaussian = settings.loss == "gaussian"
    if not gaussian:
        prototypes = prototypes * (2 * settings.gamma / prototypes.shape[1])
    classifier = SimilarityClassifier(prototypes, gaussian, settings.gamma, settings.learn_gamma).to(device)

    def terms(rows: Tensor, epoch: int) -> Terms:
        found = network(inputs(rows).to(device))
        with torch.autocast(device.type, enabled=False):  # squared distances need all their digits
            return {"total": similarity_loss(classifier((found.float() - shift) * factor), y[rows])}

    observe(0, numpy_state(module, ""))
    with seeded(of.seed, "finetune backbone"):
        return minimise(
            terms,
            [*parameters, *classifier.parameters()],
            count=len(labels),
            epochs=epochs,
            batch_size=batches.batch_size,
            lr=of.lr,
            label="finetune",
            precision=settings.precision,
            observe=lambda done: observe(done, numpy_state(module, "")),
            checkpoint=checkpoint,
            rate=lambda epoch: (1 + math.cos(math.pi * epoch / of.longest)) / 2,
            parts=batches.parts,
        )
