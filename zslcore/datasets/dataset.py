"""What a zero-shot data set is: classes, signatures, labels and splits, with their invariants checked once."""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from unicodedata import normalize

import h5py
import numpy as np
from numpy.typing import NDArray

from zslcore.errors import StaleFile, ZSLError
from zslcore.io import artifacts
from zslcore.io.rows import put, stored
from zslcore.signatures.compose import GIVEN, Composition, Sources, compose
from zslcore.signatures.source import Source

Read = Callable[[Path, NDArray[np.int64]], NDArray[np.float32]]
"""Features of these rows of an artifact."""
SPLITS = ("trainval", "test_seen", "test_unseen")
BLOCK = 2**22
"""Numbers that are checked at once."""


@dataclass(frozen=True)
class Dataset:
    """A zero-shot data set; construction checks every invariant and raises ZSLError naming what is broken.

    name: short name, as in params.yaml.
    classes: unique class names; row k of `signatures` describes classes[k].
    signatures: (classes, a) float32, the semantic descriptor (attribute vector) of each class.
    labels: (n,) int64 in 0..classes-1, one an image.
    trainval, test_seen, test_unseen: disjoint int64 row numbers (0-based). Rows in none of them are unused.
    features: (n, d) float32, or None where they are yet to be extracted.
    image_files: n paths relative to the project, or () where there are features or pictures instead.
    pictures: encoded image files, one a row, for sets that carry their pictures (drawn birds), else ().
    image_attributes: (n, a) float32, what is visible in each image, or None.
    attribute_names: a names, or ().
    validation_splits: for each published class split, the (k,) int64 classes held out for validation; may be empty.
    split_name: which split this is ("proposed split", "own"...): it stands in every result.
    sources: every source of signatures by name, the first one `signatures` itself; may be left out where that is all.
    imageless: (k,) int64 classes without any image that compete as unseen ones; they have no accuracy of their own.
    """

    name: str
    classes: tuple[str, ...]
    signatures: NDArray[np.float32]
    labels: NDArray[np.int64]
    trainval: NDArray[np.int64]
    test_seen: NDArray[np.int64]
    test_unseen: NDArray[np.int64]
    features: NDArray[np.float32] | None = None
    image_files: tuple[str, ...] = ()
    pictures: Sequence[bytes] = ()
    image_attributes: NDArray[np.float32] | None = None
    attribute_names: tuple[str, ...] = ()
    validation_splits: tuple[NDArray[np.int64], ...] = ()
    split_name: str = "own"
    notes: tuple[str, ...] = ()
    sources: Sources = field(default_factory=dict)
    imageless: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        check(self)

    def composed(self, composition: Composition) -> "Dataset":
        """With signatures put together out of `sources`; what goes with the attributes as given is left out else."""
        sources = sources_of(self)
        if composition.is_first(sources):
            return self
        signatures = compose(sources, composition, self.seen)
        return replace(self, signatures=signatures, image_attributes=None, attribute_names=(), sources=sources)

    @property
    def seen(self) -> NDArray[np.int64]:
        """Seen classes: those with images in trainval, ascending."""
        return np.unique(self.labels[self.trainval])

    @property
    def unseen(self) -> NDArray[np.int64]:
        """Unseen classes: those with images in test_unseen, and those that compete without any, ascending."""
        return np.union1d(self.labels[self.test_unseen], self.imageless)

    @property
    def class_order(self) -> NDArray[np.int64]:
        """(seen + unseen,) int64: the classes that compete, seen ones first; a column of scores is one of them."""
        return np.concatenate([self.seen, self.unseen])

    @property
    def class_position(self) -> NDArray[np.int64]:
        """(classes,) int64: the position of each class in `class_order`, -1 for one that is in no split."""
        return positions(self.class_order, len(self.classes))

    @property
    def train_labels(self) -> NDArray[np.int64]:
        """(n_trainval,) int64: the label of each trainval image as a position in `seen`."""
        return self.class_position[self.labels[self.trainval]]


