"""Artifacts know what they hold and what they were made of: one flipped byte, and another file's data, are refused."""

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.conftest import make_dataset
from zslcore.datasets import dataset as datasets
from zslcore.errors import BadFile, StaleFile
from zslcore.io import artifacts
from zslcore.project.remedies import remedy

ROOT = Path(__file__).resolve().parents[2]
FORMAT = artifacts.FEATURES
VALUES = np.arange(12, dtype=np.float32).reshape(4, 3)
NAMES = ("kiwi", "tūī", "")
EVERYTHING = np.arange(4)


def write(path: Path, values: np.ndarray = VALUES, inputs: dict[str, Path] | None = None) -> Path:
    with artifacts.create(path, FORMAT, {"lr": 0.1}, inputs) as file:
        file["features"], file["seed=0/blob"] = values, np.frombuffer(b"picture", np.uint8)
        file["seed=0"].attrs["warnings"] = "none"
        artifacts.put_strings(file, "names", NAMES)
    return path


def place(path: Path, name: str) -> int:
    """Where the bytes of an array begin in its file."""
    with h5py.File(path) as file:
        return int(file[name].id.get_offset())


def flip(path: Path, offset: int, bits: int = 1) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= bits
    path.write_bytes(content)


def everything(path: Path) -> tuple[object, ...]:
    with artifacts.open_artifact(path, FORMAT) as file:
        warning = artifacts.attribute(file["seed=0"], "warnings")
        values, blob = artifacts.array(file, "features"), artifacts.array(file, "seed=0/blob")
        about = {name: artifacts.attribute(file, name) for name in ("params", "inputs", "format", "created_by")}
        return values.tobytes(), blob.tobytes(), artifacts.strings(file, "names"), warning, about


