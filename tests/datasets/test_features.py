"""`kind: features`: the same data set out of every format, and every way in which files can fail to fit."""

import pickle
import resource
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyarrow import parquet
from safetensors.numpy import save_file
from scipy.io import savemat

from zslcore.datasets.dataset import Dataset
from zslcore.datasets.features import FeaturesSource, read_features, read_list
from zslcore.errors import ZSLError

CLASSES, PER_CLASS, DIMENSIONS = 6, 5, 4
NAMES = [f"00{k}.Grey_bird_{'abcdef'[k]}" for k in range(CLASSES)]
LABELS = np.repeat(np.arange(CLASSES), PER_CLASS)
VALUES = np.random.default_rng(0).normal(size=(CLASSES * PER_CLASS, DIMENSIONS)).astype(np.float16)
"""Every type from float16 up holds them exactly."""
Writer = Callable[[Path, NDArray[Any], NDArray[Any]], None]


def hdf5(path: Path, features: NDArray[Any], labels: NDArray[Any]) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("train/features", data=features, chunks=(7, 2), compression="gzip")
        file["train/labels"] = labels if labels.dtype.kind == "i" else labels.astype(object)


def columns(path: Path, features: NDArray[Any], labels: NDArray[Any]) -> None:
    table = {f"f{k}": features[:, k].astype(np.float64) for k in range(features.shape[1])}
    parquet.write_table(pa.table({"label": labels.tolist(), **table}), path, row_group_size=8)


def lists(path: Path, features: NDArray[Any], labels: NDArray[Any]) -> None:
    parquet.write_table(pa.table({"features": features.tolist(), "label": labels.tolist()}), path, row_group_size=8)


def tensors(path: Path, features: NDArray[Any], labels: NDArray[Any]) -> None:
    torch.save({"features": torch.tensor(features), "labels": labels.tolist()}, path)


