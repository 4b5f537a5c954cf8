"""One batch of images through the network, and the engine that does it on this machine."""

import hashlib
import os
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from zslcore.features import sources
from zslcore.features.ahead import ahead
from zslcore.features.backbones import Backbone
from zslcore.features.images import BadImage, NoMemory, Transform, transform
from zslcore.features.network import Network, Run
from zslcore.features.sources import ImageRef
from zslcore.features.store import Outcome, Store

BATCHES_AHEAD = 2

Knows = Callable[[bytes], bool]
"""Whether the features of an image with this key are there already."""
Computed = Generator[tuple[list[ImageRef], list[Outcome]], None, None]
"""Batches with what became of their images."""
Engine = Callable[[Run, Backbone, Iterable[list[ImageRef]], Store], Computed]
"""Computes batches, in any order, that the store does not know; the batches themselves never depend on the engine."""


class Decoded(NamedTuple):
    """An image on its way to the network: its key, and its pixels unless it is known already or bad."""

    key: bytes | None
    pixels: NDArray[np.uint8] | None = None
    reason: str | None = None


def decode_image(image: ImageRef, prepare: Transform, knows: Knows = lambda key: False) -> Decoded:
    """Read, name and decode one image; no pixels where `knows` says that its features are there already.

    For want of memory nothing is said under its key, which would be believed in every later run.
    """
    key = None
    try:
        content = sources.read(image)
        key = hashlib.sha256(content).digest()
        return Decoded(key) if knows(key) else Decoded(key, prepare(content))
    except (NoMemory, MemoryError):
        return Decoded(None, reason=str(NoMemory()))
    except BadImage as error:
        return Decoded(key, reason=str(error))


class Batch:
    """Decoded images, staged for the network; each keeps its place whatever became of the others."""

    def __init__(self, network: Network, decoded: list[Decoded]) -> None:
        self.network, self.decoded = network, decoded
        pixels = [image.pixels for image in decoded]
        self.tensor = None if all(values is None for values in pixels) else network.stage(pixels)

    def start(self) -> Self:
        """Let the network compute; on CUDA it goes on by itself."""
        if self.tensor is not None:
            self.tensor = self.network.start(self.tensor, len(self.decoded))
        return self

    def outcomes(self) -> list[Outcome]:
        """What became of the images of a started batch."""
        if self.tensor is None:
            return [Outcome(image.key, None, image.reason) for image in self.decoded]
        rows = self.network.finish(self.tensor)
        return [self._outcome(image, row) for image, row in zip(self.decoded, rows, strict=True)]

    def _outcome(self, image: Decoded, row: NDArray[np.float32]) -> Outcome:
        if image.pixels is None:
            return Outcome(image.key, None, image.reason)
        if not np.isfinite(row).all():
            precision = self.network.run.precision
            return Outcome(image.key, None, f"its features overflow in {precision}: set extract.precision to fp32")
        return Outcome(image.key, row)


def local(workers: int | None = None) -> Engine:
    """The engine of one machine: `workers` threads decode ahead while the network computes."""

    def compute(run: Run, backbone: Backbone, batches: Iterable[list[ImageRef]], store: Store) -> Computed:
        prepare = transform(backbone.preprocessing, run.scaled)
        return decode_and_compute(Network(run, backbone), prepare, batches, store.knows, workers)

    return compute


def decode_and_compute(
    network: Network,
    prepare: Transform,
    batches: Iterable[list[ImageRef]],
    knows: Knows,
    workers: int | None = None,
) -> Computed:
    """The batches in order, decoded by `workers` threads (None: one a core) ahead of the network."""
    before: tuple[list[ImageRef], Batch] | None = None
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        decoding = (
            (images, [pool.submit(decode_image, image, prepare, knows) for image in images]) for images in batches
        )
        for images, futures in ahead(decoding, BATCHES_AHEAD):
            batch = Batch(network, [future.result() for future in futures])
            if before:  # kept before the next is started: a kill loses one batch, not two
                yield before[0], before[1].outcomes()
            before = images, batch.start()
    if before:
        yield before[0], before[1].outcomes()
