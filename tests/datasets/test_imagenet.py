"""The benchmark's ImageNet form, on small made files of it: version 7.3 of MATLAB, and 5."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from zslcore.datasets.dataset import Dataset
from zslcore.datasets.imagenet import ImageNetSource
from zslcore.errors import ZSLError

CLASSES, SEEN, DIMENSIONS, WORDS = 12, 4, 5, 3
"""Of the classes, numbered from 1 in the files, the first ones are seen; the last has no image."""
Contents = dict[str, dict[str, Any]]


def contents() -> Contents:
    """Four files, by name. hop2: classes 5 to 7; hop3: 5 to 11; mp2: 5 and 12."""
    random = np.random.default_rng(0)
    seen, seen_val, unseen = (
        random.permutation(np.repeat(np.arange(a, b), n)) for a, b, n in ((1, 5, 6), (1, 5, 2), (5, 12, 3))
    )
    return {
        "seen": {
            "features": random.normal(size=(DIMENSIONS, len(seen))),
            "labels": seen[:, None] + 0.0,
            "features_val": random.normal(size=(DIMENSIONS, len(seen_val))),
            "labels_val": seen_val[:, None] + 0.0,
        },
        "unseen": {"features": random.normal(size=(DIMENSIONS, len(unseen))), "labels": unseen[:, None] + 0.0},
        "w2v": {"w2v": random.normal(size=(CLASSES, WORDS))},
        "splits": {
            "hop2": np.arange(5, 8)[:, None] + 0.0,
            "hop3": np.arange(5, 12)[:, None] + 0.0,
            "mp2": np.array([[5.0], [12.0]]),
            "train_classes": np.arange(1, 5)[:, None] + 0.0,
        },
    }  # fmt: skip


def hdf5(path: Path, variables: dict[str, Any]) -> None:
    """As MATLAB writes 7.3: every array with its axes reversed."""
    with h5py.File(path, "w") as file:
        for name, value in variables.items():
            file.create_dataset(name, data=np.ascontiguousarray(value.T), chunks=True, compression="gzip")
            file[name].attrs["MATLAB_class"] = np.bytes_("double")


def load(folder: Path, files: Contents, write: Callable[..., None] = hdf5, **settings: Any) -> Dataset:
    for name, variables in files.items():
        write(folder / f"{name}.mat", variables)
    paths = {
        "features": "seen.mat",
        "unseen_features": ("unseen.mat",),
        "signatures": "w2v.mat",
        "splits": "splits.mat",
    }
    return ImageNetSource(**{**paths, "unseen": "hop2", **settings}).load("imagenet", folder)


@pytest.mark.parametrize("write", [hdf5, savemat], ids=["7.3", "5"])
def test_images_of_the_list_are_unseen_and_the_validation_images_test_seen(
    tmp_path: Path, write: Callable[..., None]
) -> None:
    files = contents()
    data = load(tmp_path, files, write)
    assert data.features is not None
    assert (data.split_name, len(data.classes), len(data.seen), len(data.unseen)) == ("hop2", 7, 4, 3)
    for split, file, features, labels in (
        ("trainval", "seen", "features", "labels"),
        ("test_seen", "seen", "features_val", "labels_val"),
        ("test_unseen", "unseen", "features", "labels"),
    ):
        numbers = files[file][labels].ravel()
        wanted = numbers <= 7
        rows = getattr(data, split)
        np.testing.assert_allclose(data.features[rows], files[file][features].T[wanted], rtol=1e-6)
        numbered = np.array([int(name.removeprefix("class_")) for name in data.classes])
        np.testing.assert_array_equal(numbered[data.labels[rows]], numbers[wanted])
    np.testing.assert_allclose(data.signatures, files["w2v"]["w2v"][:7], rtol=1e-6)


def test_lists_are_chosen_by_name_and_empty_classes_said(tmp_path: Path) -> None:
    assert load(tmp_path, contents(), unseen="hop3").unseen.tolist() == list(range(4, 11))
    data = load(tmp_path, contents(), unseen="mp2", split_name="most populated")
    assert data.split_name == "most populated"
    assert data.notes[0] == "unseen: the list 'mp2'"
    assert "1 of the 2 classes in 'mp2' have no image; left out: 'class_00012'" in data.notes[1]


def test_unseen_features_may_be_in_several_files(tmp_path: Path) -> None:
    files = contents()
    expected = load(tmp_path, files)
    all_of = files["unseen"]
    for name, part in (("unseen", slice(0, 8)), ("more", slice(8, None))):
        files[name] = {"features": all_of["features"][:, part], "labels": all_of["labels"][part]}
    data = load(tmp_path, files, unseen_features=("unseen.mat", "more.mat"))
    np.testing.assert_array_equal(data.features, expected.features)
    np.testing.assert_array_equal(data.labels, expected.labels)


def test_names_stand_beside_the_word_vectors(tmp_path: Path) -> None:
    files = contents()
    names = [f"n{k:08d}" for k in range(CLASSES - 2)] + ["crane", "crane"]
    files["w2v"]["wnids"] = np.array(names, dtype=object)[:, None]
    data = load(tmp_path, files, savemat, unseen="hop3")
    assert data.classes == (*names[:10], "crane")


@pytest.mark.parametrize(
    ("file", "change", "problem"),
    [
        ("splits", {"hop2": None}, r"splits\.mat: no variable 'hop2', only hop3, mp2, train_classes"),
        ("splits", {"hop2": np.array([[4.0], [5.0]])}, r"'hop2' lists 1 classes that .*seen\.mat trains on"),
        ("seen", {"features_val": None}, r"seen\.mat: no variable 'features_val'"),
        ("seen", {"features": np.zeros((24, 5))}, r"'features' is \(24, 5\) for 24 labels: transposed\?"),
        ("unseen", {"features": np.zeros((6, 21))}, r"unseen\.mat: 'features' of 6 dimensions, others 5"),
        ("unseen", {"labels": np.full((21, 1), 13.0)}, r"'labels' reaches 13, .* word vectors of 12 classes"),
        ("unseen", {"labels": np.zeros((21, 1))}, r"'labels' contains 0; the format counts from 1"),
        ("w2v", {"w2v": np.full((12, 3), np.inf)}, r"signatures hold NaN or infinity in 7 rows"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(tmp_path: Path, file: str, change: dict[str, Any], problem: str) -> None:
    files = contents()
    files[file] = {name: value for name, value in (files[file] | change).items() if value is not None}
    with pytest.raises(ZSLError, match=problem):
        load(tmp_path, files)


def test_features_are_read_a_block_at_a_time(tmp_path: Path, within_limits: Any) -> None:
    files = contents()
    count, width = 2**13, 2**11
    with h5py.File(tmp_path / "big.mat", "w") as file:
        file.create_dataset("features", (count, width), np.float64, chunks=(64, width), fillvalue=1.0)
        file["features"][::64] = 2.0  # so that every chunk lies in the file
        file["labels"] = (np.arange(count) % SEEN + 1.0)[None]
        file["features_val"], file["labels_val"] = np.zeros((4, width)), np.arange(1.0, 5.0)[None]
    files["unseen"]["features"] = np.zeros((width, 21))
    decoded = 4 * count * width
    with within_limits(decoded // 2, slack=decoded):
        data = load(tmp_path, files, features="big.mat")
    assert data.features is not None
    assert data.features[:64].sum() == 65 * width
