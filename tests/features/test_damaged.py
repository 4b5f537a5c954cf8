"""Images damaged in every way there is: all named in one report, the rest extracted, repairs alone redone."""

import io
import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from zslcore import progress
from zslcore.errors import ZSLError
from zslcore.features.extract import extract_images
from zslcore.features.image_sources import Folder, ListFile
from zslcore.settings import Extract

DAMAGED = 37


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def small(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((40, 40), 50).convert("RGB").save(stream, kind)
    return stream.getvalue()


def bomb() -> bytes:
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b""))


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.png")


WAYS: list[Callable[[Path], object]] = [
    lambda path: path.write_bytes(b""),
    lambda path: path.unlink(),
    replace_by_folder,
    replace_by_dangling_link,
    lambda path: path.write_bytes(b"<html>404</html>"),
    lambda path: path.write_bytes(np.random.default_rng(0).bytes(500)),
    lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    lambda path: path.write_bytes(small("JPEG")[:-300]),
    lambda path: path.write_bytes(small("GIF")[:20]),
    lambda path: path.write_bytes(small("WEBP")[:100]),
    lambda path: path.write_bytes(small("PNG")[:50] + b"\xff" + small("PNG")[51:]),
    lambda path: path.write_bytes(bomb()),
]
"""Empty, gone, a folder, a dangling link, a web page, noise, cut PNG, JPEG, GIF and WebP, a wrong checksum, a bomb."""


def repair(path: Path, content: bytes) -> None:
    if path.is_symlink():
        path.unlink()
    elif path.is_dir():
        path.rmdir()
    path.write_bytes(content)


def check(folder: Path, count: int, settings: Extract) -> None:
    names = [f"{number:05}.png" for number in range(count)]
    listing = folder.parent / "list.txt"
    listing.write_text("\n".join(f"{folder.name}/{name}" for name in names))
    chosen = np.random.default_rng(1).choice(count, DAMAGED, replace=False)
    before = {f"{folder.name}/{names[row]}": (folder / names[row]).read_bytes() for row in chosen}
    for position, row in enumerate(chosen):
        WAYS[position % len(WAYS)](folder / names[row])

    def run(out: str, **changes: object):
        changed = settings.model_copy(update={"batch_size": 32, **changes})
        images = ListFile(str(listing))
        return extract_images(images, folder.parent / out, changed, "cpu", None, folder.parent / "store")

    with pytest.raises(ZSLError, match=f"{DAMAGED} of {count} images") as caught:
        run("features.h5")
    reported = [line.strip().split(":")[0] for line in str(caught.value).splitlines() if line.startswith("  ")]
    assert reported == sorted(before)
    assert not (folder.parent / "features.h5").exists()

    summary = run("features.h5", on_bad_image="skip")
    assert sorted(name for name, _ in summary.skipped) == sorted(before)
    with h5py.File(folder.parent / "features.h5") as file:
        first = file["features"][()]
        assert sorted(file["skipped"][()]) == sorted(chosen)
        assert file["skipped_names"].asstr()[()].tolist() == sorted(before)
        assert ((np.abs(first).sum(axis=1) == 0) == np.isin(np.arange(count), chosen)).all()

    for name, content in before.items():
        repair(folder.parent / name, content)
    summary = run("repaired.h5")
    assert (summary.computed, summary.skipped) == (DAMAGED, [])
    with h5py.File(folder.parent / "repaired.h5") as file:
        kept = np.setdiff1d(np.arange(count), chosen)
        assert (file["features"][()][kept] == first[kept]).all()
        assert (np.abs(file["features"][()][chosen]).sum(axis=1) > 0).all()


def test_37_images_damaged_in_12_ways(pictures, tiny):
    assert len(WAYS) == 12
    check(pictures(150), 150, tiny)


def test_progress_counts_bad_files_so_far(pictures, tiny, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    folder = pictures(12)
    for number in (1, 9):
        (folder / f"{number:05}.png").write_bytes(b"")
    skip = tiny.model_copy(update={"on_bad_image": "skip"})
    for expected in (["4/12 1 bad", "8/12 1 bad", "12/12 2 bad"], [], ["1/1 3 bad"]):
        if expected == ["1/1 3 bad"]:  # of bytes that are known to be bad
            (folder / "00012.png").write_bytes(b"")
        extract_images(Folder(str(folder)), folder.parent / "out.h5", skip, "cpu", None, folder.parent / "s")
        lines = capsys.readouterr().err.splitlines()
        assert [re.sub(r"^extract: (\S+), .*/s, ", r"\1 ", line) for line in lines] == expected


@pytest.mark.slow
@pytest.mark.soak
def test_37_of_10_000_images_damaged_in_12_ways(pictures, tiny):
    check(pictures(10_000), 10_000, tiny)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_image_without_permission_is_named(pictures, tiny):
    folder = pictures(3)
    (folder / "00001.png").chmod(0)
    listing = folder.parent / "list.txt"
    listing.write_text("\n".join(f"pictures/{number:05}.png" for number in range(3)))
    with pytest.raises(ZSLError, match=r"00001\.png: Permission denied"):
        extract_images(ListFile(str(listing)), folder.parent / "out.h5", tiny, "cpu", None, folder.parent / "store")
