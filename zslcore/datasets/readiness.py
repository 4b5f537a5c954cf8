"""What a data set is asked before anything is made of it: what a later stage would refuse, and what is worth knowing.

`zsl import` asks all of it before it copies a file, `prepare` what takes no look at images, `zsl doctor` all of it
whenever one likes; so may Python: `check(data)`, `notes(data)`, `image_notes(data, root)`.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import file_digest, sha256
from pathlib import Path, PurePosixPath
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from zslcore.datasets.dataset import SPLITS, Dataset, check_choosable, choosable, duplicate_signatures
from zslcore.datasets.image_files import BadImage, check_header
from zslcore.errors import ZSLError, abridged, some
from zslcore.io import digests
from zslcore.io.rows import blocks
from zslcore.progress import track

FAR = 1000
"""A value is far outside the rest where it is so many times the median of its column, zeros left out."""
LONG = 200
"""Characters of a path, from the project's folder, that Windows may not open: it takes 260 in all."""
RESERVED = re.compile(r"(con|prn|aux|nul|com[1-9]|lpt[1-9])(\..*)?", re.IGNORECASE)
FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f]|[. ]$')
"""In names that Windows cannot have."""


def check(data: Dataset, chooses: bool = True) -> None:
    """Raise ZSLError for what a later stage would refuse.

    chooses: whether settings are to be chosen on validation classes, which takes four seen classes.
    """

    def fail(problem: str, remedy: str) -> None:
        raise ZSLError(f"data set '{data.name}': {problem}; {remedy}")

    if not data.signatures.shape[1]:
        fail("signatures without a column", "describe each class by one number at least")
    if data.features is not None and not data.features.shape[1]:
        fail("features without a dimension", "compute them again")
    if chooses:
        check_choosable(data)
        if np.bincount(data.labels[data.trainval]).max() < 2:
            fail(
                "no class has two trainval images, so that none can be held out to choose on",
                "add images to some seen classes",
            )


def notes(data: Dataset) -> list[str]:
    """What is worth knowing of classes, signatures, features and names, a sentence each, the data set's own first."""
    few = (
        f"{len(data.seen)} seen classes are too few to choose on: every setting is taken as given; read T1 alone, for "
        "U, S and H hang on a calibration that was not chosen"
    )
    of_choosing = [] if choosable(data) else [few]
    found = (duplicate_signatures(data), _signatures(data), _single(data), _features(data), _names(data.image_files))
    return [*data.notes, *of_choosing, *(note for part in found for note in part)]


def bad_images(data: Dataset, root: Path = Path()) -> dict[str, str]:
    """The image files that cannot be read, by their beginning -> why. root: folder that their paths start from."""
    bad = {}
    for name in track(data.image_files, f"{data.name}: open images", len(data.image_files)):
        try:
            check_header(root / name)
        except BadImage as error:
            bad[name] = str(error)
    return bad


def without(data: Dataset, files: Iterable[str]) -> Dataset:
    """The data set whose splits lack these image files. Raises ZSLError where it breaks the data contract then."""
    bad = set(files)
    good = ~np.isin(np.arange(len(data.labels)), [row for row, name in enumerate(data.image_files) if name in bad])
    splits = {split: getattr(data, split)[good[getattr(data, split)]] for split in SPLITS}
    return replace(data, **splits)


def unreadable(bad: Mapping[str, str], count: int) -> str:
    """What is said of bad images, out of so many."""
    lines = [f"\n  {name}: {reason}" for name, reason in list(bad.items())[:20]]
    more = f"\n  and {len(bad) - 20} more" if len(bad) > 20 else ""
    return f"{len(bad)} of {count} images cannot be read:{''.join(lines)}{more}"


def image_notes(data: Dataset, root: Path = Path()) -> list[str]:
    """What is worth knowing of the images' bytes: which are the same. root: folder that their paths start from."""
    if data.image_files:
        names: Sequence[str] = data.image_files
        keys = _file_keys([root / name for name in names])
    elif data.pictures:
        names = [f"picture {row + 1}" for row in range(len(data.pictures))]
        keys = {row: sha256(picture).digest() for row, picture in enumerate(data.pictures)}
    else:
        return []
    return _identical(data, names.__getitem__, keys, "images")


def _file_keys(paths: list[Path]) -> dict[int, Hashable]:
    """Row -> SHA-256 of each file that has the size of another; files that cannot be read are left out."""
    sizes = defaultdict(list)
    for row, path in enumerate(paths):
        if path.is_file() and (size := path.stat().st_size):
            sizes[size].append(row)
    keys: dict[int, Hashable] = {}
    for row in sorted(row for rows in sizes.values() if len(rows) > 1 for row in rows):
        try:
            with open(paths[row], "rb") as stream:
                keys[row] = file_digest(stream, "sha256").digest()
        except OSError:
            continue
    return keys


def _features(data: Dataset) -> list[str]:
    if data.features is None:
        return []
    found = np.concatenate([digests.of_rows(block) for (block,) in blocks(data.features)])
    order = np.argsort(found)
    equal = np.flatnonzero(found[order[1:]] == found[order[:-1]])
    repeated = np.union1d(order[equal], order[equal + 1])  # few of perhaps millions
    keys = dict(zip(repeated.tolist(), found[repeated].tolist(), strict=True))
    return _identical(data, lambda row: f"image {row + 1}", keys, "rows of features")


