"""Pictures with the map of an attribute over them: what in a picture spoke for its name."""

import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zslcore.evaluation.explain import Contribution
from zslcore.evaluation.localisation import enlarged
from zslcore.model.prediction import Prediction

AMONG, MOST = 8, 3
"""Attributes that are looked at, and those of them that are shown."""
COLOURS = np.array([(200, 20, 120), (250, 110, 40), (255, 245, 120)], np.float32)
"""From the middle of a map's range to its top; below the middle the picture stays as it is."""
OPACITY = 0.75
"""Of the colour at the top."""


def deciding(prediction: Prediction) -> list[Contribution]:
    """Of the attributes that spoke most, those for the winner that it has more of than the runner-up: at most `MOST`.

    What spoke by its lack is not in the picture.
    """
    return [one for one in prediction.attributes[:AMONG] if one.value > 0 and one.more][:MOST]


def overlays(
    prediction: Prediction, attributes: Sequence[str], picture: NDArray[np.uint8]
) -> Iterator[tuple[Contribution, NDArray[np.uint8]]]:
    """The deciding attributes, each with the picture under its map.

    prediction: with an explanation and maps. attributes: the model's. picture: (height, width, 3), as the network sees
    it.
    """
    assert prediction.maps is not None
    for one in deciding(prediction):
        yield one, overlay(picture, prediction.maps[attributes.index(one.attribute)])


def overlay(picture: NDArray[np.uint8], values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A picture (height, width, 3) under a map (h, w) of its places, coloured above the middle of the map's range."""
    large = enlarged(values[None], picture.shape[:2])[0]
    low, high = float(large.min()), float(large.max())
    heat = (2 * (large - low) / max(high - low, 1e-12) - 1).clip(0, 1)
    steps = np.linspace(0, 1, len(COLOURS))
    colour = np.stack([np.interp(heat, steps, channel) for channel in COLOURS.T], axis=2)
    opacity = OPACITY * heat[..., None]
    return (picture * (1 - opacity) + colour * opacity).round().astype(np.uint8)


def png(picture: NDArray[np.uint8], colours: int | None = None) -> bytes:
    """The bytes of a PNG of pixels (height, width, 3); colours: of a palette, which makes it a third as large."""
    out = io.BytesIO()
    image = Image.fromarray(picture)
    (image if colours is None else image.quantize(colours)).save(out, "PNG", optimize=True)
    return out.getvalue()


def write_overlays(
    prediction: Prediction, attributes: Sequence[str], picture: NDArray[np.uint8], folder: Path, number: int
) -> dict[str, str]:
    """Write a PNG for each deciding attribute; gives the file of each. number: of the image, in the file's name."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for rank, (one, pixels) in enumerate(overlays(prediction, attributes, picture), 1):
        stem = Path(prediction.file or "image").stem
        path = folder / f"{number:05}-{_short(stem)}-{rank}-{_short(one.attribute)}.png"
        path.write_bytes(png(pixels))
        files[one.attribute] = str(path)
    return files


def _short(name: str) -> str:
    return re.sub(r"[^\w]+", "-", name).strip("-")[:60]
