"""From images to the features a model was trained on: the same network, the same preprocessing, or a clear refusal."""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image

from zslcore.errors import ZSLError
from zslcore.features import backbones
from zslcore.features.backbones import Backbone
from zslcore.features.batches import Batch, Decoded, decode_image
from zslcore.features.image_sources import Missing, whole_file
from zslcore.features.images import BadImage, transform
from zslcore.features.network import PROCESSORS, ExtractionPlan, Network
from zslcore.features.store import Outcome
from zslcore.model.header import BackboneHeader
from zslcore.nn.state import put_state
from zslcore.training.device import fast_precisions, resolve_device

Picture = str | Path | bytes | Image.Image | NDArray[np.uint8]
"""A path or an address, the bytes of an image file, a Pillow image, or pixels (height, width, 3) or (height, width)."""
AT_ONCE = 32
"""Images that a GPU computes together."""


class Extractor:
    """Features of images, as the model's training images had them.

    plan: how features are computed on this machine.
    """

    def __init__(self, plan: ExtractionPlan, backbone: Backbone) -> None:
        self.plan, self.backbone = plan, backbone
        self._network: Network | None = None
        self._prepare = transform(backbone.preprocessing, plan.jpeg_downscaled)

    def __call__(self, pictures: Iterable[Picture]) -> Iterator[Outcome]:
        """The features of each picture, or the reason why it has none, in order."""
        network = self._network = self._network or self._make()
        remaining = iter(pictures)
        with ThreadPoolExecutor(PROCESSORS) as pool:
            while batch := list(islice(remaining, network.plan.batch_size)):
                yield from Batch(network, list(pool.map(self.decode, batch))).start().outcomes()

    def decode(self, picture: Picture) -> Decoded:
        """Pixels as the network takes them, or the reason why there are none."""
        if isinstance(picture, str | Path):
            image = whole_file(str(picture), str(picture))
            if isinstance(image, Missing):
                return Decoded(None, reason=image.reason)
            return decode_image(image, self._prepare)
        try:
            return Decoded(None, self._prepare(_picture(picture)))
        except BadImage as error:
            return Decoded(None, reason=str(error))

    def _make(self) -> Network:
        """One image a thread on a CPU, so that one alone costs one forward pass and no more."""
        on_cpu = self.plan.device == "cpu"
        size, splits = (PROCESSORS, PROCESSORS) if on_cpu else (min(AT_ONCE, self.plan.batch_size), 1)
        return Network(replace(self.plan, batch_size=size, cpu_splits=splits, compiled=False), self.backbone)


def _picture(picture: bytes | Image.Image | NDArray[Any]) -> bytes | Image.Image:
    if not isinstance(picture, np.ndarray):
        return picture
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or (picture.ndim == 3 and picture.shape[2] not in (3, 4)):
        raise ZSLError(
            f"an image as an array of {picture.dtype} and shape {picture.shape}; give uint8 pixels "
            "(height, width, 3), RGB"
        )
    return Image.fromarray(picture)


def extractor(
    header: BackboneHeader,
    included: Mapping[str, NDArray[Any]],
    where: str,
    weights: str | None = None,
    backbone: str | None = None,
) -> Extractor:
    """The network that a model's features were made with.

    included: its weights, where the model file has them. where: the file, for messages. weights: where they are on this
    machine, `pretrained` or `file:PATH`; None: as when the model was made. backbone: the name of one outside timm, as
    `package.module:function`: a file alone never makes code run.
    Raises ZSLError where the weights cannot be had, or are others.
    """
    plan = ExtractionPlan.from_dict(header.plan)
    if ":" in plan.backbone and backbone != plan.backbone:
        raise ZSLError(
            f"{where}: its backbone is the function '{plan.backbone}', which would be run; where you trust it, "
            f"say so: --backbone {plan.backbone}"
        )
    device = resolve_device("auto")
    precision = plan.precision if plan.precision in fast_precisions(device) else "fp32"
    plan = replace(plan, device=str(device), precision=precision, weights=weights or plan.weights)
    if included:
        module = timm.create_model(plan.backbone, num_classes=0)
        put_state(module, included, "")
        made = backbones.from_module(plan.backbone, module, {"img_size": plan.image_size})
    else:
        made = _load(plan, where)
    if made.fingerprint != plan.fingerprint:
        raise ZSLError(
            f"{where}: made with weights {plan.fingerprint[:12]} of {plan.backbone}, and those here "
            f"({plan.weights}) are {made.fingerprint[:12]}; give the same: --weights file:PATH"
        )
    preprocessing = {k: tuple(v) if isinstance(v, list) else v for k, v in header.preprocessing.items()}
    return Extractor(plan, replace(made, preprocessing=preprocessing))


def _load(plan: ExtractionPlan, where: str) -> Backbone:
    try:
        with torch.random.fork_rng():
            return backbones.load(plan.backbone, plan.weights, plan.image_size)
    except ZSLError as error:
        raise ZSLError(
            f"{where}: the weights of its backbone {plan.backbone} ({plan.fingerprint[:12]}) are not in the file, and "
            f"not here ({error}); give them with --weights file:PATH, or pack the model with package.include_backbone"
        ) from error
