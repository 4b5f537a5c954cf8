"""Images to one file of features: streamed, resumable, with the same bytes however often it was interrupted."""

import hashlib
import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from zslcore.datasets import dataset as datasets
from zslcore.errors import ZSLError
from zslcore.features import backbones, image_sources
from zslcore.features.backbones import Backbone
from zslcore.features.batches import Engine, decode_image, local
from zslcore.features.image_sources import ImageRef, ImageSource, Missing
from zslcore.features.images import transform
from zslcore.features.network import UNSAID, ExtractionPlan, plan_extraction
from zslcore.features.regions import framed, layout
from zslcore.features.store import Store, open_store
from zslcore.io import artifacts
from zslcore.progress import progress
from zslcore.settings import Extract, Views, number_or
from zslcore.training.device import resolve_device

logger = logging.getLogger(__name__)

STORE = Path(".zsl/features")
ROWS_AT_ONCE = 1024
BYTES_AT_ONCE = 2**26
SAMPLE = 16
"""Images on which what is `auto` is decided."""
LOOKED_AT = 10 * SAMPLE
"""Images that are tried for these, where some cannot be read; more where none could."""
FEATURES_VERSION = 3
"""Raised when a change of this program changes the bytes of features, so that no store mixes old and new ones."""


class Summary(NamedTuple):
    """images: wanted; computed: new or changed, looked at in this run; skipped: (name, reason) of each bad one."""

    images: int
    computed: int
    skipped: list[tuple[str, str]]


def extract(
    dataset: Path,
    out: Path,
    settings: Extract,
    device: str = "auto",
    engine: Engine | None = None,
    store_folder: Path = STORE,
) -> Summary:
    """Write the features of a prepared data set's images; where it has features, copy them.

    The file has `features` (n, d) of the type `storage`, `maps` (n, h, w, c) float16, or both, as `output` says. Given
    features of 16 bits stay so.

    With `on_bad_image: skip`, rows of bad images are zeros and listed in `skipped` (k,) int64; readers leave them out
    of every split (`datasets.load(..., features=out)`). What is `auto` is decided on trainval images. Raises ZSLError
    that lists all bad images otherwise; what was computed stays in the store.
    """
    inputs = {"dataset": dataset}
    if not datasets.has_features(dataset):
        images = image_sources.of_dataset(dataset)
        with artifacts.open_artifact(dataset, artifacts.DATASET) as file:
            trainval = artifacts.array(file, "trainval", np.int64, ndim=1)
        return extract_images(images, out, settings, device, engine, store_folder, inputs, trainval)
    if settings.output != "pooled":
        raise ZSLError(f"{dataset}: its features were given, and have no maps; set extract.output to pooled")
    with artifacts.open_artifact(dataset, artifacts.DATASET) as file:
        source = artifacts.dataset(file, "features", np.float32, ndim=2)
        with artifacts.create(out, artifacts.FEATURES, {"given": True}, inputs) as target:
            dtype = np.float16 if source.dtype == np.float16 else settings.storage
            features = target.create_dataset("features", source.shape, dtype)
            for start in range(0, len(source), ROWS_AT_ONCE):
                rows = np.arange(start, min(start + ROWS_AT_ONCE, len(source)))
                features[rows[0] : rows[-1] + 1] = _fitting(artifacts.read_rows(source, rows), features)
        return Summary(len(source), 0, [])