def positions(order: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """(count,) int64: the position of each class 0..count-1 in `order`, -1 for one that `order` lacks."""
    position = np.full(count, -1, np.int64)
    position[order] = np.arange(len(order))
    return position


def choosable(data: "Dataset | Seen") -> bool:
    """Whether some seen classes can be held out for validation, and at least two be left to learn from."""
    return len(data.seen) >= 4 or bool(data.validation_splits)


def check_choosable(data: "Dataset | Seen") -> None:
    """Raise ZSLError where too few classes are seen for some to be held out and some left to learn from."""
    if not choosable(data):
        raise ZSLError(
            f"data set '{data.name}': {len(data.seen)} seen classes; choosing on validation classes needs at least 4: "
            f"move unseen ones to the seen, add classes, or give in data/{data.name}.yaml what would be chosen "
            "(`train: {epochs: 60}`, `classify: {calibration: 0}`; then T1 alone is worth reading)"
        )


def duplicate_signatures(data: Dataset) -> list[str]:
    """A note for each group of classes that share one signature: no zero-shot method can tell them apart."""
    _, group, sizes = np.unique(data.signatures, axis=0, return_inverse=True, return_counts=True)
    groups = [np.flatnonzero(group.ravel() == shared) for shared in np.flatnonzero(sizes > 1)]
    names = (", ".join(repr(data.classes[k]) for k in members[:5]) for members in groups)
    return [f"{some}: the same signature, so nothing can tell them apart; `zsl compare` refuses them" for some in names]


def check(data: Dataset) -> None:
    """Raise ZSLError when an invariant of the data contract does not hold."""

    def fail(problem: str, remedy: str) -> None:
        raise ZSLError(f"data set '{data.name}': {problem}; {remedy}")

    count = len(data.classes)
    if count < 2:
        fail(f"{count} classes", "at least one seen and one unseen class are needed")
    repeated = [name for name, times in Counter(data.classes).items() if times > 1]
    if repeated:
        fail(
            f"class names appear twice: {', '.join(map(repr, repeated[:5]))}",
            "give every class a name of its own",
        )
    if data.signatures.ndim != 2 or len(data.signatures) != count:
        fail(
            f"signatures of shape {data.signatures.shape} for {count} classes",
            "one row a class is needed: a class may lack its signature",
        )
    _check_finite(data, "signatures", data.signatures, data.classes, data.attribute_names)
    for name, source in data.sources.items():
        if source.values.ndim != 2 or len(source.values) != count:
            fail(f"signatures '{name}' of shape {source.values.shape} for {count} classes", "one row a class is needed")
        _check_finite(data, f"signatures '{name}'", source.values, data.classes)
    named = {"class": data.classes, "file": data.image_files, "attribute": data.attribute_names}
    for what, all_names in named.items():
        if strange := [shown(name) for name in all_names if not is_utf8(name)]:
            fail(
                f"{len(strange)} names that are not UTF-8, the first of a {what}: {', '.join(strange[:5])}",
                "rename them: nothing can be written about them",
            )
    n = len(data.labels)
    if data.labels.ndim != 1 or (n and not (data.labels.min() >= 0 and data.labels.max() < count)):
        fail(
            f"labels reach outside 0..{count - 1}",
            "check that labels and class names come from the same files",
        )
    for split in SPLITS:
        rows = getattr(data, split)
        if not len(rows):
            hint = "; a seen class of a single image keeps it for trainval" if split == "test_seen" else ""
            fail(f"split {split} is empty", f"every split needs at least one image{hint}")
        if rows.min() < 0 or rows.max() >= n:
            fail(
                f"split {split} points outside the {n} images",
                "check that splits and features belong together",
            )
        twice = np.flatnonzero(np.bincount(rows, minlength=n) > 1)
        if len(twice):
            fail(
                f"split {split} lists an image twice, {len(twice)} in all, the first {_image(data, twice[0])}",
                "remove the repeated rows",
            )
    for position, first in enumerate(SPLITS):
        for second in SPLITS[position + 1 :]:
            shared = np.intersect1d(getattr(data, first), getattr(data, second))
            if len(shared):
                fail(
                    f"splits {first} and {second} share {len(shared)} images, the first {_image(data, shared[0])}",
                    "an image may stand in one split only",
                )
    if len(pictured := np.intersect1d(data.imageless, data.labels)):
        fail(f"class {data.classes[pictured[0]]!r} is said to have no image, and has some", "leave it to its split")
    both = np.intersect1d(data.seen, data.unseen)
    if len(both):
        names = ", ".join(repr(data.classes[k]) for k in both[:5])
        fail(
            f"{len(both)} classes are both seen and unseen: {names}",
            "unseen classes may have no trainval images",
        )
    if len(data.seen) < 2:
        fail("only one seen class", "at least two are needed to learn from")
    strangers = np.setdiff1d(data.labels[data.test_seen], data.seen)
    if len(strangers):
        names = ", ".join(repr(data.classes[k]) for k in strangers[:5])
        fail(
            f"test_seen holds classes without trainval images: {names}",
            "move them, or mark the classes unseen",
        )
    if data.features is not None:
        if data.features.ndim != 2 or len(data.features) != n:
            fail(
                f"features of shape {data.features.shape} for {n} images",
                "one row an image is needed: transposed?",
            )
        _check_finite(data, "features", data.features, data.image_files)
    if data.image_files and len(data.image_files) != n:
        fail(f"{len(data.image_files)} image files for {n} labels", "one file an image is needed")
    if len(data.pictures) not in (0, n):
        fail(f"{len(data.pictures)} pictures for {n} labels", "one picture an image is needed")
    if data.image_attributes is not None:
        if data.image_attributes.shape != (n, data.signatures.shape[1]):
            fail(
                f"image attributes of shape {data.image_attributes.shape}",
                f"expected ({n}, {data.signatures.shape[1]}): one row an image, one column a signature entry",
            )
        _check_finite(data, "image attributes", data.image_attributes, data.image_files, data.attribute_names)
    for held_out in data.validation_splits:
        if len(np.setdiff1d(held_out, data.seen)) or not 0 < len(held_out) <= len(data.seen) - 2:
            fail(
                "a validation split names classes that are not seen, or leaves fewer than two that are",
                "leave it out: one is derived",
            )


def _check_finite(
    data: Dataset, what: str, values: NDArray[Any], rows: Sequence[str], columns: Sequence[str] = ()
) -> None:
    """rows, columns: their names, or nothing where they have none."""
    step = max(1, BLOCK // max(1, values.shape[1]))
    starts = range(0, len(values), step)
    finite = [np.isfinite(np.asarray(values[start : start + step])).all(axis=1) for start in starts]
    bad = np.flatnonzero(~np.concatenate([np.ones(0, bool), *finite]))
    if len(bad):
        first = (
            f"row {row + 1}{_named(rows, row)}, column {column + 1}{_named(columns, column)}"
            for row in bad[:5]
            for column in np.flatnonzero(~np.isfinite(np.asarray(values[row : row + 1])[0]))[:1]
        )
        raise ZSLError(
            f"data set '{data.name}': {what} hold NaN or infinity in {len(bad)} rows: {'; '.join(first)} (counted from "
            "1); compute them again or leave those rows out"
        )


def _named(names: Sequence[str], position: int) -> str:
    return f" ({names[position]!r})" if position < len(names) else ""


def _image(data: Dataset, row: int) -> str:
    """An image as the user counts."""
    return f"number {row + 1}{_named(data.image_files, row)}"


def is_utf8(name: str) -> bool:
    """Whether a name, of a file for instance, is text; the bytes of one that is not stand in it as lone surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def shown(name: str) -> str:
    """A name in quotes, with each byte that is no UTF-8 as \\xe9."""
    return "'" + re.sub(r"\\udc([89a-f].)", r"\\x\1", name.encode("utf-8", "backslashreplace").decode()) + "'"


def save(path: Path, data: Dataset, params: Mapping[str, Any], inputs: Mapping[str, Path] | None = None) -> None:
    """Write a data set as one HDF5 artifact.

    params, inputs: for its provenance, as in `artifacts.create`. Raises ZSLError when it cannot be written.
    """
    with artifacts.create(path, artifacts.DATASET, params, inputs) as file:
        file.attrs["name"] = data.name
        file.attrs["split_name"] = data.split_name
        artifacts.put_strings(file, "classes", data.classes)
        file["signatures"] = data.signatures.astype(np.float32)
        file["labels"] = data.labels.astype(np.int64)
        file["seen"], file["unseen"] = data.seen, data.unseen
        if len(data.imageless):
            file["imageless"] = data.imageless
        for split in SPLITS:
            file[split] = np.sort(getattr(data, split)).astype(np.int64)
        if data.features is not None:
            in_memory = isinstance(data.features, np.ndarray)
            put(file, "features", data.features.astype(np.float32, copy=False) if in_memory else data.features)
        if data.image_attributes is not None:
            file["image_attributes"] = data.image_attributes.astype(np.float32)
        for name in ("image_files", "attribute_names", "notes"):
            if getattr(data, name):
                artifacts.put_strings(file, name, getattr(data, name))
        if data.pictures:
            file["pictures/bytes"] = np.frombuffer(b"".join(data.pictures), dtype=np.uint8)
            file["pictures/ends"] = np.cumsum([len(picture) for picture in data.pictures])
        for position, held_out in enumerate(data.validation_splits):
            file[f"validation_splits/{position}"] = np.sort(held_out).astype(np.int64)
        _put_sources(file, data.sources)


def load(
    path: Path,
    with_features: bool = False,
    features: Path | None = None,
    format: artifacts.Format = artifacts.FEATURES,
) -> Dataset:
    """Read a data set; features and pictures are left out unless asked for (a reader of splits needs neither).

    features: an artifact of this format made of it; the images that had to be skipped there leave every split.
    Raises ZSLError when a file is damaged, of another version, or breaks the data contract; StaleFile where the
    features are not those of this data set.
    """
    with artifacts.open_artifact(path, artifacts.DATASET) as file:
        labels = artifacts.array(file, "labels", np.int64, ndim=1)
        skipped = np.empty(0, np.int64)
        if features is not None:
            skipped = _skipped_of(path, len(labels), features, format)

        def split(name: str) -> NDArray[np.int64]:
            rows = artifacts.array(file, name, np.int64, ndim=1)
            return rows[~np.isin(rows, skipped)]

        return Dataset(
            name=str(artifacts.attribute(file, "name")),
            split_name=str(artifacts.attribute(file, "split_name")),
            classes=artifacts.strings(file, "classes"),
            signatures=artifacts.array(file, "signatures", np.float32, ndim=2),
            labels=labels,
            trainval=split("trainval"),
            test_seen=split("test_seen"),
            test_unseen=split("test_unseen"),
            features=_optional(file, "features") if with_features else None,
            image_files=_strings(file, "image_files"),
            image_attributes=_optional(file, "image_attributes"),
            attribute_names=_strings(file, "attribute_names"),
            notes=_strings(file, "notes"),
            validation_splits=_validation_splits(file),
            sources=_read_sources(file),
            imageless=artifacts.array(file, "imageless", np.int64, ndim=1)
            if "imageless" in file
            else np.empty(0, np.int64),
        )


def imageless_note(names: Sequence[str]) -> list[str]:
    """What an importer says of classes without images that compete; nothing where there are none."""
    if not names:
        return []
    listed = ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
    return [f"{len(names)} unseen classes have no image ({listed}): they compete, and have no accuracy of their own"]


def _put_sources(file: h5py.File, sources: Sources) -> None:
    """Names and what made them; the first one's numbers stand in `signatures` already."""
    if not sources:
        return
    artifacts.put_strings(file, "sources/names", tuple(sources))
    about = (json.dumps(source.about, sort_keys=True) for source in sources.values())
    artifacts.put_strings(file, "sources/about", tuple(about))
    for position, source in enumerate(sources.values()):
        if position:
            file[f"sources/{position}/signatures"] = source.values.astype(np.float32)
        if source.texts:
            lines = tuple(text for some in source.texts for text in some)
            artifacts.put_strings(file, f"sources/{position}/texts", lines)
            file[f"sources/{position}/ends"] = np.cumsum([len(some) for some in source.texts])


def _read_sources(file: h5py.File) -> dict[str, Source]:
    if "sources" not in file:
        return {}
    sources = {}
    names, about = (artifacts.strings(file, f"sources/{name}") for name in ("names", "about"))
    for position, (name, described) in enumerate(zip(names, about, strict=True)):
        where = f"sources/{position}/signatures" if position else "signatures"
        texts: tuple[tuple[str, ...], ...] = ()
        if f"sources/{position}/texts" in file:
            lines = artifacts.strings(file, f"sources/{position}/texts")
            ends = artifacts.array(file, f"sources/{position}/ends", np.int64, ndim=1).tolist()
            texts = tuple(lines[start:end] for start, end in zip([0, *ends], ends, strict=False))
        values = artifacts.array(file, where, np.float32, ndim=2)
        sources[name] = Source(values, json.loads(described), texts)
    return sources


def sources_of(data: "Dataset | Seen") -> Sources:
    """Its sources; where it names none, the signatures it has."""
    return data.sources or {GIVEN: Source(data.signatures)}


@dataclass(frozen=True)
class SplitFeatures:
    """Features (n, d) float32 of the trainval images, by a backbone fine-tuned for one validation split alone.

    held_out: (k,) int64 classes. trained_on: (m,) int64 rows of `Seen` that this backbone was fine-tuned on.
    """

    held_out: NDArray[np.int64]
    trained_on: NDArray[np.int64]
    features: NDArray[np.float32]


@dataclass(frozen=True)
class Seen:
    """What fitting and choosing may look at: the trainval images, and the signatures of all classes.

    features: (n, d) float32, or `Rows`; labels: (n,) int64 into `signatures`; signatures: (classes, a) float32;
    seen, unseen: int64 classes; validation_splits: for each published split, the seen classes to hold out;
    image_attributes: (n, a) float32 or None. sources: as in `Dataset`; composition: how they are put together.
    split_features: where the backbone of `features` was fine-tuned on all these images, what stands for them in each
    validation split; else nothing.
    """

    name: str
    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    signatures: NDArray[np.float32]
    seen: NDArray[np.int64]
    unseen: NDArray[np.int64]
    validation_splits: tuple[NDArray[np.int64], ...] = ()
    image_attributes: NDArray[np.float32] | None = None
    sources: Sources = field(default_factory=dict)
    composition: Composition = field(default_factory=Composition)
    split_features: tuple[SplitFeatures, ...] = ()

    def composed(self, composition: Composition) -> "Seen":
        """With signatures put together in another way."""
        sources = sources_of(self)
        return replace(
            self,
            signatures=compose(sources, composition, self.seen),
            image_attributes=self.image_attributes if composition.is_first(sources) else None,
            sources=sources,
            composition=composition,
        )

    def signatures_for(self, seen: NDArray[np.int64]) -> NDArray[np.float32]:
        """(classes, a): as `composition` says, where these classes are the seen ones: all, or those not held out."""
        return compose(sources_of(self), self.composition, seen)


def load_seen(path: Path, features: Path, read: Read | None = None) -> Seen:
    """Read what fitting may look at, from a data set and its features; no test row of either file is opened.

    read: gives the features of these rows of the file, where they are not the pooled vectors.

    Raises ZSLError when a file is damaged or of another version, or a trainval image has no features; StaleFile where
    the features are not those of this data set.
    """
    with artifacts.open_artifact(path, artifacts.DATASET) as file:
        labels = artifacts.dataset(file, "labels", np.int64, ndim=1)
        rows = artifacts.array(file, "trainval", np.int64, ndim=1)
        rows = rows[~np.isin(rows, _skipped_of(path, len(labels), features, artifacts.FEATURES))]
        attributes = None
        if "image_attributes" in file:
            attributes = artifacts.read_rows(artifacts.dataset(file, "image_attributes", np.float32, ndim=2), rows)
        return Seen(
            name=str(artifacts.attribute(file, "name")),
            features=(read or stream_features)(features, rows),
            labels=artifacts.read_rows(labels, rows),
            signatures=artifacts.array(file, "signatures", np.float32, ndim=2),
            seen=artifacts.array(file, "seen", np.int64, ndim=1),
            unseen=artifacts.array(file, "unseen", np.int64, ndim=1),
            validation_splits=_validation_splits(file),
            image_attributes=attributes,
            sources=_read_sources(file),
            split_features=_read_split_features(features),
        )


def put_split_features(file: h5py.File, found: Sequence[SplitFeatures]) -> None:
    """Put into an artifact of features what its trainval images have in each validation split."""
    for position, split in enumerate(found):
        for name in ("held_out", "trained_on", "features"):
            file[f"validation/{position}/{name}"] = getattr(split, name)


def _read_split_features(path: Path) -> tuple[SplitFeatures, ...]:
    with artifacts.open_artifact(path, artifacts.FEATURES) as file:
        group = file.get("validation")
        count = len(group) if isinstance(group, h5py.Group) else 0
        return tuple(
            SplitFeatures(
                artifacts.array(file, f"validation/{position}/held_out", np.int64, ndim=1),
                artifacts.array(file, f"validation/{position}/trained_on", np.int64, ndim=1),
                artifacts.array(file, f"validation/{position}/features", np.float32, ndim=2),
            )
            for position in range(count)
        )


def load_features(path: Path, rows: NDArray[np.int64] | None) -> NDArray[np.float32]:
    """Rows (n, d) float32 of a features artifact; no other row is opened.

    None: all rows, with zeros where an image was skipped, which stands in no split. Raises ZSLError when a row asked
    for has no features because its image was skipped, or when the file holds feature maps alone.
    """
    return np.asarray(stream_features(path, rows))


def stream_features(path: Path, rows: NDArray[np.int64] | None) -> NDArray[np.float32]:
    """As `load_features`; where all the file's features are too many for memory, as `io.rows.Rows`."""
    with artifacts.open_artifact(path, artifacts.FEATURES) as file:
        if "maps" in file and "features" not in file:
            raise ZSLError(f"{path}: holds feature maps alone; set extract.output to both, and extract again")
        missing = np.intersect1d([] if rows is None else rows, _skipped(file))
        if len(missing):
            raise ZSLError(
                f"{path}: {len(missing)} images were skipped as unreadable; mend or remove them, extract again"
            )
    return stored(path, artifacts.FEATURES, "features", rows)


def copy_skipped(features: Path, file: h5py.File) -> None:
    """Put into an artifact which rows the features it is made of lack, where there are any."""
    rows = skipped_rows(features)
    if len(rows):
        file["skipped"] = rows


def skipped_rows(path: Path) -> NDArray[np.int64]:
    """Rows (k,) int64 of a features artifact that are without features, because their images were bad and skipped.

    Raises ZSLError when the file is damaged or of another version.
    """
    with artifacts.open_artifact(path, artifacts.FEATURES) as file:
        return _skipped(file)


def _skipped(file: h5py.File) -> NDArray[np.int64]:
    return artifacts.array(file, "skipped", np.int64, ndim=1) if "skipped" in file else np.empty(0, np.int64)


def _skipped_of(path: Path, images: int, features: Path, format: artifacts.Format) -> NDArray[np.int64]:
    """The rows that an artifact made of a data set skipped. Raises StaleFile where it was made of another one."""
    with artifacts.open_artifact(features, format, {"dataset": path}) as file:
        for name in ("features", "maps"):
            if name in file and (count := len(artifacts.dataset(file, name))) != images:
                problem = f"features of {count} images, but {path} has {images}: they are of another data set"
                raise StaleFile(features, problem, format.stage)
        return _skipped(file)


def has_features(path: Path) -> bool:
    """Whether a data set includes its features. Raises ZSLError when the file is damaged or of another version."""
    with artifacts.open_artifact(path, artifacts.DATASET) as file:
        return "features" in file


def _validation_splits(file: h5py.File) -> tuple[NDArray[np.int64], ...]:
    group = file.get("validation_splits")
    count = len(group) if isinstance(group, h5py.Group) else 0
    return tuple(artifacts.array(file, f"validation_splits/{k}", np.int64, ndim=1) for k in range(count))


def _optional(file: h5py.File, name: str) -> NDArray[np.float32] | None:
    return artifacts.array(file, name, np.float32, ndim=2) if name in file else None


def _strings(file: h5py.File, name: str) -> tuple[str, ...]:
    return artifacts.strings(file, name) if name in file else ()


def hold_out_seen(
    labels: NDArray[np.int64], rows: NDArray[np.int64], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split the images of seen classes into (kept, held out), class by class, at random from `seed`.

    share: part of each class's images to hold out, in (0, 1); at least one image of every class is kept, and at
    least one held out where a class has two or more.
    """
    random = np.random.default_rng(seed)
    held_out = []
    for label in np.unique(labels[rows]):
        members = rows[labels[rows] == label]
        count = min(max(1, round(share * len(members))), len(members) - 1)
        held_out.append(random.permutation(members)[:count])
    held = np.sort(np.concatenate(held_out))
    return np.setdiff1d(rows, held), held


def hold_out_by_name(
    labels: NDArray[np.int64],
    classes: Sequence[str],
    images: Sequence[str] | range,
    rows: NDArray[np.int64],
    share: float,
    seed: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """As `hold_out_seen`, drawn by a hash of the seed and the names of class and image, which does not depend on order.

    classes: their names; images: n names, or numbers. Other classes, or another order of either, leave a class's split
    as it is.
    """

    def draw(row: int) -> bytes:
        names = (normalize("NFC", name) for name in (classes[labels[row]], str(images[row])))
        return sha256("\0".join((str(seed), *names)).encode("utf-8", "surrogateescape")).digest()

    held = np.zeros(len(labels), bool)
    for label in np.unique(labels[rows]):
        members = sorted(rows[labels[rows] == label].tolist(), key=draw)
        held[members[: min(max(1, round(share * len(members))), len(members) - 1)]] = True
    return np.unique(rows[~held[rows]]), np.flatnonzero(held)
