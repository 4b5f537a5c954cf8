"""The benchmark's files: a feature file (`res101.mat`) and a split file (`att_splits.mat`).

Y. Xian, C. H. Lampert, B. Schiele, Z. Akata: "Zero-Shot Learning - A Comprehensive Evaluation of the Good, the Bad and
the Ugly", TPAMI 2019. The files count rows and classes from 1; everything this module returns counts from 0.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from zslcore.datasets.dataset import Dataset, hold_out_by_name, imageless_note
from zslcore.datasets.download import CVPR18, XLSA17
from zslcore.datasets.matfile import read_mat
from zslcore.datasets.source import Source
from zslcore.errors import ZSLError
from zslcore.io.tables import read_classes, read_table

LARGEST = 2**53  # the largest whole number that MATLAB's own type of numbers counts to

Signatures = Literal["att", "original_att"]


class XLSA17Source(Source):
    """A pair of files in the benchmark's format.

    `features` has the variables `features` (d, n) and `labels` (n, 1); `image_files` (n, 1) is checked where present.
    `splits` has `att` (a, classes), `trainval_loc`, `test_seen_loc`, `test_unseen_loc`; usually `original_att` and
    `allclasses_names`; sometimes `train_loc` and `val_loc`. Validation classes are, in this order: those of
    `validation_classes`, one name a line; those of `valclasses*.txt` in the folder of `splits`; those of `val_loc`
    where it leaks no test image. `image_attributes` is .npy (n, a), .mat with `image_attributes` (a, n), or .csv with a
    header and n rows in the order of the features, a name in the first column. `unseen_classes` makes another split:
    these classes are unseen, and a `test_share` of the images of each other class, drawn from `split_seed`, is
    test_seen.
    """

    kind: ClassVar[str] = "xlsa17"
    settings_only: ClassVar[frozenset[str]] = frozenset({"test_share", "split_seed"})
    downloads: ClassVar[str] = (
        "The benchmark's res101.mat and att_splits.mat of CUB, SUN, AWA1, AWA2 and APY, with the published validation "
        f"classes, are in {XLSA17} (0.9 GB), those of FLO in {CVPR18}. Unpack, and give the two files of one data set; "
        "`zsl download` does all of it."
    )
    features: Path = Field(description=".mat with features (d, n) and labels (n, 1): res101.mat.")
    splits: Path = Field(description=".mat with att (a, classes) and the splits: att_splits.mat.")
    validation_classes: tuple[Path, ...] = Field(
        (), description="List of validation classes, up to three times; default: valclasses*.txt next to SPLITS."
    )
    signatures: Signatures = Field("att", description="att (vectors of length 1) or original_att (raw).")
    image_attributes: Path | None = Field(
        None, description="What is visible in each image, in the signature's entries: .csv, .npy or .mat."
    )
    unseen_classes: Path | None = Field(
        None, description="List of classes that are unseen, for another split than the file's."
    )
    split_name: str | None = Field(None, description="What results call the split; default: proposed split, own split.")
    test_share: float = Field(
        0.2, gt=0, lt=1, description="With unseen_classes: part of each seen class's images that is test_seen."
    )
    split_seed: int = Field(0, ge=0, description="With unseen_classes: seed that draws the test_seen images.")
    strict_splits: bool = Field(False, description="Refuse train_loc and val_loc that contain test images.")

    def files(self) -> tuple[Path, ...]:
        """The files named in the settings."""
        optional = (path for path in (self.image_attributes, self.unseen_classes) if path)
        return self.features, self.splits, *self.validation_classes, *optional

    def class_lists(self, root: Path) -> tuple[Path, ...]:
        """Paths of the lists of validation classes: those in the settings, else those in the split file's folder."""
        if self.validation_classes or self.unseen_classes:
            return tuple(root / path for path in self.validation_classes)
        return tuple(sorted((root / self.splits).parent.glob("valclasses*.txt")))

    def with_found_files(self, root: Path) -> Self:
        """With the lists of validation classes that stand in the folder of the split file."""
        lists = self.class_lists(root)
        return self.model_copy(update={"validation_classes": lists}) if lists else self

    def load(self, name: str, root: Path) -> Dataset:
        """Read both files and check that they belong together.

        Raises ZSLError naming the file, what is wrong with it and what to do.
        """
        features_file, splits_file = root / self.features, root / self.splits
        splits = read_splits(splits_file, self.signatures, self.strict_splits)
        features, labels = read_features(features_file, splits.classes)
        for row_list in ("trainval", "test_seen", "test_unseen", "train", "val"):
            rows = getattr(splits, row_list)
            if rows is not None and len(rows) and rows.max() >= len(labels):
                raise ZSLError(
                    f"{splits_file}: '{row_list}_loc' points to image {rows.max() + 1}, {features_file} holds "
                    f"{len(labels)}; take the two files of one data set"
                )
        if self.unseen_classes:
            splits = self._other_split(splits, labels, root / self.unseen_classes)
        held_out, note = validation_classes(splits, labels, self.class_lists(root))
        attributes = read_image_attributes(root / self.image_attributes) if self.image_attributes else None
        imageless = np.setdiff1d(np.arange(len(splits.classes)), labels)
        note = (*note, *imageless_note([splits.classes[k] for k in imageless]))
        try:
            return Dataset(
                name=name,
                classes=splits.classes,
                signatures=splits.signatures,
                labels=labels,
                trainval=splits.trainval,
                test_seen=splits.test_seen,
                test_unseen=splits.test_unseen,
                features=features,
                image_attributes=attributes,
                validation_splits=held_out,
                split_name=self.split_name or ("own split" if self.unseen_classes else "proposed split"),
                notes=(*splits.notes, *note),
                imageless=imageless,
            )
        except ZSLError as error:
            raise ZSLError(f"{features_file} with {splits_file}: {error}") from error

    def _other_split(self, splits: "Splits", labels: NDArray[np.int64], path: Path) -> "Splits":
        is_unseen = np.isin(labels, read_classes(path, splits.classes))
        if is_unseen.all():
            raise ZSLError(f"{path}: names every class; leave at least two out, which are seen")
        images, seen_rows = list(map(str, range(len(labels)))), np.flatnonzero(~is_unseen)
        trainval, test_seen = hold_out_by_name(
            labels, splits.classes, images, seen_rows, self.test_share, self.split_seed
        )
        return replace(
            splits,
            trainval=trainval,
            test_seen=test_seen,
            test_unseen=np.flatnonzero(is_unseen),
            train=None,
            val=None,
            notes=(*splits.notes, f"{path.name}: a split of its own; results do not compare with the proposed split"),
        )


