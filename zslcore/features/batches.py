"""One batch of images through the network, and the engine that does it on this machine."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zslcore.features import sources
from zslcore.features.backbones import Backbone
from zslcore.features.images import BadImage, Transform, transform
from zslcore.features.network import Network, Run
from zslcore.features.sources import ImageRef
from zslcore.features.store import Outcome

BATCHES_AHEAD = 2

Knows = Callable[[bytes], bool]
"""Whether the features of an image with this key are there already."""
Computed = Iterator[tuple[list[ImageRef], list[Outcome]]]
"""Batches with what became of their images."""
Engine = Callable[[Run, Backbone, Iterable[list[ImageRef]], Knows], Computed]
"""Computes batches, in any order; the batches themselves never depend on the engine."""


class Decoded(NamedTuple):
    """An image on its way to the network: its key, and its pixels unless it is known already or bad."""

    key: bytes | None
    pixels: NDArray[np.uint8] | None = None
    reason: str | None = None


def decode_image(image: ImageRef, prepare: Transform, knows: Knows = lambda key: False) -> Decoded:
    """Read, name and decode one image; no pixels where `knows` says that its features are there already."""
    try:
        content = sources.read(image)
    except BadImage as error:
        return Decoded(None, reason=str(error))
    key = hashlib.sha256(content).digest()
    if knows(key):
        return Decoded(key)
    try:
        return Decoded(key, prepare(content))
    except BadImage as error:
        return Decoded(key, reason=str(error))


def run_batch(network: Network, decoded: list[Decoded]) -> list[Outcome]:
    """Features of the images that have pixels; each keeps its place in the batch whatever became of the others."""
    pixels = {place: image.pixels for place, image in enumerate(decoded) if image.pixels is not None}
    features: dict[int, NDArray[np.float32]] = {}
    if pixels:
        batch = np.zeros((len(decoded), *next(iter(pixels.values())).shape), np.uint8)
        for place, values in pixels.items():
            batch[place] = values
        rows = network(batch)
        features = {place: rows[place] for place in pixels}
    return [Outcome(image.key, features.get(place), image.reason) for place, image in enumerate(decoded)]


def local(workers: int | None = None) -> Engine:
    """The engine of one machine: `workers` threads decode ahead while the network computes."""

    def compute(run: Run, backbone: Backbone, batches: Iterable[list[ImageRef]], knows: Knows) -> Computed:
        network, prepare = Network(run, backbone), transform(backbone.preprocessing)
        with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
            queue: deque[tuple[list[ImageRef], list[Future[Decoded]]]] = deque()
            for images in _then_nothing(batches):
                if images:
                    queue.append((images, [pool.submit(decode_image, image, prepare, knows) for image in images]))
                while queue and (len(queue) > BATCHES_AHEAD or not images):
                    first, futures = queue.popleft()
                    yield first, run_batch(network, [future.result() for future in futures])

    return compute


def _then_nothing(batches: Iterable[list[ImageRef]]) -> Iterator[list[ImageRef]]:
    yield from batches
    yield []
