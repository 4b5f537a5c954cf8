"""The benchmark's ImageNet form: 1000 seen classes, word vectors of many more, and lists of unseen ones to choose from.

Y. Xian, C. H. Lampert, B. Schiele, Z. Akata: "Zero-Shot Learning - A Comprehensive Evaluation of the Good, the Bad and
the Ugly", TPAMI 2019, section 4.1.2. The lists are by hops in the hierarchy (two, three) and by population (the 500,
1000, 5000 classes with the most images, or the fewest). Files count from 1; what is returned counts from 0.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from zslcore.datasets.arrays import Arrays, Column, fill, is_matrix, sliced
from zslcore.datasets.dataset import Dataset
from zslcore.datasets.matfile import read_mat
from zslcore.datasets.source import Source
from zslcore.datasets.xlsa17 import as_float32, from_one
from zslcore.errors import ZSLError

NAMES = ("wnids", "words")
"""What the names of the classes may be called, next to the word vectors; the first that is there is taken."""


class ImageNetSource(Source):
    """The benchmark's ImageNet files: features of seen and of unseen classes, word vectors, and a list of unseen ones.

    `features` has `features` (d, n) and `labels` (n, 1), which are trainval, and `features_val` and `labels_val`, which
    are test_seen. `unseen_features` have `features` and `labels`; of them the images of the classes in the variable
    `unseen` of `splits` are test_unseen. `signatures` has `w2v` (classes, a), one row a class, in the order that labels
    and lists count in, and perhaps the classes' names as `wnids` or `words`.
    """

    kind: ClassVar[str] = "imagenet"
    features: Path = Field(description=".mat with features (d, n), labels (n, 1), features_val and labels_val.")
    unseen_features: tuple[Path, ...] = Field(
        min_length=1, description=".mat with features (d, n) and labels (n, 1) of unseen classes; may be given again."
    )
    signatures: Path = Field(description=".mat with w2v (classes, a); optional wnids or words, the classes' names.")
    splits: Path = Field(description=".mat of lists of classes, counted from 1.")
    unseen: str = Field(description="Which list of SPLITS is unseen, by the name of its variable (hop2, mp500, ...).")
    split_name: str | None = Field(None, description="What results call the split; default: the name of the list.")

    def files(self) -> tuple[Path, ...]:
        """The files named in the settings."""
        return self.features, *self.unseen_features, self.signatures, self.splits

    def load(self, name: str, root: Path) -> Dataset:
        """Read the images of the seen classes and of the list, features a block at a time.

        Raises ZSLError naming the file, what is wrong with it and what to do.
        """
        seen_file, unseen_files = root / self.features, [root / path for path in self.unseen_features]
        vectors, names = read_word_vectors(root / self.signatures)
        listed = from_one(root / self.splits, self.unseen, read_mat(root / self.splits, (self.unseen,))[self.unseen])
        trainval, test_seen = (_labels(seen_file, name, len(vectors)) for name in ("labels", "labels_val"))
        unseen = [_labels(path, "labels", len(vectors)) for path in unseen_files]
        if len(both := np.intersect1d(listed, trainval)):
            raise ZSLError(
                f"{root / self.splits}: '{self.unseen}' lists {len(both)} classes that {seen_file} trains on, such as "
                f"{names[both[0]]!r}; take a list of unseen ones"
            )
        wanted = [np.isin(labels, listed) for labels in unseen]
        labels = np.concatenate([trainval, test_seen, *(of[rows] for of, rows in zip(unseen, wanted, strict=True))])
        blocks: list[Block] = [(seen_file, "features", None), (seen_file, "features_val", None)]
        blocks += [(path, "features", rows) for path, rows in zip(unseen_files, wanted, strict=True)]
        counts = [len(trainval), len(test_seen), *map(len, unseen)]
        features = _stack(blocks, counts, len(labels))
        present, position = np.unique(labels, return_inverse=True)
        notes = [] if self.split_name is None else [f"unseen: the list '{self.unseen}'"]
        if len(empty := np.setdiff1d(listed, present)):
            notes.append(
                f"{root / self.splits}: {len(empty)} of the {len(listed)} classes in '{self.unseen}' have no image; "
                f"left out: {', '.join(repr(names[k]) for k in empty[:5])}"
            )
        ends = np.cumsum([len(trainval), len(test_seen)])
        try:
            return Dataset(
                name=name,
                classes=tuple(names[k] for k in present),
                signatures=vectors[present],
                labels=position.astype(np.int64),
                trainval=np.arange(ends[0]),
                test_seen=np.arange(ends[0], ends[1]),
                test_unseen=np.arange(ends[1], len(labels)),
                features=features,
                split_name=self.split_name or self.unseen,
                notes=tuple(notes),
            )
        except ZSLError as error:
            raise ZSLError(f"{seen_file} with {root / self.signatures} and {root / self.splits}: {error}") from error


def read_word_vectors(path: Path) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Word vectors (classes, a) float32 and the classes' names, which are their numbers, from 1, where there are none.

    Of several classes with one name, all but the first get their number behind it.
    """
    variables = read_mat(path, ("w2v",), NAMES)
    vectors = variables["w2v"]
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
        raise ZSLError(f"{path}: 'w2v' is no table of numbers; it should be (classes, a), one row a class")
    found = next((variables[name] for name in NAMES if name in variables), None)
    if found is None:
        return as_float32(vectors), tuple(f"class_{k:05d}" for k in range(1, len(vectors) + 1))
    if len(found) != len(vectors):
        hint = ": transposed?" if vectors.shape[1] == len(found) else ""
        raise ZSLError(f"{path}: 'w2v' is {vectors.shape} for {len(found)} names{hint}; one row a class is needed")
    names, taken = [], set()
    for number, name in enumerate(map(str, found), 1):
        names.append(name if name not in taken else f"{name} ({number})")
        taken.add(name)
    return as_float32(vectors), tuple(names)