WRITERS: dict[str, Writer] = {
    "npz": lambda path, features, labels: np.savez(path.open("wb"), features=features, labels=labels),
    "compressed npz": lambda path, features, labels: np.savez_compressed(path.open("wb"), x=features, y=labels),
    "by column": lambda path, features, labels: np.savez(
        path.open("wb"), features=np.asfortranarray(features), labels=labels
    ),
    "hdf5": hdf5,
    "parquet columns": columns,
    "parquet lists": lists,
    "pt": tensors,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with signatures, a list of the unseen classes, and names of the images' classes."""
    rows = [f"{name},{k},{k * k / 7}" for k, name in enumerate(NAMES)]
    (tmp_path / "s.csv").write_text("\n".join(["class,a,b", *rows]), encoding="utf-8")
    (tmp_path / "u.txt").write_text("\n".join(NAMES[4:]), encoding="utf-8")
    (tmp_path / "names.txt").write_text("\n".join(NAMES[k] for k in LABELS), encoding="utf-8")
    np.save(tmp_path / "f.npy", VALUES.astype(np.float32))
    np.save(tmp_path / "l.npy", LABELS)
    return tmp_path


def load(folder: Path, features: str | tuple[str, ...] = "f.npy", labels: Any = "l.npy", **settings: Any) -> Dataset:
    settings = {"signatures": "s.csv", "unseen": "u.txt"} | settings
    files = (features,) if isinstance(features, str) else features
    of_labels = (labels,) if isinstance(labels, str) else labels
    return FeaturesSource(features=files, labels=of_labels, **settings).load("mine", folder)


def same(data: Dataset, other: Dataset) -> None:
    assert data.classes == other.classes
    for name in ("features", "labels", "signatures", "trainval", "test_seen", "test_unseen"):
        np.testing.assert_array_equal(getattr(data, name), getattr(other, name), name)


def test_rows_labels_and_signatures_belong_together(folder: Path) -> None:
    data = load(folder)
    assert data.classes == tuple(NAMES)
    np.testing.assert_array_equal(data.labels, LABELS)
    np.testing.assert_array_equal(data.features, VALUES)
    np.testing.assert_allclose(data.signatures[:, 1], np.arange(CLASSES) ** 2 / 7, rtol=1e-6)
    np.testing.assert_array_equal(data.test_unseen, np.flatnonzero(LABELS >= 4))
    np.testing.assert_array_equal(np.bincount(data.labels[data.test_seen]), [1, 1, 1, 1])
    assert any("counted from 0" in note for note in data.notes)


@pytest.mark.parametrize("named", [False, True], ids=["numbers", "names"])
def test_images_may_come_in_any_order(folder: Path, named: bool) -> None:
    order = np.random.default_rng(1).permutation(len(LABELS))
    labels = np.array(NAMES)[LABELS] if named else LABELS
    np.savez(folder / "any.npz", features=VALUES[order], labels=labels[order])
    data = load(folder, "any.npz", ())
    np.testing.assert_array_equal(data.labels, LABELS[order])
    np.testing.assert_array_equal(data.features, VALUES[order])


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("named", [False, True], ids=["numbers", "names"])
def test_every_format_gives_the_same_data_set(folder: Path, writer: Writer, dtype: Any, named: bool) -> None:
    writer(folder / "all", VALUES.astype(dtype), np.array(NAMES)[LABELS] if named else LABELS)
    same(load(folder, "all", ()), load(folder))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_files_of_one_array_need_no_name(folder: Path, dtype: Any) -> None:
    np.save(folder / "one.npy", VALUES.astype(dtype))
    save_file({"any": VALUES.astype(dtype)}, folder / "one.safetensors")
    torch.save(torch.tensor(VALUES.astype(dtype)), folder / "one.pt")
    for name in ("one.npy", "one.safetensors", "one.pt"):
        same(load(folder, name), load(folder))


def test_labels_may_be_text_or_a_column_of_a_table(folder: Path) -> None:
    (folder / "header.txt").write_text("label\n" + (folder / "names.txt").read_text())
    rows = "".join(f"{row}.jpg;{NAMES[k]}\n" for row, k in enumerate(LABELS))
    (folder / "table.csv").write_text("image;Class\n" + rows)
    np.save(folder / "from_one.npy", LABELS[:, None] + 1.0)
    for labels in ("names.txt", "header.txt", "table.csv", "from_one.npy"):
        same(load(folder, labels=labels), load(folder))


def test_many_files_are_read_in_the_order_given(folder: Path) -> None:
    np.save(folder / "a.npy", VALUES[:13])
    save_file({"features": VALUES[13:20].astype(np.float64)}, folder / "b.safetensors")
    hdf5(folder / "c.h5", VALUES[20:], LABELS[20:])
    np.save(folder / "l1.npy", LABELS[:20])
    same(load(folder, ("a.npy", "b.safetensors", "c.h5"), ("l1.npy", "c.h5")), load(folder))


def test_bfloat16_tensors_are_widened(folder: Path) -> None:
    torch.save(torch.tensor(VALUES).bfloat16(), folder / "f.pt")
    np.testing.assert_array_equal(read_features([folder / "f.pt"]), torch.tensor(VALUES).bfloat16().float().numpy())


def test_signatures_may_be_an_array(folder: Path) -> None:
    expected = load(folder).signatures
    np.save(folder / "s.npy", expected)
    (folder / "rows.txt").write_text("4\n5\n")
    data = load(folder, signatures="s.npy", unseen="rows.txt")
    assert data.classes == tuple("012345")
    np.testing.assert_array_equal(data.signatures, expected)
    np.savez(folder / "s.npz", signatures=expected, classes=np.array(NAMES))
    same(load(folder, labels="names.txt", signatures="s.npz"), load(folder))


def test_splits_may_be_given_by_image(folder: Path) -> None:
    roles = np.array(["trainval", "trainval", "test_seen", "ignored", "trainval"] * 4 + ["test_unseen"] * 10)
    (folder / "splits.txt").write_text("\n".join(roles))
    data = load(folder, unseen=None, splits=("splits.txt",))
    for split in ("trainval", "test_seen", "test_unseen"):
        np.testing.assert_array_equal(getattr(data, split), np.flatnonzero(roles == split))


def test_labels_and_splits_may_stand_in_workbooks(folder: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    roles = ["trainval", "trainval", "test_seen", "ignored", "trainval"] * 4 + ["test_unseen"] * 10
    for name, rows in (
        ("l.xlsx", [("image", "label"), *((row, NAMES[k]) for row, k in enumerate(LABELS))]),
        ("s.xlsx", [("split",), *((role,) for role in roles)]),
    ):
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        book.save(folder / name)
    data = load(folder, labels="l.xlsx", unseen=None, splits=("s.xlsx",))
    assert data.labels.tolist() == LABELS.tolist()
    np.testing.assert_array_equal(data.test_seen, np.flatnonzero(np.array(roles) == "test_seen"))


def test_classes_without_an_image_are_left_out_and_said(folder: Path) -> None:
    with (folder / "s.csv").open("a") as file:
        file.write("\nghost,1,2")
    data = load(folder, labels="names.txt")
    assert data.classes == tuple(NAMES)
    assert any("1 classes have no image; left out: 'ghost'" in note for note in data.notes)
    with (folder / "u.txt").open("a") as file:
        file.write("\nghost\n")
    data = load(folder, labels="names.txt", unseen="u.txt")
    assert [data.classes[k] for k in data.imageless] == ["ghost"], "as unseen it competes"


def test_near_names_are_matched_only_when_asked_for_and_said(folder: Path) -> None:
    plain = [name.partition(".")[2].replace("_", " ").lower() for name in NAMES]
    (folder / "near.txt").write_text("\n".join(plain[k] for k in LABELS))
    (folder / "u.txt").write_text(f"{plain[4]}\n{NAMES[5]}\n")
    with pytest.raises(ZSLError, match=r"no signature for 'grey bird a'.*there is '000.Grey_bird_a'.*--match-names"):
        load(folder, labels="near.txt")
    data = load(folder, labels="near.txt", match_names=True)
    (folder / "u.txt").write_text("\n".join(NAMES[4:]))
    same(data, load(folder))
    said = "\n".join(data.notes)
    assert all(f"'{near}' is class '{name}'" in said for near, name in zip(plain, NAMES, strict=True))


def test_a_name_that_may_be_two_classes_is_refused(folder: Path) -> None:
    with (folder / "s.csv").open("a") as file:
        file.write("\nGREY BIRD A,1,2")
    (folder / "near.txt").write_text("\n".join([NAMES[k] for k in LABELS[:-1]] + ["grey-bird-a"]))
    with pytest.raises(ZSLError, match=r"'grey-bird-a' may be '000.Grey_bird_a', 'GREY BIRD A'; write the one"):
        load(folder, labels="near.txt", match_names=True)


def broken(name: str, value: object) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        if isinstance(value, np.ndarray):
            np.save(folder / name, value, allow_pickle=True)
        else:
            (folder / name).write_bytes(value if isinstance(value, bytes) else str(value).encode())

    return write


def two(folder: Path) -> None:
    np.savez((folder / "f.npy").open("wb"), a=VALUES, b=VALUES)


def bomb(folder: Path) -> None:
    np.savez_compressed((folder / "f.npy").open("wb"), features=np.zeros((2**15, 2**13), np.float32))


def cut_short(folder: Path) -> None:
    (folder / "f.npy").write_bytes((folder / "f.npy").read_bytes()[:-9])


def damaged_member(folder: Path) -> None:
    np.savez((folder / "f.npy").open("wb"), features=VALUES)
    content = bytearray((folder / "f.npy").read_bytes())
    content[200] ^= 255
    (folder / "f.npy").write_bytes(content)


def elsewhere(folder: Path) -> None:
    with h5py.File(folder / "f.npy", "w") as file:
        file["features"] = h5py.ExternalLink("/etc/hostname", "features")


def old_matlab(folder: Path) -> None:
    savemat((folder / "f.npy").open("wb"), {"features": VALUES.astype(np.float64)})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (broken("f.npy", VALUES.T.astype(np.float32)), "features of 4 images, but 30 labels in .*transposed"),
        (broken("f.npy", VALUES[:-1]), "features of 29 images, but 30 labels"),
        (broken("f.npy", VALUES.astype(object)), "f.npy: cannot be read as .npy .*object.*numpy.save"),
        (broken("f.npy", np.array(list("abc"))), r"no numbers \(images, dimensions\), only '' \(3,\)"),
        (broken("f.npy", np.full((30, 4), np.nan, np.float32)), r"features hold NaN or infinity in 30 rows: row 1"),
        (broken("f.npy", np.full((30, 4), 1e300)), "features hold NaN or infinity in 30 rows"),
        (broken("f.npy", b""), "none of the formats that arrays are read from; save it as .npy"),
        (broken("f.npy", pickle.dumps(print)), "not tensors alone, or damaged"),
        (broken("f.npy", b"PAR1" + b"\0" * 99), "f.npy: damaged"),
        (broken("f.npy", b"PK\x03\x04" + b"\0" * 99), "f.npy: damaged"),
        (old_matlab, "a MATLAB file; give it to `zsl import xlsa17`"),
        (two, r"'a' \(30, 4\), 'b' \(30, 4\); call the one that is meant 'features'"),
        (bomb, "'features.npy' unpacks to 1,073,741,952 bytes"),
        (cut_short, "f.npy: "),
        (damaged_member, "f.npy: damaged"),
        (elsewhere, "f.npy: 'features' is a link"),
        (broken("l.npy", LABELS - 1), "labels from -1 to 4, but 6 classes in"),
        (broken("l.npy", LABELS + 2), "labels from 2 to 7, but 6 classes in"),
        (broken("l.npy", np.clip(LABELS, 1, 4)), "labels from 1 to 4 of 6 classes may count from 0 or from 1"),
        (broken("l.npy", LABELS + 0.5), "should be whole numbers or names"),
        (broken("l.npy", "kiwi\n" * 30), "no signature for 'kiwi'"),
        (broken("u.txt", "moa\n"), "unknown class 'moa'"),
        (broken("u.txt", "\n".join(NAMES)), "no seen class is left"),
        (lambda folder: (folder / "f.npy").unlink(), "f.npy: cannot be read .*check the path"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(folder: Path, change: Callable[[Path], None], problem: str) -> None:
    change(folder)
    with pytest.raises(ZSLError, match=problem):
        load(folder)


def test_splits_and_unseen_exclude_each_other(folder: Path) -> None:
    for both in ({"unseen": None}, {"splits": ("names.txt",)}):
        with pytest.raises(ZSLError, match="one of the two"):
            load(folder, **both)
    with pytest.raises(ZSLError, match=r"image 1: unknown split '000.Grey_bird_a'"):
        load(folder, unseen=None, splits=("names.txt",))


@pytest.mark.parametrize("kind", ["npy", "npz", "hdf5", "pt", "safetensors"])
def test_float16_takes_the_memory_of_what_is_made_of_it(tmp_path: Path, kind: str, within_limits: Any) -> None:
    features = np.zeros((2**13, 2**11), np.float16)
    path = tmp_path / "f"
    if kind == "npy":
        np.save(path.open("wb"), features)
    elif kind == "npz":
        np.savez(path.open("wb"), features=features)
    elif kind == "safetensors":
        save_file({"features": features}, path)
    elif kind == "pt":
        torch.save(torch.tensor(features), path)
    else:
        with h5py.File(path, "w") as file:
            file["features"] = features
    decoded = 4 * features.size
    with within_limits(decoded // 2, slack=2 * decoded // 2):
        assert read_features([path]).nbytes == decoded


def test_one_npy_of_float32_stays_on_disk(tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", np.zeros((2**13, 2**11), np.float32))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert isinstance(read_features([tmp_path / "f.npy"]), np.memmap)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**14


@pytest.mark.parametrize("kind", [*WRITERS, "npy", "safetensors"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_bytes_are_read_or_refused(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    path = tmp_path / "f"
    if not path.exists():
        if kind == "npy":
            np.save(path.open("wb"), VALUES)
        elif kind == "safetensors":
            save_file({"features": VALUES}, path)
        else:
            WRITERS[kind](path, VALUES, LABELS)
        shutil.copyfile(path, tmp_path / "whole")
    content = bytearray((tmp_path / "whole").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) - 5]))])
    with suppress(ZSLError):
        assert read_features([path]).dtype == np.float32
    with suppress(ZSLError):
        read_list(path, ("labels",), "labels")


def test_features_too_large_for_memory_are_imported_as_they_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZSL_MEMORY", "1e-8")
    np.save(folder / "f.npy", VALUES)
    np.save(folder / "more.npy", VALUES.astype(np.float64))
    for files, kept in ((["f.npy"], np.float16), (["f.npy", "more.npy"], np.float32)):
        found = read_features([folder / name for name in files])
        assert not isinstance(found, np.ndarray)
        read = np.asarray(found)
        assert read.dtype == kept
        np.testing.assert_array_equal(read, np.concatenate([VALUES] * len(files)))
