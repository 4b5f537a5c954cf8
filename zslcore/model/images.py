"""From images to the features a model was trained on: the same network, the same preprocessing, or a clear refusal."""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zslcore.errors import ZSLError
from zslcore.features import backbones
from zslcore.features.backbones import Backbone
from zslcore.features.batches import Batch, Decoded, decode_image
from zslcore.features.image_sources import Missing, whole_file
from zslcore.features.images import BadImage, Transform
from zslcore.features.network import PROCESSORS, ExtractionPlan, Network
from zslcore.features.store import Outcome
from zslcore.model.header import BackboneHeader
from zslcore.nn.state import numpy_state
from zslcore.settings import Output
from zslcore.training.device import fast_precisions, resolve_device

Picture = str | Path | bytes | Image.Image | NDArray[np.uint8]
"""A path or an address, the bytes of an image file, a Pillow image, or pixels (height, width, 3) or (height, width)."""
AT_ONCE = 32
"""Images that a GPU computes together."""


@dataclass(frozen=True)
class Extractor:
    """Features of images, as the model's training images had them. The network is loaded when it is first needed.

    included: its weights, where the model file has them. where: that file, for messages. weights: where they are on
    this machine, `pretrained` or `file:PATH`; None: as when the model was made. backbone: the name of one outside timm,
    `package.module:function`: a model file alone makes no code run. output: what is given of an image, a vector (d,)
    float32, or a record of `regions.layout`, whatever the training images had besides.
    """

    header: BackboneHeader
    included: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    where: str = "the model"
    weights: str | None = None
    backbone_name: str | None = None
    output: Output = "pooled"

    @cached_property
    def plan(self) -> ExtractionPlan:
        """How features are computed on this machine: in 32 bits where it has no units for 16."""
        plan = ExtractionPlan.from_dict(self.header.plan)
        device = resolve_device("auto")
        precision = plan.precision if plan.precision in fast_precisions(device) else "fp32"
        weights = self.weights or plan.weights
        return replace(plan, device=str(device), precision=precision, weights=weights, output=self.output)

    @cached_property
    def backbone(self) -> Backbone:
        """The network. Raises ZSLError where its weights cannot be had, or are others than those of the model."""
        plan, where = self.plan, self.where
        if ":" in plan.backbone and self.backbone_name != plan.backbone:
            raise ZSLError(
                f"{where}: its backbone is the function '{plan.backbone}', which would be run; where you trust it, say "
                f"so: --backbone {plan.backbone}"
            )
        found = self._included() if self.included else self._load()
        if found.fingerprint != plan.fingerprint:
            raise ZSLError(
                f"{where}: made with weights {plan.fingerprint[:12]} of {plan.backbone}, and those here "
                f"({plan.weights}) are {found.fingerprint[:12]}; give the same: --weights file:PATH"
            )
        lists = self.header.preprocessing.items()  # JSON has no tuples
        return replace(found, preprocessing={k: tuple(v) if isinstance(v, list) else v for k, v in lists})

    def _included(self) -> Backbone:
        return backbones.with_weights(self.plan.backbone, self.included, self.plan.image_size)

    def _load(self) -> Backbone:
        plan = self.plan
        try:
            return backbones.load(plan.backbone, plan.weights, plan.image_size)
        except ZSLError as error:
            raise ZSLError(
                f"{self.where}: the weights of its backbone {plan.backbone} ({plan.fingerprint[:12]}) are not in it, "
                f"and cannot be had ({error}); give them with --weights file:PATH, or pack the model with "
                "package.include_backbone"
            ) from error

    def including(self) -> "Extractor":
        """The same with the weights inside."""
        return replace(self, included=numpy_state(self.backbone.module, ""))

    def giving(self, output: Output) -> "Extractor":
        """The same, which gives another output; maps are those of the training images, before the last stage or after.

        Raises ZSLError for maps where features are averaged over crops.
        """
        if output == "map" and ExtractionPlan.from_dict(self.header.plan).output == "before":
            output = "before"
        if output != "pooled" and self.plan.views == "five":
            raise ZSLError(f"{self.where}: its features are averaged over crops, which show different places: no maps")
        other = replace(self, output=output)
        vars(other).update({name: value for name, value in vars(self).items() if name == "backbone"})  # loaded once
        return other

    def __call__(self, pictures: Iterable[Picture]) -> Iterator[Outcome]:
        """The features of each picture, or the reason why it has none, in order."""
        remaining = iter(pictures)
        with ThreadPoolExecutor(PROCESSORS) as pool:
            while batch := list(islice(remaining, self.network.plan.batch_size)):
                yield from Batch(self.network, list(pool.map(self.decode, batch))).start().outcomes()

    def decode(self, picture: Picture) -> Decoded:
        """Pixels as the network takes them, or the reason why there are none."""
        if isinstance(picture, str | Path):
            image = whole_file(str(picture), str(picture))
            if isinstance(image, Missing):
                return Decoded(None, reason=image.reason)
            return decode_image(image, self.prepare)
        try:
            return Decoded(None, self.prepare(_encoded(picture)))
        except BadImage as error:
            return Decoded(None, reason=str(error))

    @cached_property
    def prepare(self) -> Transform:
        """Image files to the pixels that the network takes."""
        return self.plan.transform(self.backbone)

    @cached_property
    def network(self) -> Network:
        """On a CPU one image a thread, so that one alone costs one forward pass and no more."""
        on_cpu = self.plan.device == "cpu"
        size, splits = (PROCESSORS, PROCESSORS) if on_cpu else (min(AT_ONCE, self.plan.batch_size), 1)
        return Network(replace(self.plan, batch_size=size, cpu_splits=splits, compiled=False), self.backbone)


def _encoded(picture: bytes | Image.Image | NDArray[Any]) -> bytes | Image.Image:
    if not isinstance(picture, np.ndarray):
        return picture
    of_colours = picture.ndim == 3 and picture.shape[2] in (3, 4)
    if picture.dtype != np.uint8 or not (of_colours or picture.ndim == 2):
        raise ZSLError(
            f"an image of {picture.dtype} {picture.shape}; give pixels (height, width, 3) in RGB, of 8 bits (uint8)"
        )
    return Image.fromarray(picture)
