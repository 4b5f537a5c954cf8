"""What a data set is asked before anything is made of it: what is refused, what is noted, and what is not."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import make_dataset
from zslcore.datasets import readiness
from zslcore.datasets.dataset import Dataset
from zslcore.errors import ZSLError


def folder(tmp_path: Path, contents: dict[str, bytes]) -> Dataset:
    """Classes a to f of two images each, e and f unseen; contents: files that hold this, others their own name."""
    files = tuple(f"{name}/{number}.png" for name in "abcdef" for number in range(2))
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(contents.get(file, file.encode()))
    return Dataset(
        "few",
        tuple("abcdef"),
        np.random.default_rng(0).uniform(1, 2, (6, 3)).astype("f4"),
        np.repeat(np.arange(6), 2),
        trainval=np.arange(0, 8, 2),
        test_seen=np.arange(1, 8, 2),
        test_unseen=np.arange(8, 12),
        image_files=files,
        attribute_names=("size", "hue", "speed"),
    )


def of_classes(signatures: Iterable[Iterable[float]]) -> list[str]:
    values = np.array(signatures, "f4")
    toy = make_dataset(seen=len(values) - 2, unseen=2, attributes=values.shape[1])
    names = tuple(f"a{k}" for k in range(values.shape[1]))
    return readiness.notes(replace(toy, signatures=values, attribute_names=names, image_attributes=None))


def test_nothing_is_said_of_a_sound_set(toy: Dataset, tmp_path: Path) -> None:
    readiness.check(toy)
    assert readiness.notes(toy) == []
    assert readiness.image_notes(toy) == []
    few = folder(tmp_path, {})
    assert readiness.notes(few) + readiness.image_notes(few, tmp_path) == []


@pytest.mark.parametrize("count", [2, 3])
def test_too_few_seen_classes_are_refused_with_the_way_out_unless_nothing_is_chosen(count: int) -> None:
    few = make_dataset(seen=count, unseen=2)
    with pytest.raises(ZSLError, match=rf"{count} seen classes; .* at least 4: .*data/toy\.yaml .*`train: .*T1 alone"):
        readiness.check(few)
    readiness.check(few, chooses=False)
    assert readiness.notes(few)[0].startswith(f"{count} seen classes are too few to choose on")
    held_out = (np.array([0]),)
    if count == 3:
        readiness.check(replace(few, validation_splits=held_out))


def test_what_later_stages_cannot_use_is_refused(tmp_path: Path) -> None:
    single = folder(tmp_path, {})
    with pytest.raises(ZSLError, match="no class has two trainval images, so that none can be held out"):
        readiness.check(single)
    readiness.check(single, chooses=False)
    toy = make_dataset()
    bare = replace(toy, signatures=toy.signatures[:, :0], image_attributes=None)
    with pytest.raises(ZSLError, match="signatures without a column"):
        readiness.check(bare)
    assert toy.features is not None
    with pytest.raises(ZSLError, match="features without a dimension"):
        readiness.check(replace(toy, features=toy.features[:, :0]))


@pytest.mark.parametrize(
    ("rows", "columns", "value", "notes"),
    [
        ([1], [0, 1, 2], 0, ["1 class has a signature of zeros, which says nothing: 'class 1'"]),
        ([1, 2], [0, 1, 2], 0, ["'class 1', 'class 2': the same signature", "2 classes have a signature of zeros"]),
        (range(7), [1], 7, ["of 3 attributes 1 never varies: 'a1'"]),
        ([1], [2], 1e30, ["1 value is far outside the rest of the attribute: 1e+30 of 'class 1' in 'a2' (the others"]),
        ([1], [2], -9999, ["1 value is far outside the rest of the attribute: -9999 of 'class 1' in 'a2' (the others"]),
        ([1], [2], 100, []),
    ],
)
def test_what_is_odd_about_signatures_is_named(rows: Any, columns: Any, value: float, notes: list[str]) -> None:
    values = np.random.default_rng(0).uniform(1, 2, (7, 3))
    values[np.ix_(rows, columns)] = value
    found = of_classes(values)
    assert len(found) == len(notes), found
    for note, start in zip(found, notes, strict=True):
        assert note.startswith(start)


def test_a_scale_of_one_column_says_nothing_of_another() -> None:
    assert of_classes(np.random.default_rng(0).uniform(1, 2, (7, 3)) * [1e-6, 1, 1e12]) == []


def test_a_value_of_an_image_far_outside_is_named_by_the_image(toy: Dataset) -> None:
    assert toy.image_attributes is not None
    values = toy.image_attributes.copy()
    values[5, 2] = -999
    (note,) = readiness.notes(replace(toy, image_attributes=values))
    assert note.startswith(
        "1 value is far outside the rest of the attribute: -999 of image 6 in attribute 3 (the others"
    )


def test_the_same_image_in_two_classes_or_splits_is_named(tmp_path: Path) -> None:
    """a/0 is trainval, a/1 test_seen; e and f are unseen; b/0 and f/0 are alike over two classes; sizes alone do not
    make two files the same."""
    same = {
        "a/0.png": b"A!",
        "a/1.png": b"A!",
        "b/0.png": b"bbb",
        "f/0.png": b"bbb",
        "e/0.png": b"ee",
        "e/1.png": b"ee",
    }
    few = folder(tmp_path, {**same, "c/0.png": b"c1", "d/0.png": b"c2"})
    assert readiness.image_notes(few, tmp_path) == [
        "1 group of identical images in two classes: b/0.png (b, trainval) = f/0.png (f, test_unseen); leave one of "
        "each",
        "1 group of identical images on both sides of a split: a/0.png (a, trainval) = a/1.png (a, test_seen); leave "
        "one of each",
        "1 group of identical images: e/0.png (e, test_unseen) = e/1.png (e, test_unseen); all of a class and a split",
    ]


def test_identical_pictures_and_features_are_found_too(toy: Dataset, tmp_path: Path) -> None:
    assert toy.features is not None
    features = toy.features.copy()
    features[toy.test_unseen[0]] = features[toy.trainval[0]]
    (note,) = readiness.notes(replace(toy, features=features))
    first, last = toy.trainval[0] + 1, toy.test_unseen[0] + 1
    assert note.startswith(f"1 group of identical rows of features in two classes: image {first} (class 0, trainval)")
    assert f"image {last} (class 12, test_unseen)" in note
    few = replace(folder(tmp_path, {}), image_files=(), pictures=[b"p%d" % min(row, 10) for row in range(12)])
    (note,) = readiness.image_notes(few)
    assert "picture 11 (f, test_unseen) = picture 12" in note


def test_classes_of_one_image_are_named(toy: Dataset) -> None:
    lonely = toy.trainval[toy.labels[toy.trainval] == 3]
    others = toy.test_seen[toy.labels[toy.test_seen] != 3]
    unseen = toy.test_unseen[toy.labels[toy.test_unseen] == 13][1:]
    data = replace(
        toy, trainval=np.setdiff1d(toy.trainval, lonely[1:]), test_seen=others,
        test_unseen=np.setdiff1d(toy.test_unseen, unseen),
    )  # fmt: skip
    first, second = readiness.notes(data)
    assert first.startswith("1 seen class has no test_seen image (of a single image), so that no accuracy")
    assert first.endswith(": 'class 3'")
    assert second == "1 unseen class has a single image, 0 or 100 in T1: 'class 13'"


def test_names_that_other_systems_take_for_one_or_cannot_have_are_named(tmp_path: Path) -> None:
    few = folder(tmp_path, {})
    names = ("a/0.png", "a/0.PNG", "A/1.png", "b/con.png", "b/x.png.", "c/q?.png", "c/nul", "d/" + "x" * 200)
    alike, strange, long = readiness.notes(replace(few, image_files=names + few.image_files[8:]))
    assert alike.endswith(", and are one on macOS and Windows: 'A' and 'a', 'a/0.PNG' and 'a/0.png'")
    assert strange == "4 names that Windows cannot have: 'con.png', 'nul', 'q?.png', 'x.png.'"
    assert long.startswith("1 path of more than 200 characters, which Windows may not open: d/xxx")


def test_names_that_are_not_utf_8_are_refused_by_any_data_set(tmp_path: Path) -> None:
    few = folder(tmp_path, {})
    with pytest.raises(ZSLError, match=r"1 names that are not UTF-8, the first of a file: 'a/caf\\xe9\.jpg'; rename"):
        replace(few, image_files=("a/caf\udce9.jpg", *few.image_files[1:]))
    with pytest.raises(ZSLError, match=r"the first of a class: '\\xe9'"):
        replace(few, classes=("\udce9", *few.classes[1:]))


def test_what_is_left_without_bad_images_is_checked(tmp_path: Path) -> None:
    few = folder(tmp_path, {"a/0.png": b""})
    bad = readiness.bad_images(few, tmp_path)
    assert bad["a/0.png"] == "the file is empty (0 bytes)"
    assert len(bad) == 12, "none of them is an image"
    assert readiness.unreadable(bad, 12).count("\n") == 12
    left = readiness.without(few, ["f/0.png", "f/1.png", "a/1.png"])
    assert left.unseen.tolist() == [4]
    assert left.test_seen.tolist() == [3, 5, 7]
    with pytest.raises(ZSLError, match="split test_unseen is empty"):
        readiness.without(few, [file for file in few.image_files if file[0] in "ef"])


@pytest.mark.realdata
def test_flowers_hold_one_pair_of_identical_files(real_data: Path) -> None:
    from zslcore.datasets.folder import FolderSource

    source = FolderSource(
        images="flo/images", signatures="flo/class_embeddings.csv", unseen="flo/classes.csv", image_attributes=None
    )
    data = source.load("flo", real_data)
    (note,) = [*readiness.notes(data), *readiness.image_notes(data, real_data)]
    pair = [real_data / f"flo/images/94/image_0730{number}.jpg" for number in (7, 9)]
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in pair}) == 1
    assert note.startswith("1 group of identical images")
    assert all(str(path.relative_to(real_data)) in note for path in pair)
    assert not readiness.bad_images(data, real_data)
