"""Pictures and settings that the tests of the extraction share: the smallest network there is, on tiny pictures."""

import io
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zslcore.settings import Extract


@pytest.fixture(scope="session")
def tiny() -> Extract:
    """Settings that need no download and little time."""
    return Extract(
        backbone="test_resnet.r160_in1k", weights="random", image_size=32, batch_size=4, precision="fp32", workers=2
    )


@pytest.fixture(scope="session")
def picture() -> Callable[[int], bytes]:
    """A PNG of noise, another one for every number."""

    def make(seed: int) -> bytes:
        stream = io.BytesIO()
        values = np.random.default_rng(seed).integers(0, 255, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(values).save(stream, "PNG")
        return stream.getvalue()

    return make


@pytest.fixture
def pictures(tmp_path: Path, picture: Callable[[int], bytes]) -> Callable[[int], Path]:
    """Writes a folder of so many pictures, named in the order of their numbers."""

    def write(count: int) -> Path:
        folder = tmp_path / "pictures"
        folder.mkdir()
        for number in range(count):
            (folder / f"{number:05}.png").write_bytes(picture(number))
        return folder

    return write


def stored(folder: Path) -> int:
    """Number of features in the stores of a folder, and in their parts; 0 while there are none."""
    count = 0
    for path in folder.rglob("*.sqlite"):
        with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True)) as connection:
            count += int(connection.execute("SELECT count(*) FROM features").fetchone()[0])
    return count