def extract_images(
    images: ImageSource,
    out: Path,
    settings: Extract,
    device: str = "auto",
    engine: Engine | None = None,
    store_folder: Path = STORE,
    inputs: dict[str, Path] | None = None,
    decide_on: NDArray[np.int64] | None = None,
    planned: ExtractionPlan | None = None,
) -> Summary:
    """Write the features of images from anywhere, with their `names` where `inputs` is None.

    decide_on: (k,) rows of the images that what is `auto` may be decided on; None: all. planned: what was decided for
    other features, which these are to agree with. Rows of bad images, and errors, are as `extract` describes.
    """
    backbone = backbones.load(settings.backbone, settings.weights, number_or(settings.image_size, None))
    with open_store(store_path(store_folder, backbone, settings, device)) as store:
        store.join_left()
        count, pending = store.want(images)
        record = layout(backbone, settings.output)
        logger.info("%d images, %d to compute: %s", count, pending, disk(count, pending, record, settings))
        sampled = None if decide_on is None else of_rows(images, decide_on)
        if planned is not None:
            _begin(store, planned, backbone)
        plan = plan_of_store(store, backbone, settings, device, sampled=sampled)
        fill(store, pending, plan, backbone, engine or local(number_or(settings.workers, None)))
        about = {"extract": plan.as_dict(), "preprocessing": backbone.preprocessing}
        skipped = write(store, out, count, record, settings, about, inputs)
    return Summary(count, pending, skipped)


def fill(store: Store, pending: int, plan: ExtractionPlan, backbone: Backbone, engine: Engine) -> None:
    """Compute the `pending` features that the store lacks of the wanted ones; it has them after every batch."""
    if not pending:
        return
    bad, computed = store.missing(), engine(plan, backbone, store.pending(plan.batch_size), store)
    with closing(computed), progress("extract", pending, "images") as advance:
        for batch, outcomes in computed:
            store.commit(batch, outcomes)
            without = (outcome for outcome in outcomes if outcome.features is None)
            bad += sum(outcome.reason is not None or store.is_bad(outcome.key) for outcome in without)
            advance(len(batch), f"{bad} bad" if bad else "")


def by_plan(
    images: ImageSource, plan: ExtractionPlan, backbone: Backbone, engine: Engine, store_folder: Path = STORE
) -> Iterator[tuple[str, NDArray[Any] | None, str | None]]:
    """Yield (name, features or None, reason or None) of every image, in order, computed by a given plan.

    Features are (d,) float32, or with maps a record of `layout`. What is computed stays in the store of this plan, so
    that an interrupted run goes on where it was.
    """
    with open_store(path_by_plan(store_folder, plan, backbone)) as store:
        store.join_left()
        _, pending = store.want(images)
        fill(store, pending, plan, backbone, engine)
        if plan.output == "pooled":
            yield from store.results()
            return
        for name, values, reason in store.results(layout(backbone, plan.output)):
            yield name, None if values is None else values[0], reason


def path_by_plan(folder: Path, plan: ExtractionPlan, backbone: Backbone) -> Path:
    """Path of the store of what is computed by a given plan: its name hashes all that features depend on."""
    asked = plan.as_dict() | {"weights": plan.fingerprint, "device": resolve_device(plan.device).type}
    key = digest_of([FEATURES_VERSION, asked, backbone.preprocessing, artifacts.library_versions()])
    return folder / f"{backbone.name.replace(':', '.')}-{key}.sqlite"


def digest_of(everything: Any) -> str:
    """The first 16 digits of the SHA-256 of plain data."""
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:16]


def store_path(folder: Path, backbone: Backbone, settings: Extract, device: str) -> Path:
    """Path of the store for these settings: its name hashes all that features depend on, `auto` as it stands."""
    asked = settings.model_dump(include={"batch_size", "precision", "compile"})
    asked |= {name: value for name in UNSAID if (value := getattr(settings, name)) != UNSAID[name]}
    kind, versions = resolve_device(device).type, artifacts.library_versions()
    everything = [FEATURES_VERSION, backbone.fingerprint, backbone.preprocessing, asked, kind, versions]
    return folder / f"{backbone.name.replace(':', '.')}-{digest_of(everything)}.sqlite"