def test_one_flipped_byte_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    """Anywhere but in HDF5's own list of texts, in which some flips keep HDF5 itself busy without end."""
    path = write(tmp_path / "a.h5")
    whole, before = path.read_bytes(), everything(path)
    heaps = [offset for offset in range(0, len(whole), 8) if whole[offset : offset + 4] == b"GCOL"]
    texts = [offset for heap in heaps for offset in range(heap, heap + 4096)]
    refused = 0
    for offset in np.random.default_rng(0).permutation(np.setdiff1d(np.arange(len(whole)), texts))[:300]:
        flip(path, offset, 1 << int(offset) % 8)
        try:
            after = everything(path)
        except BadFile:
            refused += 1
            continue
        finally:
            path.write_bytes(whole)
        assert after == before, offset
    assert refused > 30
    for text in (b'"lr": 0.1', b"none", b"extract", b"kiwi"):
        flip(path, whole.index(text))
        with pytest.raises(BadFile, match="damaged"):
            everything(path)
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["features", "seed=0/blob", "names"])
def test_a_flipped_byte_of_an_array_names_it(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5")
    offset = place(path, name)
    if name == "names":  # the text itself lies elsewhere than what points to it
        offset = path.read_bytes().index("tūī".encode())
    flip(path, offset)
    with pytest.raises(BadFile, match=rf"'/?{name}' is damaged.*by the step `extract`"):
        everything(path)
    with artifacts.open_artifact(path, FORMAT) as file, pytest.raises(BadFile, match=rf"'/?{name}' is damaged"):
        artifacts.verify(file, name)


def test_a_damaged_row_is_named_and_hurts_no_reader_of_others(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5")
    flip(path, place(path, "features") + 2 * VALUES[0].nbytes)
    np.testing.assert_array_equal(datasets.load_features(path, np.array([3, 0])), VALUES[[3, 0]])
    for rows in ([2], [0, 2, 1], [2, 2]):
        with pytest.raises(BadFile, match=r"'/features' is damaged in row 2"):
            datasets.load_features(path, np.array(rows))


def test_a_flipped_byte_of_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    artifacts.save_tensors(path, artifacts.MODEL, {"seed=0/w": VALUES, "seed=0/b": VALUES[0]}, {"lr": 0.1})
    whole = path.read_bytes()
    for offset in range(len(whole)):
        flip(path, offset)
        with pytest.raises(BadFile):
            artifacts.read_tensors(path, artifacts.MODEL)
        path.write_bytes(whole)
    flip(path, len(whole) - 1)
    with pytest.raises(BadFile, match=r"'seed=0/\w' is damaged.*by the step `classify`"):
        artifacts.read_tensors(path, artifacts.MODEL)


def test_more_rows_than_an_attribute_once_could_hold_are_checked_and_give_equal_bytes(tmp_path: Path) -> None:
    many = np.arange(2 * 10_000, dtype=np.int64).reshape(-1, 2)
    first, second = (write(tmp_path / folder / "a.h5", many) for folder in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    flip(first, place(first, "features") + 9_999 * 16)
    with pytest.raises(BadFile, match="damaged in row 9999"):
        everything(first)


# What an artifact was made of.


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data set with features that are its own."""
    return make_home(tmp_path / "artifacts/x1", per_class=6)


def make_home(folder: Path, **options: int) -> Path:
    data = make_dataset(seen=4, unseen=2, **options)
    datasets.save(folder / "dataset.h5", data, {"seed": options.get("seed", 0)})
    with artifacts.create(folder / "features.h5", FORMAT, {}, {"dataset": folder / "dataset.h5"}) as file:
        file["features"] = data.features
    return folder


def readers(folder: Path) -> list:
    data, features = folder / "dataset.h5", folder / "features.h5"
    return [
        lambda: datasets.load(data, features=features),
        lambda: datasets.load_seen(data, features),
        lambda: datasets.load_features(features, EVERYTHING),
        lambda: datasets.skipped_rows(features),
        lambda: artifacts.params(features, FORMAT),
    ]


def test_features_of_another_data_set_are_refused_with_the_command_that_mends_them(home: Path, tmp_path: Path) -> None:
    for read in readers(home):
        read()
    other = make_home(tmp_path / "artifacts/x2", per_class=6, seed=1)  # as many images
    shutil.copy(other / "features.h5", home)
    for read in readers(home):
        with pytest.raises(StaleFile, match=r"x1/features\.h5: made of another dataset.*x1/dataset\.h5") as caught:
            read()
        assert remedy(caught.value) == "run `dvc repro extract@x1` to rebuild it and what it is made of"
    with pytest.raises(StaleFile, match=r"another dataset .* than \S*x1/dataset\.h5"):
        datasets.load(home / "dataset.h5", features=other / "features.h5")  # whatever lies beside them


def test_features_that_name_no_data_set_must_have_a_row_an_image(home: Path) -> None:
    with artifacts.create(home / "features.h5", FORMAT, {}) as file:
        file["features"] = np.zeros((42, 3), np.float32)
    for read in readers(home)[:2]:
        with pytest.raises(StaleFile, match=r"features of 42 images, but \S*dataset\.h5 has 36"):
            read()


def test_an_artifact_of_an_older_run_is_refused(home: Path) -> None:
    weights = home / "trained.safetensors"
    for step, value in enumerate((VALUES, VALUES + 1)):
        artifacts.save_tensors(weights, artifacts.TRAINED, {"w": value}, {}, {"dataset": home / "dataset.h5"})
        if not step:
            write(home / "scores.h5", inputs={"dataset": home / "dataset.h5", "trained": weights})
            everything(home / "scores.h5")
    with pytest.raises(StaleFile, match=r"scores\.h5: made of another trained .*trained\.safetensors"):
        everything(home / "scores.h5")
    make_home(home, per_class=6, seed=1)
    with pytest.raises(StaleFile, match=r"trained\.safetensors: made of another dataset"):
        artifacts.read_tensors(weights, artifacts.TRAINED)


def test_of_two_files_with_one_name_either_may_be_the_input(home: Path) -> None:
    for name in ("finetuned.h5", "finetuned.safetensors"):
        if name.endswith("h5"):
            write(home / name)
        else:
            artifacts.save_tensors(home / name, artifacts.FINETUNED, {"w": VALUES}, {})
        everything(write(home / "scores.h5", inputs={"finetuned": home / name}))
    (home / "finetuned.safetensors").unlink()
    with pytest.raises(StaleFile, match="another finetuned"):
        everything(home / "scores.h5")


def test_to_ask_reads_no_data(home: Path) -> None:
    flip(home / "dataset.h5", place(home / "dataset.h5", "image_attributes"))
    datasets.load_features(home / "features.h5", EVERYTHING)
    with pytest.raises(BadFile, match="'/image_attributes' is damaged in row 0"):
        datasets.load(home / "dataset.h5")


def test_a_forged_identity_is_noticed(home: Path) -> None:
    with h5py.File(home / "features.h5", "r+") as file:
        file.attrs["inputs"] = json.dumps({"dataset": "0" * 64})
    with pytest.raises(BadFile, match="its attributes or digests are not those that were written"):
        datasets.load_features(home / "features.h5", EVERYTHING)


def test_a_file_of_a_newer_program_asks_for_a_newer_program(tmp_path: Path) -> None:
    newer = artifacts.Format(FORMAT.name, FORMAT.version + 97, FORMAT.stage)
    with artifacts.create(tmp_path / "a.h5", newer, {}):
        pass
    artifacts.save_tensors(tmp_path / "w.safetensors", newer, {}, {})
    for name, look in (("a.h5", artifacts.params), ("w.safetensors", artifacts.read_tensors)):
        with pytest.raises(BadFile, match=f"version {newer.version}, this program reads version") as caught:
            look(tmp_path / name, FORMAT)
        assert remedy(caught.value) == "a newer program wrote it: update this one"


# File systems without locks.


def test_a_file_system_without_locks_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = write(tmp_path / "a.h5"), h5py.File
    before = everything(path)

    for number in (errno.EAGAIN, errno.EROFS, errno.ENOLCK, errno.EOPNOTSUPP):

        def locked(name: Path, mode: str, number: int = number, **options: object) -> h5py.File:
            if options.get("locking") is not False:
                raise OSError(number, f"unable to lock file, errno = {number}")
            return real(name, mode, **options)

        monkeypatch.setattr(h5py, "File", locked)
        assert everything(path) == before


def test_a_file_that_another_program_has_locked_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5")
    with path.open("r+b") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            h5py.File(path, "r", locking=True)
        with artifacts.open_artifact(path, FORMAT) as file:  # opened twice at once, as an input of what is written
            assert artifacts.identity(path) == file.attrs["content"]
        everything(path)


def test_a_read_only_mount_is_read(tmp_path: Path) -> None:
    write(tmp_path / "folder/a.h5")
    mount = f"mount --bind {tmp_path}/folder {tmp_path}/folder && mount -o remount,ro,bind {tmp_path}/folder"
    program = "import sys; from zslcore.io import artifacts as a; print(a.params(a.Path(sys.argv[1]), a.FEATURES))"
    command = (
        f"{mount} || exit 77; ! touch {tmp_path}/folder/b && {sys.executable} -c '{program}' {tmp_path}/folder/a.h5"
    )
    for options in (["-m"], ["-rm"]):
        done = subprocess.run(
            ["unshare", *options, "sh", "-c", command],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode == 0:
            break
    else:
        pytest.skip(f"no mounts here: {done.stderr}")
    assert done.stdout.strip() == "{'lr': 0.1}"
