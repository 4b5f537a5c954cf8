"""Features computed anywhere: arrays with a row an image, labels, class signatures, and which classes are unseen."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from zslcore.datasets.arrays import FORMATS, Arrays, Column, fill, is_array_file, is_list, is_matrix, values
from zslcore.datasets.dataset import SPLITS, Dataset, hold_out_by_name, imageless_note
from zslcore.datasets.folder import read_unseen
from zslcore.datasets.names import Meant, by_matching, near_names
from zslcore.datasets.source import MatchNames, Source, SplitName, SplitSeed, TestShare
from zslcore.errors import ZSLError, some, unknown
from zslcore.io.rows import collect, fits
from zslcore.io.tables import clean, read_listed, read_rows, read_table

FEATURES = ("features", "feature", "embeddings", "x")
LABELS = ("labels", "label", "class", "classes", "y")
SIGNATURES = ("signatures", "attributes", "att")
SPLIT = ("split", "splits")
"""What the arrays may be called, in files of several; the first is what messages ask for."""
WHOLE = 2**53
"""The largest number to which every whole one is a float64."""


class FeaturesSource(Source):
    """Features computed anywhere, a row an image, with labels, class signatures, and which classes are unseen.

    A file of several arrays has them as `features` and `labels` (and `split`); where `labels` is left out, they are in
    the files of the features. A label is the name of a class, or its row in `signatures`, counted from 0 or from 1,
    whichever the labels show. `signatures` is a table with a header, the class in its first column, or an array
    (classes, a), whose classes are called by their rows: 0, 1, ... `splits` gives each image `trainval`, `test_seen`,
    `test_unseen` or `ignored`; without it `unseen` says which classes are unseen, and a `test_share` of the images of
    each other class, drawn from `split_seed` and the number of the row, is test_seen.
    """

    kind: ClassVar[str] = "features"
    features: tuple[Path, ...] = Field(
        min_length=1, description=f"Array (images, dimensions): {FORMATS}; several times for several files, in order."
    )
    signatures: Path = Field(description="Table with a header, first column the class; or an array (classes, a).")
    labels: tuple[Path, ...] = Field(
        (), description="Class of each row: an array, or text with one a line; default: in the files of the features."
    )
    unseen: Path | None = Field(
        None, description="Unseen classes, one a line, or CSV class,split (trainval, test_unseen, ignored)."
    )
    splits: tuple[Path, ...] = Field(
        (), description="Instead of UNSEEN: trainval, test_seen, test_unseen or ignored for each row, as labels are."
    )
    match_names: MatchNames = False
    test_share: TestShare = 0.2
    split_seed: SplitSeed = 0
    split_name: SplitName = None

    def files(self) -> tuple[Path, ...]:
        """Every file named in the settings."""
        return *self.features, *self.labels, self.signatures, *([self.unseen] if self.unseen else []), *self.splits

    def load(self, name: str, root: Path) -> Dataset:
        """Read the files and check that they belong together.

        Raises ZSLError naming the file, what is wrong with it and what to do.
        """
        if (self.unseen is None) == (not self.splits):
            raise ZSLError("give the unseen classes (--unseen), or each image's split (--splits), one of the two")
        features_files = [root / path for path in self.features]
        labels_files = [root / path for path in self.labels] or features_files
        given = np.concatenate([read_list(path, LABELS, "label of each image") for path in labels_files])
        names, signatures, attributes = read_signatures(root / self.signatures)
        row_of = {known: row for row, known in enumerate(names)}
        features = read_features(features_files, len(given), labels_files)
        different, which = np.unique(given, return_inverse=True)
        written, of_labels = _written(different, names, labels_files[0], root / self.signatures)
        meant = Meant(labels_files[0], names, self.match_names)
        called = {label: meant(label) for label in written}
        if strangers := [label for label, known in called.items() if known not in row_of]:
            near, way = near_names(strangers, names), by_matching(strangers, names)
            raise ZSLError(
                f"{root / self.signatures}: no signature for {some(strangers)}{near} of {labels_files[0]}; add one row "
                f"a class{way}"
            )
        used = set(called.values())
        with_images = tuple(known for known in names if known in used)
        spare = [known for known in names if known not in used]
        notes = list(of_labels)
        unseen, ignored = self._unseen(root, with_images, spare, notes)
        imageless = [known for known in spare if known in unseen]
        classes = tuple(known for known in names if known in used.union(imageless))
        position = {known: k for k, known in enumerate(classes)}
        labels = np.array([position[called[label]] for label in written], np.int64)[which]
        notes += [*meant.notes(), *imageless_note(imageless)]
        if left := [known for known in spare if known not in imageless]:
            notes.append(f"{root / self.signatures}: {len(left)} classes have no image; left out: {some(left)}")
        if self.splits:
            trainval, test_seen, test_unseen = _given_splits([root / path for path in self.splits], len(labels))
        else:
            trainval, test_seen, test_unseen = self._drawn(root, labels, classes, unseen, ignored)
        try:
            return Dataset(
                name=name,
                classes=classes,
                signatures=signatures[[row_of[known] for known in classes]],
                labels=labels,
                features=features,
                attribute_names=attributes,
                split_name=self.split_name or "own split",
                notes=tuple(notes),
                trainval=trainval,
                test_seen=test_seen,
                test_unseen=test_unseen,
                imageless=np.array([classes.index(known) for known in imageless], np.int64),
            )
        except ZSLError as error:
            of = ", ".join(map(str, dict.fromkeys([*features_files, *labels_files])))
            raise ZSLError(f"{of} with {root / self.signatures}: {error}") from error

    def _unseen(
        self, root: Path, classes: tuple[str, ...], spare: Sequence[str], notes: list[str]
    ) -> tuple[set[str], set[str]]:
        """The (unseen, ignored) classes that are listed; spare: those without images, which may be unseen."""
        if self.unseen is None:
            return set(), set()
        meant = Meant(root / self.unseen, classes, self.match_names)
        listed = read_unseen(root / self.unseen, classes, meant, tuple(spare))
        notes += meant.notes()
        return listed

    def _drawn(
        self, root: Path, labels: NDArray[np.int64], classes: tuple[str, ...], unseen: set[str], ignored: set[str]
    ) -> tuple[NDArray[np.int64], ...]:
        role = np.array([2 if known in ignored else known in unseen for known in classes])[labels]
        if not (role == 0).any():
            raise ZSLError(f"{root / Path(str(self.unseen))}: no seen class is left; leave at least two out")
        trainval, test_seen = hold_out_by_name(
            labels, classes, range(len(labels)), np.flatnonzero(role == 0), self.test_share, self.split_seed
        )
        return trainval, test_seen, np.flatnonzero(role == 1)


def read_features(files: Sequence[Path], count: int | None = None, labels: Iterable[Path] = ()) -> NDArray[np.float32]:
    """Features (n, d) float32 of one file after the other, a block at a time; one .npy of float32 is mapped.

    Too large for memory they are `Rows`, on disk in float16 where they come in that.

    count: how many labels there are, in the files `labels`. Raises ZSLError naming the file that does not fit.
    """
    shapes = []
    for path in files:
        with Arrays(path) as arrays:
            column = _features_of(arrays)
            mapped = column.whole is not None and column.whole.dtype == np.dtype("<f4") and fits(*column.shape)
            if len(files) == 1 and mapped and column.whole is not None:
                _check_count(files, column.shape, count, labels)
                return column.whole
            shapes.append(column.shape)
    for path, (_, width) in zip(files, shapes, strict=True):
        if width != shapes[0][1]:
            raise ZSLError(f"{path}: features of {width} dimensions, {files[0]} has {shapes[0][1]}; give one network's")
    _check_count(files, (sum(rows for rows, _ in shapes), shapes[0][1]), count, labels)
    total = sum(rows for rows, _ in shapes)
    if not fits(total, shapes[0][1]):
        return collect(_blocks(files), total)
    features = np.empty((total, shapes[0][1]), np.float32)
    start = 0
    for path, (rows, _) in zip(files, shapes, strict=True):
        with Arrays(path) as arrays:
            arrays.guarded(partial(fill, _features_of(arrays), features[start : start + rows]))
        start += rows
    return features


def _blocks(files: Sequence[Path]) -> Iterator[NDArray[Any]]:
    """Blocks of rows of one file after the other: float16 where there is a single file of it, else float32."""
    for path in files:
        with Arrays(path) as arrays:
            blocks = _features_of(arrays).blocks()
            while (block := arrays.guarded(partial(next, blocks, None))) is not None:
                half = len(files) == 1 and block.dtype == np.float16
                with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused later
                    yield block if half else block.astype(np.float32)


def _features_of(arrays: Arrays) -> Column:
    column = arrays.find(FEATURES, is_matrix, "table of numbers, a row an image")
    if column is None:
        raise ZSLError(f"{arrays.path}: no numbers (images, dimensions), only {arrays.listed()}; check the file")
    return column


def _check_count(files: Sequence[Path], shape: Sequence[int], count: int | None, labels: Iterable[Path]) -> None:
    if count is not None and shape[0] != count:
        hint = ": transposed?" if shape[1] == count else ""
        raise ZSLError(
            f"{', '.join(map(str, files))}: features of {shape[0]} images, but {count} labels in "
            f"{', '.join(map(str, labels))}{hint}; give one row and one label an image"
        )


def read_list(path: Path, names: Sequence[str], what: str) -> NDArray[Any]:
    """One value a row: (n,) int64, or objects of str; from an array, or text of one a line, or a column of a table.

    names: what the array or the column may be called. what: what it is, for messages. Raises ZSLError naming the file.
    """
    if not is_array_file(path):
        return np.array(_column(path, names, what), dtype=object)
    with Arrays(path) as arrays:
        column = arrays.find(names, is_list, what)
        if column is None:
            raise ZSLError(
                f"{path}: no {what}, only {arrays.listed()}; add it as '{names[0]}', or give a file of its own"
            )
        found = arrays.guarded(lambda: values(column))
    if found.dtype == object:
        return np.array([clean(str(value)) for value in found], dtype=object)
    if found.dtype.kind == "f" and not (np.isfinite(found).all() and (found % 1 == 0).all()):
        raise ZSLError(f"{path}: the {what} should be whole numbers or names; check the file")
    if (np.abs(found.astype(np.float64)) > WHOLE).any():
        raise ZSLError(f"{path}: the {what} has numbers beyond {WHOLE}; check the file")
    return found.astype(np.int64)


def _column(path: Path, names: Sequence[str], what: str) -> list[str]:
    """Text of one value a line, with a header or without; or the column so called of a table."""
    lines = [clean(line) for line in read_listed(path)]
    lines = [line for line in lines if line]
    if not lines:
        raise ZSLError(f"{path}: the file is empty; write one a line")
    if lines[0].casefold() in names:
        return lines[1:]
    _, header = next(rows := read_rows(path)) if len(lines) > 1 else (0, [])
    if (found := [k for k, cell in enumerate(header) if cell.casefold() in names]) and len(header) > 1:
        return [cells[found[0]] for _, cells in rows]
    return lines


def read_signatures(path: Path) -> tuple[tuple[str, ...], NDArray[np.float32], tuple[str, ...]]:
    """Names of classes, their signatures (classes, a) float32, and the names of attributes, () where there are none.

    From a table, or from an array, whose classes are called as the file's list `classes` says, else 0, 1, ...
    """
    if not is_array_file(path):
        table = read_table(path)
        return table.names, table.values, table.columns
    with Arrays(path) as arrays:
        column = arrays.find(SIGNATURES, is_matrix, "table of numbers, a row a class")
        if column is None:
            raise ZSLError(f"{path}: no numbers (classes, attributes), only {arrays.listed()}; check the file")
        signatures = np.empty(column.shape, np.float32)
        arrays.guarded(lambda: fill(column, signatures))
        texts = [column for column in arrays.columns.values() if column.kind == "O" and is_list(column)]
        if len(texts) != 1:
            return tuple(map(str, range(len(signatures)))), signatures, ()
        names = tuple(clean(str(name)) for name in arrays.guarded(lambda: values(texts[0])))
    if len(names) != len(signatures):
        raise ZSLError(f"{path}: {len(names)} names for {len(signatures)} signatures; give one name a row")
    return names, signatures, ()


def _written(labels: NDArray[Any], names: Sequence[str], path: Path, signatures: Path) -> tuple[list[str], list[str]]:
    """The different labels as names, and a note where they were numbers.

    Names of digits are names; other numbers are rows.
    """
    texts = [str(label) for label in labels.tolist()]
    if labels.dtype == object or set(texts) <= set(names):
        return texts, []
    low, high, count = int(labels.min()), int(labels.max()), len(names)
    if low < 0 or high > count or (low == 0 and high == count):
        raise ZSLError(f"{path}: labels from {low} to {high}, but {count} classes in {signatures}; take one data set's")
    if low > 0 and high < count:
        raise ZSLError(
            f"{path}: labels from {low} to {high} of {count} classes may count from 0 or from 1; write names, or leave "
            f"classes without images out of {signatures}"
        )
    first = 0 if low == 0 else 1
    note = f"{path}: labels are rows of {signatures}, counted from {first}: {low} is {names[low - first]!r}"
    return [names[label - first] for label in labels.tolist()], [note]


def _given_splits(files: Sequence[Path], count: int) -> tuple[NDArray[np.int64], ...]:
    roles = np.concatenate([read_list(path, SPLIT, "split of each image") for path in files]).tolist()
    if len(roles) != count:
        raise ZSLError(f"{files[0]}: splits of {len(roles)} images for {count} labels; give one each")
    for row, role in enumerate(roles):
        if role not in (*SPLITS, "ignored"):
            raise ZSLError(f"{files[0]}: image {row + 1}: {unknown('split', str(role), (*SPLITS, 'ignored'))}")
    where = np.array(roles)
    return tuple(np.flatnonzero(where == split) for split in SPLITS)
