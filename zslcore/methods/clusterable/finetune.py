"""F: fine-tune features with the Gaussian similarity loss, eq. 7-9, on trainval only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zslcore.errors import ZSLError
from zslcore.io.rows import Rows, map_rows
from zslcore.nn.blocks import apply_in_blocks
from zslcore.nn.losses import similarity_loss
from zslcore.nn.mappings import FineTuning, SimilarityClassifier
from zslcore.nn.state import numpy_state, put_state
from zslcore.scaling import Scaler
from zslcore.settings import Finetune
from zslcore.training.device import tensor
from zslcore.training.loop import Curve, Terms, minimise
from zslcore.training.seeding import seeded
from zslcore.training.shuffled import draw_of, means_of, on_device


@dataclass
class Finetuned:
    """A fitted scaler and F, applied to any features."""

    scaler: Scaler
    mapping: FineTuning | None
    device: torch.device
    rescaler: Scaler | None = None
    gamma: float = float("nan")
    curve: Curve = field(default_factory=list)

    @torch.inference_mode()
    def __call__(self, features: NDArray[np.float32], block: int = 8192) -> NDArray[np.float32]:
        """F(scaled x), scaled once more where asked: (n, d) -> (n, d) float32, by blocks of rows."""
        if isinstance(features, Rows):
            return map_rows(features, self)
        try:
            return apply_in_blocks(self._map, features, block)
        except ZSLError:
            self.scaler(features)  # names rows by their place among all, not in a block
            raise

    def _map(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        mapped = self.scaler(rows)
        if self.mapping is not None and len(mapped):
            mapped = self.mapping(tensor(mapped, self.device)).cpu().numpy()
        return mapped if self.rescaler is None else self.rescaler(mapped)

    def state(self) -> dict[str, NDArray[Any]]:
        """Named arrays for saving."""
        after = {} if self.rescaler is None else self.rescaler.state("F.rescaler.")
        return {**self.scaler.state("F.scaler."), **after, **numpy_state(self.mapping, "F.")}

    @classmethod
    def from_state(cls, settings: Finetune, state: Mapping[str, NDArray[Any]], device: torch.device) -> Self:
        """What `state` described."""
        scaler = Scaler.from_state(settings.scaling, state, "F.scaler.")
        if "F.linear.bias" not in state:
            return cls(scaler, None, device)
        mapping = FineTuning(len(state["F.linear.bias"])).to(device)
        put_state(mapping, state, "F.")
        rescaler = Scaler.from_state(settings.scaling, state, "F.rescaler.") if settings.rescale else None
        return cls(scaler, mapping, device, rescaler)


def finetune(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    settings: Finetune,
    seed: int,
    device: torch.device,
) -> Finetuned:
    """Fit the scaler and F on trainval features (n, d) with labels 0..K-1: min over F, W′ of L_GAU, eq. 9.

    W′ starts at the class means, where the loss is already low, so that F moves the features and not the reverse.
    """
    scaler = Scaler.fit(features, settings.scaling)
    tuned = Finetuned(scaler, None, device)
    if settings.enabled and settings.epochs and settings.level == "features":  # else the backbone is F
        _learn(tuned, scaler(features), labels, settings, seed)
        if settings.rescale:
            tuned.rescaler = Scaler.fit(tuned(features), settings.scaling)
    return tuned


def _learn(
    tuned: Finetuned, scaled: NDArray[np.float32], labels: NDArray[np.int64], settings: Finetune, seed: int
) -> None:
    device = tuned.device
    x, y = on_device(scaled, device), tensor(labels, device)
    means = means_of(x, y, int(y.max()) + 1)
    with seeded(seed, "finetune"):
        mapping = FineTuning(x.shape[1]).to(device)
        gaussian = settings.loss == "gaussian"
        classifier = SimilarityClassifier(means, gaussian, settings.gamma, settings.learn_gamma).to(device)

        def terms(rows: Tensor, epoch: int) -> Terms:
            return {"total": similarity_loss(classifier(mapping(x[rows])), y[rows])}

        curve = minimise(
            terms,
            [*mapping.parameters(), *classifier.parameters()],
            count=len(x),
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            lr=settings.lr,
            label="finetune",
            draw=draw_of(x),
        )
    tuned.mapping, tuned.curve, tuned.gamma = mapping.eval(), curve, float(classifier.gamma.detach())
