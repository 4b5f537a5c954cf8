"""Where images are: every image is a range of bytes of some file, on a disk or behind an fsspec address."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zslcore import artifacts
from zslcore.errors import ZSLError
from zslcore.features.images import BadImage


class ImageRef(NamedTuple):
    """One image: `size` bytes of `path` from `start` (None: the whole file).

    name: what people call it. token: changes when the bytes may have changed; equal tokens, equal bytes.
    """

    name: str
    path: str
    token: bytes
    start: int = 0
    size: int | None = None


class Missing(NamedTuple):
    """An image that is not there, and why."""

    name: str
    reason: str


def read(image: ImageRef) -> bytes:
    """The encoded bytes of an image. Raises BadImage when they cannot be read."""
    try:
        with open(image.path, "rb") as stream:
            stream.seek(image.start)
            return stream.read(image.size)
    except OSError as error:
        raise BadImage(error.strerror or str(error)) from error


@dataclass(frozen=True)
class Images:
    """Base of the places images come from."""

    path: Path

    def __len__(self) -> int:
        raise NotImplementedError

    def __iter__(self) -> Iterator[ImageRef | Missing]:
        """Images in order."""
        raise NotImplementedError


def file_ref(name: str, path: str) -> ImageRef | Missing:
    """An image that is a whole local file; its token is made of path, size, times and inode."""
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        return Missing(name, getattr(error, "strerror", None) or str(error))
    if not os.path.isfile(path):
        return Missing(name, "not a file")
    return ImageRef(
        name,
        os.path.abspath(path),
        _digest(os.path.abspath(path), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino),
    )


def _digest(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


class Files(Images):
    """The image files a data set lists, relative to the project's folder; `path` is the data set's artifact."""

    def __len__(self) -> int:
        with artifacts.open_artifact(self.path, artifacts.DATASET) as file:
            return len(artifacts.dataset(file, "image_files", ndim=1))

    def __iter__(self) -> Iterator[ImageRef | Missing]:
        with artifacts.open_artifact(self.path, artifacts.DATASET) as file:
            names = artifacts.dataset(file, "image_files", ndim=1).asstr()
            for start in range(0, len(names), 10_000):
                for name in names[start : start + 10_000]:
                    yield file_ref(name, name)


class Pictures(Images):
    """The pictures a data set carries in its artifact."""

    def __len__(self) -> int:
        with artifacts.open_artifact(self.path, artifacts.DATASET) as file:
            return len(artifacts.dataset(file, "pictures/ends", ndim=1))

    def __iter__(self) -> Iterator[ImageRef | Missing]:
        with artifacts.open_artifact(self.path, artifacts.DATASET) as file:
            ends = artifacts.array(file, "pictures/ends", np.int64, ndim=1)
            content = artifacts.dataset(file, "pictures/bytes", np.uint8, ndim=1)
            offset = content.id.get_offset()
            if offset is None:
                raise ZSLError(f"{self.path}: its pictures are not stored in one piece; make it again with dvc repro")
            start = 0
            for row, end in enumerate(ends.tolist()):
                token = hashlib.sha256(content[start:end].tobytes()).digest()
                yield ImageRef(f"{self.path}, picture {row}", str(self.path), token, offset + start, end - start)
                start = end


def of_dataset(path: Path) -> Images:
    """The images of a prepared data set, one a row. Raises ZSLError when it has none."""
    with artifacts.open_artifact(path, artifacts.DATASET) as file:
        if "pictures" in file:
            return Pictures(path)
        if "image_files" in file:
            return Files(path)
    raise ZSLError(f"{path}: neither features nor images; import the data set again")