@dataclass(frozen=True)
class Splits:
    """A split file, counted from 0.

    classes: names in the order of the columns of `att`; signatures: (classes, a) float32; the others: int64 rows.
    train, val: a division of trainval, or None where the file has none, or one that contains test images.
    """

    classes: tuple[str, ...]
    signatures: NDArray[np.float32]
    trainval: NDArray[np.int64]
    test_seen: NDArray[np.int64]
    test_unseen: NDArray[np.int64]
    train: NDArray[np.int64] | None
    val: NDArray[np.int64] | None
    notes: tuple[str, ...]


def read_splits(path: Path, signatures: Signatures = "att", strict: bool = False) -> Splits:
    """Read an `att_splits.mat`.

    Circulating first versions have `train_loc` and `val_loc` that contain the test_seen images; these two are ignored
    with a note, or refused when `strict`. Raises ZSLError for a file that is missing, damaged or lacks a variable.
    """
    required = ("trainval_loc", "test_seen_loc", "test_unseen_loc")
    variables = read_mat(path, (signatures, *required), ("allclasses_names", "train_loc", "val_loc"))
    att = variables[signatures]
    if att.ndim != 2 or att.dtype.kind not in "fiu":
        raise ZSLError(f"{path}: '{signatures}' is no table of numbers; it should be (attributes, classes)")
    classes, notes = tuple(map(str, variables.get("allclasses_names", ()))), []
    if not classes:
        classes = tuple(f"class_{k:03d}" for k in range(1, att.shape[1] + 1))
        notes.append(f"{path}: no 'allclasses_names'; the classes are called {classes[0]} to {classes[-1]}")
    if att.shape[1] != len(classes):
        hint = ": transposed?" if att.shape[0] == len(classes) else ""
        raise ZSLError(
            f"{path}: '{signatures}' is {att.shape} for {len(classes)} class names{hint}; "
            "it should be (attributes, classes), one column a class"
        )
    rows = {
        name: from_one(path, name, variables[name]) for name in (*required, "train_loc", "val_loc") if name in variables
    }
    train, val = rows.get("train_loc"), rows.get("val_loc")
    if train is not None and val is not None:
        division = np.concatenate([train, val])
        seen, unseen = (np.intersect1d(division, rows[name]) for name in ("test_seen_loc", "test_unseen_loc"))
        if len(seen) or len(unseen):
            leak = (
                f"{path}: train_loc and val_loc contain {len(seen)} of the {len(rows['test_seen_loc'])} test_seen and "
                f"{len(unseen)} of the {len(rows['test_unseen_loc'])} test_unseen images"
            )
            if strict:
                raise ZSLError(f"{leak}; get the corrected file, or switch strict_splits off to ignore these two")
            notes.append(f"{leak}; both are ignored")
            train = val = None
        elif len(np.setdiff1d(division, rows["trainval_loc"])):
            notes.append(f"{path}: train_loc and val_loc contain images outside trainval_loc; both are ignored")
            train = val = None
    return Splits(
        classes=classes,
        signatures=as_float32(att.T),
        trainval=rows["trainval_loc"],
        test_seen=rows["test_seen_loc"],
        test_unseen=rows["test_unseen_loc"],
        train=train,
        val=val,
        notes=tuple(notes),
    )


