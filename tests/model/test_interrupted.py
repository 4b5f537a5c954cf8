"""Killed, stopped or out of disk half-way, `zsl predict` goes on where it was: the rows of an undisturbed run."""

import io
import multiprocessing
import os
import resource
import signal
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

import pytest
from PIL import Image

from stages import cli, predict
from tests.features.conftest import stored
from tests.model.test_images import SETTINGS, pixels, trained
from zslcore.errors import ZSLError
from zslcore.features import image_sources

MODEL, PLACE, OUT = Path("colours.zsl"), "pictures.tar", "out.jsonl"


def prepare(folder: Path, count: int, batch_size: int) -> None:
    """A model, and so many JPEGs in an archive: few pictures, but the bytes of each file are its own."""
    trained(SETTINGS.model_copy(update={"batch_size": batch_size})).save(folder / MODEL)
    encoded = []
    for seed in range(6):
        stream = io.BytesIO()
        Image.fromarray(pixels(seed)).save(stream, "JPEG")
        encoded.append(stream.getvalue())
    with tarfile.open(folder / PLACE, "w") as tar:
        for number in range(count):
            content = encoded[number % 6] + b"%d" % number  # behind the end of the picture
            member = tarfile.TarInfo(f"{number}.jpg")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def run_there(folder: Path) -> None:
    """`zsl predict` in that folder, in a process of its own."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    sys.argv = ["zsl", "predict", str(MODEL), PLACE, "--out", OUT]
    cli.main()


def undisturbed(folder: Path, other: Path) -> bytes:
    """What a run from nothing writes, in another folder."""
    other.mkdir()
    with chdir(other):
        predict.command(folder / MODEL, str(folder / PLACE), out=OUT)
        return Path(OUT).read_bytes()


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the images that are read."""
    names: list[str] = []
    original = image_sources.read

    def noting(image: image_sources.ImageRef) -> bytes:
        names.append(image.name)
        return original(image)

    monkeypatch.setattr(image_sources, "read", noting)
    return names


@pytest.mark.parametrize(
    ("count", "batch_size", "how", "code"),
    [
        (240, 4, signal.SIGKILL, -signal.SIGKILL),
        (240, 4, signal.SIGINT, 130),
        pytest.param(
            100_000, 64, signal.SIGKILL, -signal.SIGKILL, marks=[pytest.mark.slow, pytest.mark.soak], id="hundred"
        ),
    ],
)
def test_ended_half_way_it_goes_on_where_it_was(
    count: int, batch_size: int, how: signal.Signals, code: int, tmp_path: Path, read: list[str]
) -> None:
    prepare(tmp_path, count, batch_size)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["stages.predict", "timm"])
    process = context.Process(target=run_there, args=(tmp_path,))
    process.start()
    while process.is_alive() and stored(tmp_path) < count // 2:
        time.sleep(0.001)
    assert process.pid is not None
    os.kill(process.pid, how)
    process.join()
    assert process.exitcode == code
    left = [path.name for path in tmp_path.glob(f"*{OUT}*")]
    assert OUT not in left
    assert how is signal.SIGKILL or not left
    kept = stored(tmp_path)
    assert count // 2 <= kept < count
    with chdir(tmp_path):
        predict.command(MODEL, PLACE, out=OUT)
    assert len(read) == count - kept
    assert (tmp_path / OUT).read_bytes() == undisturbed(tmp_path, tmp_path / "other")


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file that this process writes may grow larger, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_said_and_what_was_computed_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: list[str]
) -> None:
    count = 200
    prepare(tmp_path, count, 4)
    monkeypatch.chdir(tmp_path)
    with largest_file(2**16), pytest.raises(ZSLError, match=r"\.sqlite: cannot be used \(.*\); .*run again to go on"):
        predict.command(MODEL, PLACE, out=OUT)
    kept = stored(tmp_path)
    assert 0 < kept < count
    read.clear()
    predict.command(MODEL, PLACE, out="all.jsonl")
    assert len(read) == count - kept
    with largest_file(2**12), pytest.raises(ZSLError, match=r"^out\.jsonl: cannot be written .*free disk space"):
        predict.command(MODEL, PLACE, out=OUT)
    assert not list(tmp_path.glob(f"*{OUT}*"))
    assert Path("all.jsonl").read_bytes() == undisturbed(tmp_path, tmp_path / "other")
