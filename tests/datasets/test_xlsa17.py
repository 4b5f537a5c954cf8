"""The benchmark's file format: made-up pairs for every way a pair can be wrong, and the real files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from zslcore.datasets.dataset import Dataset
from zslcore.datasets.registry import source
from zslcore.datasets.xlsa17 import XLSA17Source, read_splits
from zslcore.errors import ZSLError

CLASSES, PER_CLASS, DIMENSIONS, ATTRIBUTES = 6, 4, 5, 3
Contents = dict[str, Any]


def contents() -> tuple[Contents, Contents]:
    """A correct pair: classes 0..3 seen (3 images trainval, 1 test), 4 and 5 unseen; images in shuffled order."""
    random = np.random.default_rng(0)
    labels = random.permutation(np.repeat(np.arange(CLASSES), PER_CLASS))
    names = np.array([f"{9 - k}.bird" for k in range(CLASSES)], dtype=object)
    rows = {k: np.flatnonzero(labels == k) for k in range(CLASSES)}
    features = {
        "features": random.normal(size=(DIMENSIONS, len(labels))),
        "labels": labels[:, None] + 1.0,
        "image_files": np.array([f"/photos/{names[k]}/{i}.jpg" for i, k in enumerate(labels)], dtype=object)[:, None],
    }
    splits = {
        "att": random.uniform(size=(ATTRIBUTES, CLASSES)),
        "original_att": 100 * random.uniform(size=(ATTRIBUTES, CLASSES)),
        "allclasses_names": names[:, None],
        "trainval_loc": np.concatenate([rows[k][:3] for k in range(4)])[:, None] + 1.0,
        "test_seen_loc": np.concatenate([rows[k][3:] for k in range(4)])[:, None] + 1.0,
        "test_unseen_loc": np.concatenate([rows[4], rows[5]])[:, None] + 1.0,
    }
    return features, splits


def load(folder: Path, features: Contents, splits: Contents, **settings: Any) -> Dataset:
    """Write a pair and load it."""
    savemat(folder / "res.mat", features, do_compression=True)
    savemat(folder / "splits.mat", splits, do_compression=True)
    return XLSA17Source(features="res.mat", splits="splits.mat", **settings).load("toy", folder)


def test_a_pair_is_counted_from_zero_and_keeps_its_order(tmp_path: Path) -> None:
    features, splits = contents()
    data = load(tmp_path, features, splits)
    assert data.classes == ("9.bird", "8.bird", "7.bird", "6.bird", "5.bird", "4.bird")
    np.testing.assert_array_equal(data.labels, features["labels"].ravel() - 1)
    np.testing.assert_allclose(data.features, features["features"].T, rtol=1e-6)
    np.testing.assert_allclose(data.signatures, splits["att"].T, rtol=1e-6)
    for split in ("trainval", "test_seen", "test_unseen"):
        np.testing.assert_array_equal(getattr(data, split), splits[f"{split}_loc"].ravel() - 1)
    np.testing.assert_array_equal(data.seen, [0, 1, 2, 3])
    np.testing.assert_array_equal(data.unseen, [4, 5])
    assert data.split_name == "proposed split"
    assert data.features is not None
    assert (data.features.dtype, data.labels.dtype, data.signatures.dtype) == (np.float32, np.int64, np.float32)


def test_original_signatures_are_taken_when_asked_for(tmp_path: Path) -> None:
    features, splits = contents()
    data = load(tmp_path, features, splits, signatures="original_att")
    np.testing.assert_allclose(data.signatures, splits["original_att"].T, rtol=1e-6)


def changed(where: int, **values: Any) -> Callable[[tuple[Contents, Contents]], None]:
    """Replace variables of the pair; None removes one."""

    def change(pair: tuple[Contents, Contents]) -> None:
        for name, value in values.items():
            del pair[where][name]
            if value is not None:
                pair[where][name] = value(contents()[where]) if callable(value) else value

    return change


def put(name: str, index: Any, value: float) -> Callable[[Contents], Any]:
    """The variable with one entry replaced."""

    def change(original: Contents) -> Any:
        array = original[name]
        array[index] = value
        return array

    return change


BAD = {
    "no features": (changed(0, features=None), r"res\.mat: no variable 'features', only image_files, labels"),
    "no labels": (changed(0, labels=None), r"res\.mat: no variable 'labels'"),
    "no att": (changed(1, att=None), r"splits\.mat: no variable 'att'"),
    "no split": (changed(1, test_seen_loc=None), r"splits\.mat: no variable 'test_seen_loc'"),
    "transposed features": (
        changed(0, features=lambda old: old["features"].T),
        r"res\.mat: 'features' is float64 \(24, 5\) for 24 labels: transposed\?",
    ),
    "too few features": (
        changed(0, features=lambda old: old["features"][:, 1:]),
        r"\(5, 23\) for 24 labels; it should",
    ),
    "features of text": (changed(0, features=lambda old: old["image_files"]), r"'features' is object \(24,\)"),
    "cells of numbers": (
        changed(0, features=np.array([np.ones(2), np.ones(3)], dtype=object)),
        r"res\.mat: 'features' is neither numbers nor a list of text",
    ),
    "struct": (changed(0, labels={"a": 1}), r"res\.mat: 'labels' is neither numbers nor a list of text"),
    "labels from 0": (
        changed(0, labels=lambda old: old["labels"] - 1),
        r"'labels' contains 0; the format counts from 1",
    ),
    "labels too large": (
        changed(0, labels=put("labels", 0, 7)),
        r"res\.mat: labels reach 7, but there are signatures of 6 classes only",
    ),
    "half labels": (changed(0, labels=put("labels", 0, 1.5)), r"'labels' should be one row or column of whole numbers"),
    "endless label": (changed(0, labels=put("labels", 0, 1e300)), r"'labels' should be one row or column of whole"),
    "NaN label": (
        changed(0, labels=put("labels", 0, np.nan)),
        r"'labels' should be one row or column of whole numbers",
    ),
    "labels as text": (
        changed(0, labels=np.array([["6.bird"]] * 24, dtype=object)),
        r"res\.mat: 'labels' holds text, such as '6\.bird'; it should be the number of each image's class, counted",
    ),
    "empty labels": (changed(0, labels=np.zeros((0, 1))), r"res\.mat: 'labels' is empty"),
    "rows as text": (
        changed(1, trainval_loc=np.array([["a"], ["b"]], dtype=object)),
        r"splits\.mat: 'trainval_loc' holds text, such as 'a'; it should be row numbers, counted from 1",
    ),
    "label table": (changed(0, labels=np.ones((4, 6))), r"'labels' should be one row or column of whole numbers"),
    "label of another folder": (
        changed(0, labels=lambda old: old["labels"] % CLASSES + 1),
        r"res\.mat: 24 labels disagree with the folder of their image, the first in row 1",
    ),
    "NaN feature": (
        changed(0, features=put("features", (2, [4, 7]), np.nan)),
        r"res\.mat with .*features hold NaN or infinity in 2 rows: row 5, column 3; row 8, column 3 \(counted",
    ),
    "infinite feature": (
        changed(0, features=put("features", (0, 0), np.inf)),
        r"features hold NaN or infinity in 1 rows",
    ),
    "too large a feature": (changed(0, features=put("features", (0, 0), 1e300)), r"features hold NaN or infinity"),
    "NaN signature": (
        changed(1, att=put("att", (1, 3), np.nan)),
        r"splits\.mat: .*signatures hold NaN or infinity in 1 rows: row 4 \('6\.bird'\), column 2 ",
    ),
    "transposed att": (
        changed(1, att=lambda old: old["att"].T),
        r"splits\.mat: 'att' is \(6, 3\) for 6 class names: transposed\?",
    ),
    "class without signature": (
        changed(1, att=lambda old: old["att"][:, 1:]),
        r"splits\.mat: 'att' is \(3, 5\) for 6 class names; it should",
    ),
    "att of text": (changed(1, att=lambda old: old["allclasses_names"]), r"splits\.mat: 'att' is no table of numbers"),
    "duplicate class": (
        changed(1, allclasses_names=np.array(list("abcdea"), dtype=object)),
        r"splits\.mat: .*class names appear twice: 'a'",
    ),
    "overlapping splits": (
        changed(1, test_seen_loc=lambda old: old["trainval_loc"][:2]),
        r"splits\.mat: .*splits trainval and test_seen share 2 images",
    ),
    "repeated row": (
        changed(1, test_seen_loc=lambda old: np.repeat(old["test_seen_loc"], 2)),
        r"split test_seen lists an image twice",
    ),
    "empty split": (changed(1, test_unseen_loc=np.zeros((0, 0))), r"splits\.mat: 'test_unseen_loc' is empty"),
    "split from 0": (
        changed(1, trainval_loc=put("trainval_loc", 0, 0)),
        r"splits\.mat: 'trainval_loc' contains 0; the format counts from 1",
    ),
    "split out of range": (
        changed(1, test_seen_loc=put("test_seen_loc", 0, 25)),
        r"splits\.mat: 'test_seen_loc' points to image 25, .*res\.mat holds 24",
    ),
    "seen and unseen class": (
        changed(1, test_unseen_loc=lambda old: np.concatenate([old["test_unseen_loc"], old["test_seen_loc"][:1]])),
        r"share 1 images",
    ),
    "unseen class in trainval": (
        changed(
            1,
            trainval_loc=lambda old: np.concatenate([old["trainval_loc"], old["test_unseen_loc"][:1]]),
            test_unseen_loc=lambda old: old["test_unseen_loc"][1:],
        ),
        r"1 classes are both seen and unseen: '5\.bird'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_pair_is_refused_by_name(case: str, tmp_path: Path) -> None:
    change, message = BAD[case]
    pair = contents()
    change(pair)
    with pytest.raises(ZSLError, match=message):
        load(tmp_path, *pair)


def test_a_class_without_images_competes(tmp_path: Path) -> None:
    features, splits = contents()
    splits["att"] = np.hstack([splits["att"], splits["att"][:, :1]])
    splits["allclasses_names"] = np.array([*splits["allclasses_names"].ravel(), "dodo"], dtype=object)
    data = load(tmp_path, features, splits)
    dodo = data.classes.index("dodo")
    assert data.imageless.tolist() == [dodo]
    assert dodo in data.unseen
    assert any("1 unseen classes have no image ('dodo')" in note for note in data.notes)


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    features, splits = contents()
    load(tmp_path, features, splits)
    whole = (tmp_path / "res.mat").read_bytes()
    settings = XLSA17Source(features="res.mat", splits="splits.mat")
    for damaged in (b"", b"no matlab file", whole[:200], whole[: len(whole) // 2]):
        (tmp_path / "res.mat").write_bytes(damaged)
        with pytest.raises(ZSLError, match=r"res\.mat: cannot be read as a MATLAB file"):
            settings.load("toy", tmp_path)
    (tmp_path / "res.mat").unlink()
    with pytest.raises(ZSLError, match=r"res\.mat: no such file"):
        settings.load("toy", tmp_path)


def test_files_without_compression_read_the_same(tmp_path: Path) -> None:
    pair = contents()
    old = load(tmp_path, *pair)
    for name, variables in zip(("res.mat", "splits.mat"), pair, strict=True):
        savemat(tmp_path / name, variables)
    new = XLSA17Source(features="res.mat", splits="splits.mat").load("toy", tmp_path)
    np.testing.assert_array_equal(new.features, old.features)


def write_hdf5(path: Path, variables: Contents) -> None:
    """Write variables as MATLAB 7.3 does: axes reversed, text as codes, cells as references."""
    with h5py.File(path, "w", userblock_size=512) as file:
        cells = file.create_group("#refs#")
        for name, value in variables.items():
            if value.dtype == object:
                references = np.empty(value.shape[::-1], dtype=h5py.ref_dtype)
                for position, text in enumerate(value.ravel()):
                    cell = cells.create_dataset(f"{name}{position}", data=np.array([[ord(c)] for c in text], np.uint16))
                    cell.attrs["MATLAB_class"] = np.bytes_("char")
                    references[0, position] = cell.ref
                file.create_dataset(name, data=references, dtype=h5py.ref_dtype)
            else:
                file[name] = value.T


def test_version_73_reads_the_same(tmp_path: Path) -> None:
    pair = contents()
    old = load(tmp_path, *pair)
    for name, variables in zip(("res.mat", "splits.mat"), pair, strict=True):
        write_hdf5(tmp_path / name, variables)
    new = XLSA17Source(features="res.mat", splits="splits.mat").load("toy", tmp_path)
    assert new.classes == old.classes
    for field in ("features", "labels", "signatures", "trainval", "test_seen", "test_unseen"):
        np.testing.assert_array_equal(getattr(new, field), getattr(old, field))


def test_version_73_with_a_link_out_of_the_file_is_refused(tmp_path: Path) -> None:
    load(tmp_path, *contents())
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["features"] = np.zeros((24, 5))
    with h5py.File(tmp_path / "res.mat", "w") as file:
        file["labels"] = np.ones((1, 24))
        file["features"] = h5py.ExternalLink("other.h5", "features")
    with pytest.raises(ZSLError, match=r"'features' is not stored in the file itself"):
        XLSA17Source(features="res.mat", splits="splits.mat").load("toy", tmp_path)


def test_without_class_names_classes_are_numbered_with_a_notice(tmp_path: Path) -> None:
    features, splits = contents()
    del splits["allclasses_names"]
    data = load(tmp_path, features, splits)
    assert data.classes == tuple(f"class_00{k}" for k in range(1, 7))
    assert any("no 'allclasses_names'" in note and "class_001 to class_006" in note for note in data.notes)


def with_division(leak: int = 0) -> tuple[Contents, Contents]:
    """A pair with train_loc (classes 0, 1) and val_loc (2, 3), and `leak` test_seen images among the latter."""
    features, splits = contents()
    splits["train_loc"] = splits["trainval_loc"][:6]
    splits["val_loc"] = np.concatenate([splits["trainval_loc"][6:], splits["test_seen_loc"][:leak]])
    return features, splits


def test_a_clean_division_gives_the_validation_classes(tmp_path: Path) -> None:
    data = load(tmp_path, *with_division())
    assert [held_out.tolist() for held_out in data.validation_splits] == [[2, 3]]
    assert data.notes == ()


@pytest.mark.parametrize("train", [slice(None, None, 2), slice(3)], ids=["shares classes", "leaves one"])
def test_a_division_of_no_use_is_ignored(train: slice, tmp_path: Path) -> None:
    features, splits = with_division()
    splits["train_loc"] = splits["trainval_loc"][train]
    splits["val_loc"] = np.setdiff1d(splits["trainval_loc"], splits["train_loc"])
    data = load(tmp_path, features, splits)
    assert data.validation_splits == ()
    assert any("derived by seed" in note for note in data.notes)


def test_a_leaking_division_is_ignored_with_its_count_or_refused(tmp_path: Path) -> None:
    data = load(tmp_path, *with_division(leak=3))
    assert data.validation_splits == ()
    assert any("contain 3 of the 4 test_seen and 0 of the 8 test_unseen images" in note for note in data.notes)
    assert any("derived by seed" in note for note in data.notes)
    with pytest.raises(ZSLError, match=r"splits\.mat: train_loc and val_loc contain 3 of the 4 test_seen"):
        load(tmp_path, *with_division(leak=3), strict_splits=True)
    assert len(load(tmp_path, *with_division(), strict_splits=True).validation_splits) == 1


def test_a_division_outside_trainval_is_ignored(tmp_path: Path) -> None:
    features, splits = with_division()
    splits["trainval_loc"] = splits["trainval_loc"][1:]
    data = load(tmp_path, features, splits)
    assert data.validation_splits == ()
    assert any("outside trainval_loc" in note for note in data.notes)


def test_published_class_lists_are_named_or_found_beside_the_splits(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("9.bird\n6.bird\n\n", encoding="utf-8")
    data = load(tmp_path, *with_division(leak=1), validation_classes=["one.txt"])
    assert [held_out.tolist() for held_out in data.validation_splits] == [[0, 3]]
    for position, name in ((2, "8.bird"), (1, "7.bird")):
        (tmp_path / f"valclasses{position}.txt").write_text(f"{name}\r\n", encoding="utf-8")
    data = load(tmp_path, *with_division())
    assert [held_out.tolist() for held_out in data.validation_splits] == [[2], [1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("9.bird\n8.brd\n", r"one\.txt: unknown class '8\.brd': did you mean '8\.bird'\?"),
        ("5.bird\n", r"one\.txt: '5\.bird' is no seen class"),
        ("9.bird\n9.bird\n", r"one\.txt: class '9\.bird' appears twice"),
        ("9.bird\n8.bird\n7.bird\n6.bird\n", r"one\.txt: names 4 of 4 seen classes; leave at least two"),
        ("9.bird\n8.bird\n7.bird\n", r"one\.txt: names 3 of 4 seen classes; leave at least two"),
        ("\n", r"one\.txt: the list is empty"),
        ("\udcff", r"one\.txt: not text in UTF-8"),
    ],
)
def test_a_wrong_class_list_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ZSLError, match=message):
        load(tmp_path, *contents(), validation_classes=["one.txt"])


def test_other_unseen_classes_make_another_split(tmp_path: Path) -> None:
    (tmp_path / "unseen.txt").write_text("9.bird\n4.bird\n", encoding="utf-8")
    (tmp_path / "valclasses1.txt").write_text("9.bird\n", encoding="utf-8")  # belongs to the file's own split
    data = load(tmp_path, *with_division(leak=1), unseen_classes="unseen.txt", test_share=0.5, split_seed=3)
    assert data.unseen.tolist() == [0, 5]
    assert data.seen.tolist() == [1, 2, 3, 4]
    assert np.bincount(data.labels[data.test_seen], minlength=6).tolist() == [0, 2, 2, 2, 2, 0]
    assert len(data.trainval) + len(data.test_seen) + len(data.test_unseen) == 24
    assert (data.split_name, data.validation_splits) == ("own split", ())
    (tmp_path / "unseen.txt").write_text("".join(f"{9 - k}.bird\n" for k in range(6)), encoding="utf-8")
    with pytest.raises(ZSLError, match=r"unseen\.txt: names every class"):
        load(tmp_path, *contents(), unseen_classes="unseen.txt")


def test_another_list_of_unseen_classes_leaves_the_split_of_the_others(tmp_path: Path) -> None:
    held: list[dict[int, set[int]]] = []
    for unseen in ("9.bird\n", "9.bird\n8.bird\n"):
        (tmp_path / "unseen.txt").write_text(unseen, encoding="utf-8")
        data = load(tmp_path, *contents(), unseen_classes="unseen.txt", test_share=0.5)
        rows = data.test_seen
        held.append({int(k): set(rows[data.labels[rows] == k].tolist()) for k in np.unique(data.labels[rows])})
    assert len(held[1]) == len(held[0]) - 1
    assert held[1].items() <= held[0].items()


def test_image_attributes_in_each_format_agree(tmp_path: Path) -> None:
    values = np.random.default_rng(1).uniform(size=(24, ATTRIBUTES)).astype(np.float32)
    np.save(tmp_path / "seen.npy", values)
    savemat(tmp_path / "seen.mat", {"image_attributes": values.T})
    lines = ["image,a,b,c", *(f"{i},{','.join(map(repr, row.tolist()))}" for i, row in enumerate(values))]
    (tmp_path / "seen.csv").write_text("\n".join(lines), encoding="utf-8")
    for suffix in ("npy", "mat", "csv"):
        data = load(tmp_path, *contents(), image_attributes=f"seen.{suffix}")
        np.testing.assert_array_equal(data.image_attributes, values)


def test_wrong_image_attributes_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "short.npy", np.ones((24, 2)))
    np.save(tmp_path / "pickled.npy", np.array([{}, []], dtype=object))
    (tmp_path / "other.txt").write_text("1", encoding="utf-8")
    np.savez(tmp_path / "zipped.npz", np.ones((24, 3)))
    (tmp_path / "zipped.npz").rename(tmp_path / "zipped.npy")
    header = (
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2**62, 3)}".replace("2**62", str(2**50)).ljust(117) + "\n"
    )
    (tmp_path / "absurd.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    for name, message in {
        "short.npy": r"image attributes of shape \(24, 2\); expected \(24, 3\)",
        "pickled.npy": r"pickled\.npy: cannot be read as \.npy",
        "zipped.npy": r"zipped\.npy: an archive of arrays",
        "absurd.npy": r"absurd\.npy: cannot be read as \.npy",
        "absent.npy": r"absent\.npy: cannot be read as \.npy",
        "other.txt": r"other\.txt: image attributes are read from",
    }.items():
        with pytest.raises(ZSLError, match=message):
            load(tmp_path, *contents(), image_attributes=name)


def test_settings_are_checked_by_name() -> None:
    pair = {"features": "a.mat", "splits": "b.mat"}
    assert source({"kind": "xlsa17", **pair}) == XLSA17Source(**pair)
    for raw, message in (
        ({"kind": "xlsa71"}, r"unknown kind of data set 'xlsa71': did you mean 'xlsa17'\?"),
        ({}, r"source: a data set needs a 'kind'"),
        ({"kind": "xlsa17", **pair, "signature": "att"}, r"unknown parameter 'signature'; did you mean 'signatures'\?"),
        ({"kind": "xlsa17", "splits": "b.mat"}, r"source: 'features' is missing"),
        (
            {"kind": "xlsa17", **pair, "signatures": "words"},
            r"signatures is 'words': Input should be 'att' or 'original_att'",
        ),
    ):
        with pytest.raises(ZSLError, match=message):
            source(raw)


@pytest.mark.realdata
@pytest.mark.parametrize(("file", "dimensions"), [("resnet_fc1000", 1000), ("vgg_fc7", 4096)])
def test_the_real_cub(real_data: Path, file: str, dimensions: int) -> None:
    lists = [f"splits/class_lists/CUB_valclasses{k}.txt" for k in (1, 2, 3)]
    settings = XLSA17Source(features=f"cub/{file}.mat", splits="cub/att_splits.mat", validation_classes=lists)
    data = settings.load("cub", real_data)
    assert data.features is not None
    assert data.features.shape == (11788, dimensions)
    assert (len(data.trainval), len(data.test_seen), len(data.test_unseen)) == (7057, 1764, 2967)
    assert (len(data.seen), len(data.unseen), data.signatures.shape) == (150, 50, (200, 312))
    assert [len(held_out) for held_out in data.validation_splits] == [50, 50, 50]
    test_classes = (real_data / "splits/class_lists/CUB_testclasses.txt").read_text(encoding="utf-8").split()
    assert {data.classes[k] for k in data.unseen} == set(test_classes)
    assert data.classes[data.labels[0]] == "001.Black_footed_Albatross"


SIZES = {  # trainval, test_seen, test_unseen, classes, attributes
    "AWA1/att_splits.mat": (19832, 4958, 5685, 50, 85),
    "AWA2/att_splits.mat": (23527, 5882, 7913, 50, 85),
    "AWA2/att_splits_v1_leaky.mat": (23527, 5882, 7913, 50, 85),
    "AWA2/att_splits_v2.mat": (23527, 5882, 7913, 50, 85),
    "SUN/att_splits.mat": (10320, 2580, 1440, 717, 102),
    "APY/att_splits.mat": (5932, 1483, 7924, 32, 64),
    "FLO/att_splits.mat": (5631, 1403, 1155, 102, 1024),
}
LEAKS = {"AWA2/att_splits_v1_leaky.mat": 5882, "FLO/att_splits.mat": 1403}


@pytest.mark.realdata
@pytest.mark.parametrize("file", SIZES)
def test_the_real_split_files(real_data: Path, file: str) -> None:
    path = real_data / "splits" / file
    splits = read_splits(path)
    sizes = len(splits.trainval), len(splits.test_seen), len(splits.test_unseen)
    assert (*sizes, *splits.signatures.shape) == SIZES[file]
    assert splits.trainval.min() >= 0
    leaks = [note for note in splits.notes if "train_loc and val_loc contain" in note]
    if file in LEAKS:
        assert f"contain {LEAKS[file]} of the {LEAKS[file]} test_seen and 0 of the" in leaks[0]
        assert splits.train is None
        with pytest.raises(ZSLError, match=str(LEAKS[file])):
            read_splits(path, strict=True)
    else:
        assert not leaks
        read_splits(path, strict=True)
    if file in ("AWA1/att_splits.mat", "AWA2/att_splits_v2.mat"):
        assert splits.train is not None
        assert splits.val is not None
        np.testing.assert_array_equal(np.sort(np.concatenate([splits.train, splits.val])), np.sort(splits.trainval))
    assert any("no 'allclasses_names'" in note for note in splits.notes) == (file == "FLO/att_splits.mat")


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["AWA1", "AWA2", "SUN", "APY"])
def test_the_real_splits_load_with_made_up_features(real_data: Path, tmp_path: Path, name: str) -> None:
    """Labels are not with these files: any that respect the published class lists must load."""
    file = real_data / "splits" / name / "att_splits.mat"
    raw = loadmat(file)
    names = [str(cell[0]) for cell in raw["allclasses_names"].ravel()]
    lists = real_data / "splits/class_lists"
    unseen = [names.index(text) for text in (lists / f"{name}_testclasses.txt").read_text(encoding="utf-8").split()]
    seen = np.setdiff1d(np.arange(len(names)), unseen)
    count = max(int(raw[f"{split}_loc"].max()) for split in ("trainval", "test_seen", "test_unseen"))
    labels = np.resize(seen, count)
    for split, classes in (("trainval", seen), ("test_seen", seen), ("test_unseen", unseen)):
        rows = raw[f"{split}_loc"].ravel().astype(int) - 1
        labels[rows] = np.resize(classes, len(rows))
    savemat(tmp_path / "res101.mat", {"features": np.zeros((2, count)), "labels": labels + 1})
    published = sorted(lists.glob(f"{name}_valclasses*.txt"))
    settings = XLSA17Source(features=tmp_path / "res101.mat", splits=file, validation_classes=published)
    data = settings.load(name, tmp_path)
    assert set(data.unseen) == set(unseen)
    assert len(data.validation_splits) == 3
    for held_out, path in zip(data.validation_splits, published, strict=True):
        assert {data.classes[k] for k in held_out} == set(path.read_text(encoding="utf-8").split())