def read_features(path: Path, classes: tuple[str, ...]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Read a `res101.mat`: features (n, d) float32 and labels (n,) int64, positions in `classes`.

    Where the file names its images and all their folders are class names, the labels must agree with them.
    Raises ZSLError for a file that is missing, damaged, transposed, or whose labels do not fit the classes.
    """
    variables = read_mat(path, ("features", "labels"), ("image_files",))
    labels, features = from_one(path, "labels", variables["labels"]), variables["features"]
    if features.dtype.kind not in "fiu" or features.ndim != 2 or features.shape[1] != len(labels):
        hint = ": transposed?" if features.ndim == 2 and features.shape[0] == len(labels) else ""
        raise ZSLError(
            f"{path}: 'features' is {features.dtype} {features.shape} for {len(labels)} labels{hint}; "
            "it should be numbers (dimensions, images), one column an image"
        )
    if len(labels) and labels.max() >= len(classes):
        raise ZSLError(
            f"{path}: labels reach {labels.max() + 1}, but there are signatures of {len(classes)} classes only; "
            "take the split file of the same data set"
        )
    _check_folders(path, variables.get("image_files"), labels, classes)
    return as_float32(features.T), labels


def _check_folders(
    path: Path, images: NDArray[np.str_] | None, labels: NDArray[np.int64], classes: tuple[str, ...]
) -> None:
    """Labels that follow another order of the classes than the signatures cost nearly all accuracy, silently."""
    if images is None or images.shape != labels.shape:
        return
    folders = np.array([str(image).replace("\\", "/").split("/")[-2:][0] for image in images])
    if not np.isin(folders, classes).all():
        return
    wrong = np.flatnonzero(folders != np.array(classes)[labels])
    if len(wrong):
        first = wrong[0]
        raise ZSLError(
            f"{path}: {len(wrong)} labels disagree with the folder of their image, the first in row {first + 1}: "
            f"{images[first]} is labelled {classes[labels[first]]!r}; labels must follow the order of allclasses_names"
        )


def validation_classes(
    splits: Splits, labels: NDArray[np.int64], lists: tuple[Path, ...]
) -> tuple[tuple[NDArray[np.int64], ...], tuple[str, ...]]:
    """The published classes to hold out for validation, and a note where there are none.

    From the lists where there are any, else from train and val where they share no class and leave at least two to
    learn from.
    Raises ZSLError for a list that names an unknown or unseen class, or leaves fewer than two seen ones.
    """
    if lists:
        return tuple(_held_out(path, splits, labels) for path in lists), ()
    if splits.train is not None and splits.val is not None:
        held_out = np.unique(labels[splits.val])
        shared = np.isin(held_out, labels[splits.train]).any()
        if len(held_out) and not shared and len(np.setdiff1d(labels[splits.trainval], held_out)) >= 2:
            return (held_out,), ()
    return (), ("no usable published validation classes: they are derived by seed",)


def _held_out(path: Path, splits: Splits, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    held_out = read_classes(path, splits.classes)
    seen = np.unique(labels[splits.trainval])
    strangers = np.setdiff1d(held_out, seen)
    if len(strangers):
        raise ZSLError(
            f"{path}: {splits.classes[strangers[0]]!r} is no seen class; validation classes are held out of trainval"
        )
    if len(held_out) > len(seen) - 2:
        raise ZSLError(f"{path}: names {len(held_out)} of {len(seen)} seen classes; leave at least two to learn from")
    return held_out


def read_image_attributes(path: Path) -> NDArray[np.float32]:
    """Read per-image attributes (n, a) float32 from .npy, .csv or .mat. Raises ZSLError for anything else."""
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv", ".xlsx"):
        return read_table(path).values
    if suffix == ".mat":
        values = read_mat(path, ("image_attributes",))["image_attributes"].T
    elif suffix == ".npy":
        try:
            values = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: the file must be as long as it claims
        except Exception as error:  # NumPy raises errors of many types on damaged files
            raise ZSLError(f"{path}: cannot be read as .npy ({error}); save plain numbers with numpy.save") from error
        if not isinstance(values, np.ndarray):
            raise ZSLError(f"{path}: an archive of arrays; save plain numbers with numpy.save")
    else:
        raise ZSLError(f"{path}: image attributes are read from .npy, .csv or .mat; save them as one of these")
    if values.dtype.kind not in "biuf" or values.ndim != 2:
        raise ZSLError(f"{path}: holds {values.dtype} {values.shape}; expected numbers, one row an image")
    return as_float32(values)


def as_float32(values: NDArray[np.generic]) -> NDArray[np.float32]:
    """Row by row in memory; what is too large becomes infinite, which the data contract refuses."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, dtype=np.float32)


def from_one(path: Path, name: str, values: NDArray[Any]) -> NDArray[np.int64]:
    """A list of numbers counted from 1 as one counted from 0. Raises ZSLError where it is no such list."""
    numbers = values.ravel()
    if values.dtype == object:
        counted = "the number of each image's class, counted from 1 in the order of allclasses_names"
        wanted = counted if name == "labels" else "row numbers, counted from 1"
        raise ZSLError(f"{path}: '{name}' holds text, such as {numbers[0]!r}; it should be {wanted}")
    is_list = numbers.dtype.kind in "fiu" and numbers.size == max(values.shape, default=0)
    if not is_list or (numbers % 1 != 0).any() or (numbers > LARGEST).any():
        raise ZSLError(
            f"{path}: '{name}' should be one row or column of whole numbers; check that it is the right file"
        )
    if numbers.size and numbers.min() < 1:
        raise ZSLError(f"{path}: '{name}' contains {numbers.min():g}; the format counts from 1: add 1 to all")
    return numbers.astype(np.int64) - 1
