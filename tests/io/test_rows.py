"""Rows that need not be in memory: they are those of the array, read a block at a time, and their files' care."""

import pickle
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from zslcore.errors import ZSLError
from zslcore.io import artifacts, rows
from zslcore.io.rows import Rows, blocks, by_blocks, collect, collect_named, fits, join, map_rows, put, stored

TINY = "1e-6"
"""GiB: a thousand bytes."""


def test_what_fits_is_an_array(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, up to a part of the limit, half a GiB where ZSL_MEMORY says nothing."""
    monkeypatch.delenv("ZSL_MEMORY", raising=False)
    assert fits(2**17, 2**10)
    assert not fits(2**17 + 1, 2**10)
    assert fits(2**12, 2**10, part=rows.SCORES)
    assert not fits(2**12 + 1, 2**10, part=rows.SCORES)
    monkeypatch.setenv("ZSL_MEMORY", str(160 / 2**30))
    assert isinstance(collect([np.zeros((10, 4), np.float32)], 10), np.ndarray)
    assert isinstance(collect([np.zeros((11, 4), np.float32)], 11), Rows)


def test_a_hash_tells_rows_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the file they are of and by which they are."""
    monkeypatch.setenv("ZSL_MEMORY", TINY)
    hashes = set()
    for value in (1, 2):
        with artifacts.create(tmp_path / "features.h5", artifacts.FEATURES, {}) as file:
            file["features"] = np.full((500, 7), value, np.float32)
        whole = stored(tmp_path / "features.h5", artifacts.FEATURES, "features")
        for some in (whole, whole[:3], whole[np.array([2, 1, 0])]):
            hashes.add(some.tobytes())
            assert some.tobytes() == some[np.arange(len(some))].tobytes()
    assert len(hashes) == 6


def test_a_type_is_given_and_what_was_computed_is_there_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZSL_MEMORY", TINY)
    on_disk = collect([np.ones((500, 7), np.float32)], 500)
    assert isinstance(on_disk, Rows)
    assert np.asarray(on_disk).dtype == np.float32
    assert np.asarray(on_disk, np.float64).dtype == np.float64
    assert on_disk.once("sum", lambda: 1) == on_disk.once("sum", lambda: 2) == 1
    assert on_disk[:5].once("sum", lambda: 3) == 3, "other rows know nothing of it"


def test_blocks_of_several_arrays_go_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values, labels = np.arange(3000, dtype=np.float32).reshape(1000, 3), np.arange(1000)
    assert [len(block) for block, _ in blocks(values, labels)] == [1000], "at once, of arrays"
    monkeypatch.setenv("ZSL_MEMORY", TINY)
    monkeypatch.setattr(rows, "BLOCK", 300)
    monkeypatch.setattr(rows, "LEAST", 300)
    named = collect_named(({"x": part, "y": part[:, 0] > 600} for part in np.array_split(values, 4)), 1000)
    on_disk = named["x"]
    assert isinstance(on_disk, Rows)
    found = list(blocks(on_disk, labels))
    assert [len(block) for block, _ in found] == [300, 300, 300, 100]
    assert all((block[:, 0] == 3 * of).all() for block, of in found)
    sums, highest = by_blocks(lambda block, of: (block.sum(axis=1) + of, block.max(axis=1)), on_disk, labels)
    np.testing.assert_array_equal(sums, values.sum(axis=1) + labels)
    np.testing.assert_array_equal(highest, values.max(axis=1))
    np.testing.assert_array_equal(np.asarray(named["y"]), values[:, 0] > 600)
    with h5py.File(tmp_path / "written.h5", "w") as file:
        put(file, "array", values)
        put(file, "rows", on_disk)
        np.testing.assert_array_equal(file["array"], values)
        np.testing.assert_array_equal(file["rows"], values)


def test_rows_are_those_of_the_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZSL_MEMORY", TINY)
    values = np.random.default_rng(0).normal(size=(500, 7)).astype(np.float32)
    on_disk = collect(np.array_split(values, 9), 500)
    assert isinstance(on_disk, Rows)
    some = np.array([400, 3, 3, 250])
    both = join([on_disk[some], values[:20], on_disk[::-2]])
    expected = np.concatenate([values[some], values[:20], values[::-2]])
    np.testing.assert_array_equal(np.asarray(both), expected)
    np.testing.assert_array_equal(np.asarray(both[expected[:, 0] > 0]), expected[expected[:, 0] > 0])
    np.testing.assert_array_equal(by_blocks(lambda block: block.argmax(axis=1), both), expected.argmax(axis=1))
    with artifacts.create(tmp_path / "features.h5", artifacts.FEATURES, {}) as file:
        put(file, "features", both)
    found = stored(tmp_path / "features.h5", artifacts.FEATURES, "features", np.arange(9))
    np.testing.assert_array_equal(np.asarray(found), expected[:9])


def test_functions_see_a_block_of_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the wide rows behind narrow ones, synthetic next to projected features, would all be in memory."""
    monkeypatch.setenv("ZSL_MEMORY", TINY)
    monkeypatch.setattr(rows, "BLOCK", 64)
    values = np.random.default_rng(0).normal(size=(500, 9)).astype(np.float32)
    seen: list[int] = []

    def narrow(block: np.ndarray) -> np.ndarray:
        seen.append(len(block))
        return block[:, :2]

    both = join([map_rows(collect([values], 500), narrow), values[:30, :2]])
    order = np.random.default_rng(1).permutation(530)
    seen.clear()
    expected = np.concatenate([values[:, :2], values[:30, :2]])[order]
    np.testing.assert_array_equal(np.asarray(both[order]), expected)
    assert max(seen) <= 64
    assert sum(seen) == 500


def test_the_file_goes_with_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZSL_MEMORY", TINY)
    values = np.ones((500, 7), np.float32)
    on_disk = collect([values], 500)
    path = Path(on_disk.read.path)  # type: ignore[attr-defined]
    sent = pickle.dumps(on_disk)
    del on_disk
    assert path.exists()  # whoever was sent it has it now
    received = pickle.loads(sent)
    np.testing.assert_array_equal(np.asarray(received), values)
    del received
    assert not path.exists()


def test_what_is_wrong_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "features.h5"
    for value in (1, 2):  # the second takes the name of the first
        with artifacts.create(path, artifacts.FEATURES, {}) as file:
            file["features"] = np.full((500, 7), value, np.float16)
        if value == 1:
            monkeypatch.setenv("ZSL_MEMORY", TINY)
            first = stored(path, artifacts.FEATURES, "features")
    with pytest.raises(ZSLError, match="was replaced by another file meanwhile"):
        np.asarray(first)
    opened = stored(path, artifacts.FEATURES, "features")
    with path.open("r+b") as raw:
        raw.seek(path.read_bytes().index(np.full(7, 2, np.float16).tobytes()))
        raw.write(b"\x01")
    with pytest.raises(ZSLError, match="'/features' is damaged"):
        np.asarray(opened)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(ZSLError, match="cannot be written there"):
        collect([np.ones((500, 7))], 500)
    for wrong in ("0", "-1", "much"):
        monkeypatch.setenv("ZSL_MEMORY", wrong)
        with pytest.raises(ZSLError, match="ZSL_MEMORY is"):
            rows.memory_limit()