def plan_of_store(
    store: Store,
    backbone: Backbone,
    settings: Extract,
    device: str,
    keep: bool = True,
    sampled: Iterable[ImageRef] | None = None,
) -> ExtractionPlan:
    """The plan that the store was begun with, else one made now on the first readable images of `sampled`.

    sampled: None, or none of them readable: the pending images. A new plan is stored in it, unless `keep` is False
    or no image can be read: then there are no features that later ones would have to agree with. The plan is logged,
    and when it was made.
    """
    stored, when = store.settings(), "decided when the store was begun"
    if stored is None:
        plain, downscaled = sample(sampled or (), backbone, settings.views)
        if not len(plain):
            plain, downscaled = sample(chain.from_iterable(store.pending(SAMPLE)), backbone, settings.views)
        stored = plan_extraction(backbone, settings, device, plain, downscaled).as_dict()
        when = f"decided now, on {len(plain)} images" if len(plain) else "for this run alone: no image can be read"
        stored = store.begin(stored) if keep and len(plain) else stored
    plan = replace(ExtractionPlan.from_dict(stored), weights=settings.weights, device=str(resolve_device(device)))
    logger.info("%s: %s", plan, when)
    return plan


def plan_of(features: Path) -> ExtractionPlan:
    """What the features of an artifact were made by. Raises ZSLError where they were given, or the file is damaged."""
    made_by = artifacts.params(features, artifacts.FEATURES).get("extract")
    if made_by is None:
        raise ZSLError(f"{features}: its features were given, so that no backbone is known which made them")
    return ExtractionPlan.from_dict(made_by)


def _begin(store: Store, planned: ExtractionPlan, backbone: Backbone) -> None:
    """Begin a store with a plan. Raises ZSLError where another one or other weights would be used."""
    if planned.fingerprint != backbone.fingerprint:
        raise ZSLError(
            f"{backbone.name}: its weights are not those of the features to agree with; extract those once more"
        )
    stored = ExtractionPlan.from_dict(store.begin(planned.as_dict()))
    if replace(stored, weights=planned.weights, device=planned.device) != planned:
        raise ZSLError(
            f"{STORE}: the store of {backbone.name} was begun otherwise ({stored}; not {planned}); delete it"
        )


def of_rows(images: ImageSource, rows: NDArray[np.int64]) -> Iterator[ImageRef]:
    """The images of these rows, in order, less those that are missing."""
    wanted = set(rows.tolist())
    return (image for row, image in enumerate(images) if row in wanted and not isinstance(image, Missing))


