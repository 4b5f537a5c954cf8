"""Pictures as training sees them: a random part of each, resized to the network's input, half of them mirrored."""

import copy
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from zslcore.errors import ZSLError
from zslcore.features.backbones import Backbone
from zslcore.features.halves import lower
from zslcore.features.image_sources import ImageRef, Missing, read
from zslcore.features.images import BadImage, decode, transform
from zslcore.features.network import folded
from zslcore.io.artifacts import atomic
from zslcore.progress import progress
from zslcore.training.seeding import seeded

AT_ONCE = 32
"""Images whose views are computed together."""


class Views:
    """Random views of images, which are read and decoded at every call; none of them is in memory.

    images: no other is opened. preprocessing: as in `Backbone`. crop: smallest share of a picture's area that a view
    shows; with 1, views are what `extract` computes features of, but for `flip`. flip: half of the views are mirrored.
    """

    def __init__(
        self, images: Sequence[ImageRef | Missing], preprocessing: dict[str, Any], crop: float = 1.0, flip: bool = False
    ) -> None:
        self.images = images
        side = preprocessing["input_size"][1:]
        self._whole = transform(preprocessing)
        self._least = math.ceil(2 * max(side) / math.sqrt(crop))  # of a JPEG that is decoded small
        self._crop = None
        if crop < 1:
            interpolation = InterpolationMode(preprocessing["interpolation"])
            self._crop = v2.RandomResizedCrop(tuple(side), (crop, 1.0), interpolation=interpolation)
        self._flip = v2.RandomHorizontalFlip(0.5 if flip else 0.0)
        self._mean, self._std = (torch.tensor(preprocessing[name]).view(3, 1, 1) for name in ("mean", "std"))

    def __call__(self, rows: Tensor, number: tuple[int, int] | None = None) -> Tensor:
        """Normalised pictures (n, 3, height, width) float32 of these rows of `images`, on the CPU.

        number: a seed, and which of an image's views it is: that view is the same whatever other images there are.
        None: what is random comes from torch's stream, image after image.
        Raises ZSLError, with its name, for an image that cannot be read.
        """
        places = rows.tolist()
        pixels = []
        with ThreadPoolExecutor() as threads:
            for row, picture in zip(places, threads.map(self._decode, places), strict=True):
                with nullcontext() if number is None else seeded(number[0], f"view {number[1]} of {row}"):
                    pixels.append(np.asarray(self._view(picture)))
        return (torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255 - self._mean) / self._std

    def _decode(self, row: int) -> Image.Image | NDArray[np.uint8]:
        image = self.images[row]
        try:
            if isinstance(image, Missing):
                raise BadImage(image.reason)
            content = read(image)
            return self._whole(content) if self._crop is None else decode(content, self._least)
        except BadImage as error:
            raise ZSLError(f"{image.name}: {error}; mend or remove it, then extract again") from error

    def _view(self, picture: Image.Image | NDArray[np.uint8]) -> Image.Image:
        whole = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        mirrored: Image.Image = self._flip(whole if self._crop is None else self._crop(whole))
        return mirrored


@torch.no_grad()
def store_views(
    path: Path, backbone: Backbone, stage: str, views: Views, each: int, seed: int, device: torch.device
) -> None:
    """Write what a stage takes of `each` views of every image: (each, n, ...) float16, a NumPy file, atomically.

    So the part of a network that does not learn computes a view once, however long the rest is trained.
    """
    channels, height, width = backbone.preprocessing["input_size"]
    module = folded(backbone.module, torch.linspace(-2, 2, channels * height * width).view(1, channels, height, width))
    module = copy.deepcopy(module).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    count = len(views.images)
    with atomic(path) as temporary, progress("views", each * count, "images") as advance:
        stored = None
        for view in range(each):
            for rows in torch.split(torch.arange(count), AT_ONCE):
                pictures = views(rows, (seed, view)).to(device, memory_format=torch.channels_last)
                values = lower(module, stage, pictures).half().cpu().numpy()
                if stored is None:
                    shape = (each, count, *values.shape[1:])
                    stored = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=shape)
                stored[view, rows.numpy()] = values
                advance(len(rows))
        assert stored is not None
        stored.flush()
