"""Encoded images to RGB pixels, and what is wrong with those that cannot be read."""

import io
import math
import warnings
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from zslcore.datasets.image_files import BEGINNING, KINDS, MAX_PIXELS, check_size, what
from zslcore.datasets.image_files import BadImage as BadImage  # for those who decode
from zslcore.io.extras import Lazy

timm: Any = Lazy("timm")

MAX_RESIZED = 50_000_000
"""Pixels of a picture once its shorter side is what the network takes: one line of pixels would fill the memory."""

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # MAX_PIXELS is checked here instead


class NoMemory(BadImage):
    """There was no memory to decode an image; it may be a good one, and another run may have more."""

    def __init__(self) -> None:
        super().__init__("there was no memory to decode it: run again with more")


class Transform(Protocol):
    """Encoded bytes, or a picture -> (height, width, 3) uint8. Raises BadImage."""

    def __call__(self, content: bytes | Image.Image) -> NDArray[np.uint8]: ...


def transform(preprocessing: dict[str, Any], jpeg_downscaled: bool = False) -> Transform:
    """timm's evaluation transform up to the normalisation, which the network does (`Network`).

    preprocessing: as in `Backbone`. jpeg_downscaled: large JPEGs are decoded at a half, a quarter or an eighth of their
    size where that leaves at least twice the size they are then resized to; some networks see the difference.
    What is returned raises BadImage for an image that cannot be decoded, or is too narrow to be resized.
    """
    steps = timm.data.create_transform(**preprocessing, is_training=False, use_prefetcher=True).transforms
    *geometry, _to_tensor = steps
    side = math.ceil(max(preprocessing["input_size"][1:]) / (preprocessing["crop_pct"] or 1))

    def apply(content: bytes | Image.Image) -> NDArray[np.uint8]:
        if isinstance(content, Image.Image):
            picture = _rgb(content)
        else:
            picture = decode(content, 2 * side if jpeg_downscaled else None)
        if side**2 * max(picture.size) > MAX_RESIZED * min(picture.size):
            raise BadImage(f"{picture.width}x{picture.height} pixels: too narrow to be resized for the network")
        for step in geometry:
            picture = step(picture)
        return np.asarray(picture)

    return apply


def decode(content: bytes, at_least: int | None = None) -> Image.Image:
    """An RGB picture from the bytes of an image file: turned upright (EXIF), first frame, 16 bits scaled to 8.

    at_least: JPEGs may be decoded at a fraction of their size, never below this side. Transparency is dropped.
    Raises BadImage.
    """
    if not content:
        raise BadImage("the file is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(content), formats=KINDS) as image:
            check_size(image)
            if at_least is not None:
                image.draft(None, (at_least, at_least))
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return _rgb(image)
    except BadImage:
        raise
    except UnidentifiedImageError as error:
        raise BadImage(what(content[:BEGINNING])) from error
    except Image.DecompressionBombError as error:
        raise BadImage(f"claims more than {MAX_PIXELS:,} pixels") from error
    except MemoryError as error:
        raise NoMemory from error
    except Exception as error:  # Pillow's readers of broken files raise what they like
        if "out of memory" in str(error).lower():
            raise NoMemory from error
        raise BadImage(f"truncated or damaged ({error})") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits: convert() would clip to 255 instead of scaling
        values = np.asarray(image)
        return Image.fromarray((values.clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise BadImage("pixels are floating-point numbers of unknown range: save it with 8 or 16 bits")
    return image if image.mode == "RGB" else image.convert("RGB")  # which copies even where there is nothing to convert
