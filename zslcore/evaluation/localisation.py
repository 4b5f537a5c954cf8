"""Whether maps of attributes point at what shows them, where it is known what each place of a picture shows."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional


class Pointing(NamedTuple):
    """How well the maps of one attribute find its part, over the images that have and show it; shares in [0, 1].

    images: their number. accuracy: the map's maximum falls on the part. chance: a place drawn at random does, which is
    the part's share of the picture. others: the maximum in another image does, which a map that always points at the
    usual place reaches. iou: overlap over union of the part and of where the map is above the middle of its range;
    iou_others: the same with another image's map.
    """

    attribute: str
    images: int
    accuracy: float
    chance: float
    others: float
    iou: float
    iou_others: float


def localisation(
    maps: NDArray[np.float32],
    shown: NDArray[np.integer[Any]],
    parts: Sequence[int | None],
    present: NDArray[np.bool_],
    names: Sequence[str],
) -> list[Pointing]:
    """One row for each attribute that has a part and is seen in at least two images.

    maps: (n, a, h, w). shown: (n, H, W), the number of the part at each place of what the network saw, to which size
    the maps are enlarged (bilinear). parts: of each attribute, None for one without a place. present: (n, a).
    """
    rows = []
    for k, part in enumerate(parts):
        masks = shown == part
        images = np.flatnonzero(present[:, k] & masks.any(axis=(1, 2)))
        if part is None or len(images) < 2:
            continue
        masks = masks[images]
        large = enlarged(maps[images, k], masks.shape[1:])
        peaks = large.reshape(len(images), -1).argmax(axis=1)
        low, high = large.min(axis=(1, 2), keepdims=True), large.max(axis=(1, 2), keepdims=True)
        regions = large > (low + high) / 2
        flat, order = masks.reshape(len(images), -1), np.arange(len(images))
        another = np.roll(order, 1)
        rows.append(
            Pointing(
                names[k],
                len(images),
                accuracy=float(flat[order, peaks].mean()),
                chance=float(flat.mean()),
                others=float(flat[order, peaks[another]].mean()),
                iou=_iou(masks, regions),
                iou_others=_iou(masks, regions[another]),
            )
        )
    return rows


def enlarged(maps: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """(n, h, w) to (n, *size), bilinear between the middles of places."""
    large = functional.interpolate(torch.from_numpy(np.ascontiguousarray(maps))[:, None], size, mode="bilinear")
    return np.asarray(large[:, 0])


def _iou(masks: NDArray[np.bool_], regions: NDArray[np.bool_]) -> float:
    both, either = (masks & regions).sum(axis=(1, 2)), (masks | regions).sum(axis=(1, 2))
    return float((both / either).mean())


def mean_over_attributes(rows: Sequence[Pointing]) -> Pointing:
    """Every attribute alike, however many images show it."""
    values = np.array([row[2:] for row in rows], float).mean(axis=0).tolist()
    return Pointing("mean over attributes", sum(row.images for row in rows), *values)