def _identical(data: Dataset, name: Callable[[int], str], keys: Mapping[int, Hashable], what: str) -> list[str]:
    """A note each for what is the same in two classes, on both sides of a split, and elsewhere; name: of a row."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for row, key in keys.items():
        groups[key].append(row)
    names, split_of = ("no split", *SPLITS), np.zeros(len(data.labels), np.int8)
    for number, split in enumerate(SPLITS, start=1):
        split_of[getattr(data, split)] = number
    kinds: dict[str, list[list[int]]] = {"in two classes": [], "on both sides of a split": [], "": []}
    for rows in groups.values():
        if len(rows) > 1:
            classes, splits = (len(set(values[rows].tolist())) for values in (data.labels, split_of))
            kinds["in two classes" if classes > 1 else "on both sides of a split" if splits > 1 else ""].append(rows)

    def equal(rows: list[int]) -> str:
        return " = ".join(f"{name(row)} ({data.classes[data.labels[row]]}, {names[split_of[row]]})" for row in rows[:3])

    return [
        f"{_count(len(alike), 'group', 'groups')} of identical {what} {kind}".rstrip()
        + f": {abridged(equal(rows) for rows in alike)}"
        + ("; leave one of each" if kind else "; all of a class and a split")
        for kind, alike in kinds.items()
        if alike
    ]


def _signatures(data: Dataset) -> list[str]:
    """Signatures that are zero, attributes that never vary, and values far outside the rest of their column."""
    found, values = [], data.signatures
    if len(zero := np.flatnonzero(~values.any(axis=1))):
        names = some(data.classes[k] for k in zero)
        found.append(
            f"{_count(len(zero), 'class has', 'classes have')} a signature of zeros, which says nothing: {names}"
        )
    if len(constant := np.flatnonzero((values == values[0]).all(axis=0))):
        names = abridged(_attribute(data, column) for column in constant.tolist())
        found.append(f"of {values.shape[1]} attributes {_count(len(constant), 'never varies', 'never vary')}: {names}")
    found += _outside(data, values, lambda row: repr(data.classes[row]))
    if data.image_attributes is not None:
        files = data.image_files
        found += _outside(data, data.image_attributes, lambda row: files[row] if files else f"image {row + 1}")
    return found


def _outside(data: Dataset, values: NDArray[np.float32], name: Callable[[int], str]) -> list[str]:
    """A note on values far outside the rest of their column; name: of a row."""
    far = [
        f"{values[row, column]:g} of {name(row)} in {_attribute(data, column)} (the others: {low:g} to {high:g})"
        for column in range(values.shape[1])
        for row, low, high in _far(values[:, column])
    ]
    values_are = _count(len(far), "value is", "values are")
    return [f"{values_are} far outside the rest of the attribute: {abridged(far)}; correct it"] if far else []


def _far(column: NDArray[np.float32]) -> Iterator[tuple[int, float, float]]:
    """The rows of values far outside, each with the least and the greatest of the others."""
    size = np.abs(column.astype(np.float64))
    present = size[size > 0]
    if len(present) < 3:
        return
    outside = size > FAR * np.median(present)
    if outside.any():
        rest = column[~outside]
        for row in np.flatnonzero(outside):
            yield int(row), float(rest.min()), float(rest.max())


def _attribute(data: Dataset, column: int) -> str:
    return repr(data.attribute_names[column]) if data.attribute_names else f"attribute {column + 1}"


def _single(data: Dataset) -> list[str]:
    """Classes of one image, and seen ones that have none in test_seen."""
    used = np.concatenate([getattr(data, split) for split in SPLITS])
    counts = np.bincount(data.labels[used], minlength=len(data.classes))
    untested = np.setdiff1d(data.seen, data.labels[data.test_seen])
    single = np.intersect1d(np.flatnonzero(counts == 1), data.unseen)
    found = []
    if len(untested):
        alone = " (of a single image)" if (counts[untested] == 1).all() else ""
        names = some(data.classes[k] for k in untested)
        found.append(
            f"{_count(len(untested), 'seen class has', 'seen classes have')} no test_seen image{alone}, so that no "
            f"accuracy of seen classes counts them: {names}"
        )
    if len(single):
        names = some(data.classes[k] for k in single)
        found.append(
            f"{_count(len(single), 'unseen class has', 'unseen classes have')} a single image, 0 or 100 in T1: {names}"
        )
    return found


def _names(files: Sequence[str]) -> list[str]:
    """Names that other systems hold for the same, or cannot have."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for file in files:
        path = PurePosixPath(file)
        for part in (path, path.parent):
            spellings[normalize("NFC", str(part)).casefold()].add(str(part))
    alike = sorted(" and ".join(map(repr, sorted(names))) for names in spellings.values() if len(names) > 1)
    strange = sorted({part for file in files for part in PurePosixPath(file).parts if _is_strange(part)})
    long = [file for file in files if len(file) > LONG]
    found = []
    if alike:
        found.append(
            "names that differ only in case or in the form of their letters, and are one on macOS and Windows: "
            + abridged(alike)
        )
    if strange:
        found.append(f"{_count(len(strange), 'name', 'names')} that Windows cannot have: {some(strange)}")
    if long:
        paths = _count(len(long), "path", "paths")
        found.append(f"{paths} of more than {LONG} characters, which Windows may not open: {abridged(long)}")
    return found


def _is_strange(part: str) -> bool:
    return part not in ("/", "..", ".") and bool(RESERVED.fullmatch(part) or FORBIDDEN.search(part))


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