def sample(
    images: Iterable[ImageRef], backbone: Backbone, views: Views = 1
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pixels (k, height, width, 3) of the first readable images, decoded whole and small; k ≤ SAMPLE."""
    ways = [transform(framed(backbone, views), downscale) for downscale in (False, True)]
    good: list[list[NDArray[np.uint8]]] = []
    for looked_at, image in enumerate(images):
        if len(good) == SAMPLE or (good and looked_at >= LOOKED_AT):
            break
        decoded = [pixels for way in ways if (pixels := decode_image(image, way).pixels) is not None]
        if len(decoded) == len(ways):
            good.append(decoded)
    plain, downscaled = np.stack(good, axis=1) if good else np.empty((2, 0, 1, 1, 3), np.uint8)
    return plain, downscaled


class Forecast(NamedTuple):
    """What a run would take: numbers of images, seconds by its first batches, megabytes (10⁶ bytes) of disk."""

    images: int
    pending: int
    missing: int
    images_per_second: float
    seconds: float
    megabytes: float


def forecast(
    images: ImageSource, settings: Extract, device: str = "auto", store_folder: Path = STORE, batches: int = 3
) -> Forecast:
    """Forecast a run by computing `batches` batches; writes nothing. Raises ZSLError as `extract` does."""
    backbone = backbones.load(settings.backbone, settings.weights, number_or(settings.image_size, None))
    path = store_path(store_folder, backbone, settings, device)
    with open_store(path if path.exists() else None) as store:
        count, pending = store.want(images)
        plan = plan_of_store(store, backbone, settings, device, keep=False)
        first = islice(store.pending(plan.batch_size), batches)
        started, done = time.monotonic(), 0
        for position, (batch, _) in enumerate(local(number_or(settings.workers, None))(plan, backbone, first, store)):
            if position == 0 and pending > len(batch):  # the first batch pays for waking up
                started = time.monotonic()
            else:
                done += len(batch)
        rate = done / max(time.monotonic() - started, 1e-9)
        record = layout(backbone, settings.output)
        megabytes = (count * _in_file(record, settings) + pending * record.itemsize) / 1e6
        return Forecast(count, pending, store.missing(), rate, pending / rate if done else 0.0, megabytes)


def disk(count: int, pending: int, record: np.dtype[Any], settings: Extract) -> str:
    """What a run takes of the disk, for people; record: what it stores of an image."""
    in_store, in_file = pending * record.itemsize / 1e6, count * _in_file(record, settings) / 1e6
    return f"{in_store:.1f} MB more in the store, {in_file:.1f} MB in the file"


def _in_file(record: np.dtype[Any], settings: Extract) -> int:
    """Bytes of an image in the file."""
    return sum(
        np.dtype((_stored_as(name, record[name], settings), record[name].shape)).itemsize for name in record.names or ()
    )


def _stored_as(name: str, kind: np.dtype[Any], settings: Extract) -> np.dtype[Any]:
    """The type of a field's numbers in the file."""
    return np.dtype(settings.storage) if name == "features" else kind.base


def write(
    store: Store,
    out: Path,
    count: int,
    record: np.dtype[Any],
    settings: Extract,
    about: Mapping[str, Any],
    inputs: dict[str, Path] | None,
) -> list[tuple[str, str]]:
    """Write the wanted features in order; returns (name, reason) of each image that has none.

    record: what is stored of an image, each field of it an array of the file. inputs: files for the artifact's
    provenance; None: the images' names are written instead. Raises ZSLError that lists the images without features,
    where `on_bad_image` is `fail` or none has any, and for features too large for `storage`.
    """
    skipped: list[tuple[str, str]] = []
    rows: list[int] = []
    with artifacts.create(out, artifacts.FEATURES, about, inputs) as file:
        fields = {
            name: file.create_dataset(
                name, (count, *kind.shape), _stored_as(name, kind, settings), chunks=_chunks(kind)
            )
            for name in record.names or ()
            for kind in [record[name]]
        }
        buffer = np.zeros(min(count, max(1, min(ROWS_AT_ONCE, BYTES_AT_ONCE // record.itemsize))), record)
        names = None if inputs else file.create_dataset("names", (count,), h5py.string_dtype())
        name_buffer: list[str] = []
        for row, (name, values, reason) in enumerate(store.results(record)):
            name_buffer.append(name)
            place = row % len(buffer)
            buffer[place] = np.zeros((), record) if values is None else values[0]
            if values is None:
                skipped.append((name, reason or "unknown"))
                rows.append(row)
            if place == len(buffer) - 1 or row == count - 1:
                for field, target in fields.items():
                    target[row - place : row + 1] = _fitting(buffer[field][: place + 1], target)
                if names is not None:
                    names[row - place : row + 1] = name_buffer
                name_buffer.clear()
        if skipped and (settings.on_bad_image == "fail" or len(skipped) == count):
            raise ZSLError(report(skipped, count))
        write_skipped(file, rows, skipped)
    return skipped


def _fitting(values: NDArray[Any], target: h5py.Dataset) -> NDArray[Any]:
    """The values. Raises ZSLError where finite ones overflow the type that they are stored in."""
    largest = np.finfo(target.dtype).max
    if np.finfo(values.dtype).max > largest and (np.isfinite(values) & (np.abs(values) > largest)).any():
        raise ZSLError(f"features of more than {largest:,.0f} do not fit in 16 bits; set extract.storage to float32")
    return values


def _chunks(kind: np.dtype[Any]) -> tuple[int, ...] | None:
    """One image a chunk for maps; vectors lie in one piece."""
    return (1, *kind.shape) if len(kind.shape) > 1 else None


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
