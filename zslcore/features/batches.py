"""One batch of images through the network, and the engine that does it on this machine."""

import hashlib
import os
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from zslcore.features import image_sources
from zslcore.features.backbones import Backbone
from zslcore.features.image_sources import ImageRef
from zslcore.features.images import BadImage, NoMemory, Transform
from zslcore.features.network import ExtractionPlan, Network
from zslcore.features.prefetch import prefetch
from zslcore.features.store import Outcome, Store

PREFETCHED = 2
"""Batches whose images are being decoded while the network computes."""

Knows = Callable[[bytes], bool]
"""Whether the features of the image with this key, SHA-256 of its bytes, are there already."""
Computed = Generator[tuple[list[ImageRef], list[Outcome]], None, None]
"""Batches with the outcomes of their images."""
Engine = Callable[[ExtractionPlan, Backbone, Iterable[list[ImageRef]], Store], Computed]
"""Computes batches, in any order, without the images that the store knows; which images form a batch never depends on
the engine."""


class Decoded(NamedTuple):
    """A decoded image: its key, and pixels (height, width, 3) unless it is known or bad; reason: why it is bad."""

    key: bytes | None
    pixels: NDArray[np.uint8] | None = None
    reason: str | None = None


def decode_image(image: ImageRef, prepare: Transform, knows: Knows = lambda key: False) -> Decoded:
    """Read and decode one image; without pixels where `knows(key)` is true: its features are there already.

    Where memory was short it has no key: a reason stored under the key would hold for every later run.
    """
    key = None
    try:
        content = image_sources.read(image)
        key = hashlib.sha256(content).digest()
        return Decoded(key) if knows(key) else Decoded(key, prepare(content))
    except (NoMemory, MemoryError):
        return Decoded(None, reason=str(NoMemory()))
    except BadImage as error:
        return Decoded(key, reason=str(error))


class Batch:
    """Decoded images, staged for the network; each keeps its place, also where others have no pixels."""

    def __init__(self, network: Network, decoded: list[Decoded]) -> None:
        self.network, self.decoded = network, decoded
        pixels = [image.pixels for image in decoded]
        self.tensor = None if all(values is None for values in pixels) else network.stage(pixels)

    def start(self) -> Self:
        """Start computing; on CUDA this returns at once."""
        if self.tensor is not None:
            self.tensor = self.network.start(self.tensor, len(self.decoded))
        return self

    def outcomes(self) -> list[Outcome]:
        """The outcomes of a started batch's images, in their order."""
        if self.tensor is None:
            return [Outcome(image.key, None, image.reason) for image in self.decoded]
        rows = self.network.finish(self.tensor)
        return [self._outcome(image, row) for image, row in zip(self.decoded, rows, strict=True)]

    def _outcome(self, image: Decoded, row: NDArray[np.float32]) -> Outcome:
        if image.pixels is None:
            return Outcome(image.key, None, image.reason)
        if reason := self.network.overflows(row):
            return Outcome(image.key, None, reason)
        return Outcome(image.key, self.network.record(row))


def local(workers: int | None = None) -> Engine:
    """The engine of one machine: `workers` threads (None: one a core) decode while the network computes."""

    def compute(plan: ExtractionPlan, backbone: Backbone, batches: Iterable[list[ImageRef]], store: Store) -> Computed:
        return decode_and_compute(Network(plan, backbone), plan.transform(backbone), batches, store.knows, workers)

    return compute


def decode_and_compute(
    network: Network,
    prepare: Transform,
    batches: Iterable[list[ImageRef]],
    knows: Knows,
    workers: int | None = None,
) -> Computed:
    """Yield the batches in order with their outcomes; `workers` threads (None: one a core) decode the next ones."""
    before: tuple[list[ImageRef], Batch] | None = None
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        decoding = (
            (images, [pool.submit(decode_image, image, prepare, knows) for image in images]) for images in batches
        )
        for images, futures in prefetch(decoding, PREFETCHED):
            batch = Batch(network, [future.result() for future in futures])
            if before:  # kept before the next is started: a kill loses one batch, not two
                yield before[0], before[1].outcomes()
            before = images, batch.start()
    if before:
        yield before[0], before[1].outcomes()
