"""CLIP as a reference: images and prompts of class names in one space (Radford et al., ICML 2021), by open_clip.

Its pretraining has seen images and names of the "unseen" classes: its figures stand in a separate block.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from zslcore.errors import ZSLError
from zslcore.features.images import BadImage, decode
from zslcore.nn.clip import open_model
from zslcore.signatures.names import readable

PROMPTS = ("a photo of a {}.",)


@dataclass(frozen=True)
class Clip:
    """A model of open_clip, its evaluation transform (picture -> tensor) and its tokeniser (texts -> tokens)."""

    model: Any
    preprocess: Callable[[Any], torch.Tensor]
    tokenise: Callable[[list[str]], torch.Tensor]

    @torch.inference_mode()
    def classes(self, names: Sequence[str], prompts: Sequence[str] = PROMPTS) -> NDArray[np.float32]:
        """(classes, e) unit-length embeddings: the mean over prompts, each a text with `{}` for the name."""
        rows = []
        for name in names:
            texts = self.tokenise([prompt.format(readable(name)) for prompt in prompts])
            mean = functional.normalize(self.model.encode_text(texts), dim=-1).mean(dim=0)
            rows.append(functional.normalize(mean, dim=0))
        return torch.stack(rows).float().numpy()

    @torch.inference_mode()
    def images(self, contents: Iterable[bytes], batch_size: int = 32) -> NDArray[np.float32]:
        """(n, e) unit-length embeddings of encoded pictures. Raises ZSLError that numbers a picture it cannot read."""
        rows: list[torch.Tensor] = []
        waiting: list[torch.Tensor] = []

        def flush() -> None:
            if waiting:
                rows.append(functional.normalize(self.model.encode_image(torch.stack(waiting)), dim=-1).float())
                waiting.clear()

        for number, content in enumerate(contents):
            try:
                waiting.append(self.preprocess(decode(content)))
            except BadImage as error:
                raise ZSLError(f"image {number}: {error}; replace or remove it") from error
            if len(waiting) == batch_size:
                flush()
        flush()
        return torch.cat(rows).numpy()

    def scores(self, images: NDArray[np.float32], classes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scaled cosines (n, classes): the logits of CLIP's softmax."""
        return np.asarray(float(self.model.logit_scale.detach().exp()) * images @ classes.T, dtype=np.float32)


def load(name: str = "ViT-B-32", weights: str | None = None) -> Clip:
    """A model by open_clip's name and weights, None: random. Raises ZSLError where `open_model` does."""
    return Clip(*open_model(name, weights))