def _labels(path: Path, name: str, classes: int) -> NDArray[np.int64]:
    labels = from_one(path, name, read_mat(path, (name,))[name])
    if labels.max() >= classes:
        raise ZSLError(
            f"{path}: '{name}' reaches {labels.max() + 1}, but there are word vectors of {classes} classes; take the "
            "files of one data set"
        )
    return labels


Block = tuple[Path, str, NDArray[np.bool_] | None]


def _stack(blocks: list[Block], counts: list[int], total: int) -> NDArray[np.float32]:
    """The features (n, d) float32 of several variables one after the other, or of those of their rows that are wanted.

    counts: labels of each variable; total: rows that are wanted.
    """
    out: NDArray[np.float32] | None = None
    start = 0
    for (path, name, rows), count in zip(blocks, counts, strict=True):
        with _variable(path, name) as (column, copy):
            if not is_matrix(column) or column.shape[0] != count:
                shape = column.shape[::-1]
                hint = ": transposed?" if shape[0] == count else ""
                raise ZSLError(
                    f"{path}: '{name}' is {shape} for {count} labels{hint}; it should be numbers (dimensions, images)"
                )
            width = column.shape[1]
            out = np.empty((total, width), np.float32) if out is None else out
            if width != out.shape[1]:
                raise ZSLError(f"{path}: '{name}' of {width} dimensions, others {out.shape[1]}; take one network")
            wanted = count if rows is None else int(rows.sum())
            copy(out[start : start + wanted], rows)
            start += wanted
    assert out is not None
    return out


Copy = Callable[[NDArray[np.float32], NDArray[np.bool_] | None], None]


@contextmanager
def _variable(path: Path, name: str) -> Iterator[tuple[Column, Copy]]:
    """A variable of a MATLAB file, an image a row, and what copies it: of version 7.3 a block at a time."""
    if not h5py.is_hdf5(path):
        column = sliced(read_mat(path, (name,))[name].T)
        yield column, partial(fill, column)
        return
    with Arrays(path) as arrays:
        if name not in arrays.columns:
            raise ZSLError(f"{path}: no variable '{name}', only {arrays.listed()}; check that this is the right file")
        column = arrays.columns[name]  # the axes of every array are reversed there
        yield column, lambda out, rows: arrays.guarded(partial(fill, column, out, rows))
