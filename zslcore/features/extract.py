"""Images to one file of features: streamed, resumable, with the same bytes however often it was interrupted."""

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from zslcore import artifacts
from zslcore.datasets import dataset as datasets
from zslcore.errors import ZSLError
from zslcore.features import backbones, sources
from zslcore.features.backbones import Backbone
from zslcore.features.images import BadImage, Transform, transform
from zslcore.features.network import Network, Run
from zslcore.features.settings import ExtractSettings
from zslcore.features.sources import ImageRef, Images
from zslcore.features.store import Outcome, Store, open_store
from zslcore.progress import progress
from zslcore.training import resolve_device

STORE = Path(".zsl/features")
BATCHES_AHEAD = 2
ROWS_AT_ONCE = 1024


class Decoded(NamedTuple):
    """An image on its way to the network: its key, and its pixels unless it is known already or bad."""

    key: bytes | None
    pixels: NDArray[np.uint8] | None = None
    reason: str | None = None


class Summary(NamedTuple):
    """images: wanted; computed: in this run; skipped: (name, reason) of each bad one."""

    images: int
    computed: int
    skipped: list[tuple[str, str]]


def extract(
    dataset: Path, out: Path, settings: ExtractSettings, device: str = "auto", store_folder: Path = STORE
) -> Summary:
    """Write the features (n, d) float32 of a prepared data set's images, or pass given features through unchanged.

    With `on_bad_image: skip`, rows of bad images are zeros and listed in `skipped` (k,) int64; readers leave them out
    of every split (`datasets.load(..., features=out)`). Raises ZSLError that lists all bad images otherwise; what was
    computed stays in the store.
    """
    inputs = {"dataset": dataset}
    if datasets.has_features(dataset):
        with artifacts.open_artifact(dataset, artifacts.DATASET) as file:
            source = artifacts.dataset(file, "features", np.float32, ndim=2)
            with artifacts.create(out, artifacts.FEATURES, {"given": True}, inputs) as target:
                features = target.create_dataset("features", source.shape, np.float32)
                for start in range(0, len(source), ROWS_AT_ONCE):
                    features[start : start + ROWS_AT_ONCE] = source[start : start + ROWS_AT_ONCE]
        return Summary(len(source), 0, [])
    return extract_source(sources.of_dataset(dataset), out, settings, device, inputs, store_folder)


def extract_source(
    source: Images,
    out: Path,
    settings: ExtractSettings,
    device: str = "auto",
    inputs: dict[str, Path] | None = None,
    store_folder: Path = STORE,
) -> Summary:
    """Write the features of any source's images; see `extract`."""
    backbone = backbones.load(settings.backbone, settings.weights, settings.image_size)
    with open_store(store_folder / f"{settings.backbone}-{_key(backbone, settings, device)}.sqlite") as store:
        run = Run(**store.settings(lambda: resolve(backbone, settings, device).as_dict()))
        count, pending = store.want(source)
        if pending:
            compute(store, run, backbone, settings.workers or os.cpu_count() or 1, pending)
        about = {"extract": run.as_dict(), "preprocessing": backbone.preprocessing}
        skipped = write(store, out, count, backbone.dimensions, settings.on_bad_image == "fail", about, inputs)
    return Summary(count, pending, skipped)


def _key(backbone: Backbone, settings: ExtractSettings, device: str) -> str:
    """Names what features depend on, as asked for: what is `auto` is resolved once and kept in the store."""
    asked = settings.model_dump(include={"batch_size", "precision", "compile"})
    everything = [
        backbone.fingerprint,
        backbone.preprocessing,
        asked,
        resolve_device(device).type,
        artifacts.library_versions(),
    ]
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:16]


def resolve(backbone: Backbone, settings: ExtractSettings, device: str) -> Run:
    """Decide what the settings leave open, for this machine."""
    found = resolve_device(device)
    return Run(
        backbone=settings.backbone,
        weights=settings.weights,
        image_size=settings.image_size,
        device=str(found),
        precision="fp32" if settings.precision == "auto" else settings.precision,
        batch_size=settings.batch_size or 32,
        compiled=settings.compile == "always",
        fingerprint=backbone.fingerprint,
    )


def compute(store: Store, run: Run, backbone: Backbone, workers: int, pending: int) -> None:
    """Compute what is pending, batch by batch, and keep each in the store."""
    network, prepare = Network(run, backbone), transform(backbone.preprocessing)

    def look(image: ImageRef) -> Decoded:
        return load_image(image, prepare, store.knows)

    with progress("extract", pending) as advance, ThreadPoolExecutor(workers) as pool:
        for images, decoded in ahead(store.pending(run.batch_size), look, pool):
            store.commit(images, run_batch(network, decoded))
            advance(len(images))


def ahead(
    batches: Iterable[list[ImageRef]], look: Callable[[ImageRef], Decoded], pool: ThreadPoolExecutor
) -> Iterator[tuple[list[ImageRef], list[Decoded]]]:
    """Decode batches in `pool`, a few of them ahead of the one that is handed out."""
    queue: deque[tuple[list[ImageRef], list[Future[Decoded]]]] = deque()
    for images in batches:
        queue.append((images, [pool.submit(look, image) for image in images]))
        if len(queue) > BATCHES_AHEAD:
            first, futures = queue.popleft()
            yield first, [future.result() for future in futures]
    while queue:
        first, futures = queue.popleft()
        yield first, [future.result() for future in futures]


def load_image(image: ImageRef, prepare: Transform, knows: Callable[[bytes], bool] = lambda key: False) -> Decoded:
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


def write(
    store: Store,
    out: Path,
    count: int,
    dimensions: int,
    fail_on_bad: bool,
    about: Mapping[str, Any],
    inputs: dict[str, Path] | None,
) -> list[tuple[str, str]]:
    """Write the wanted features in order; returns (name, reason) of each image without."""
    skipped: list[tuple[str, str]] = []
    rows: list[int] = []
    with artifacts.create(out, artifacts.FEATURES, about, inputs) as file:
        features = file.create_dataset("features", (count, dimensions), np.float32)
        buffer = np.zeros((min(count, ROWS_AT_ONCE), dimensions), np.float32)
        for row, (name, values, reason) in enumerate(store.results()):
            place = row % len(buffer)
            buffer[place] = 0 if values is None else values
            if values is None:
                skipped.append((name, reason or "unknown"))
                rows.append(row)
            if place == len(buffer) - 1 or row == count - 1:
                features[row - place : row + 1] = buffer[: place + 1]
        if skipped and (fail_on_bad or len(skipped) == count):
            raise ZSLError(report(skipped, count))
        write_skipped(file, rows, skipped)
    return skipped


def write_skipped(file: h5py.File, rows: list[int], skipped: list[tuple[str, str]]) -> None:
    """List the rows that have no features, with names and reasons, where there are any."""
    if skipped:
        file["skipped"] = np.array(rows, np.int64)
        artifacts.put_strings(file, "skipped_names", tuple(name for name, _ in skipped))
        artifacts.put_strings(file, "skipped_reasons", tuple(reason for _, reason in skipped))


def report(skipped: list[tuple[str, str]], count: int) -> str:
    """All bad images in one message."""
    lines = "\n".join(f"  {name}: {reason}" for name, reason in skipped)
    return (
        f"{len(skipped)} of {count} images cannot be used:\n{lines}\n"
        "repair or remove them, or set extract.on_bad_image to skip; the features of the others are kept for then"
    )
