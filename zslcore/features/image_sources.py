"""Where images are: every image is a range of bytes of some file, on a disk or behind an fsspec address."""

import hashlib
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from io import TextIOWrapper
from itertools import takewhile
from pathlib import Path, PurePosixPath
from threading import Event
from typing import Any, NamedTuple

import fsspec
import numpy as np
from numpy.typing import NDArray

from zslcore.datasets.image_files import BadImage, is_image
from zslcore.errors import ZSLError, first_line
from zslcore.features.prefetch import prefetch
from zslcore.io import artifacts
from zslcore.io.tables import lines_of

MAX_BYTES = 2**28
"""Largest image file that is read; a sparse file or an archive's header may claim any size."""
LISTING_BLOCK = 2**14
"""What is read ahead at an address while an archive is listed: its small members at once, never a large one."""
AT_ONCE = 16
"""How many archives at addresses, or images of a list, are asked for side by side: each takes a request, or many."""


class ImageRef(NamedTuple):
    """One image: `size` bytes of `path` from `start` (None: the whole file).

    name: what people call it. path: a local path, or an address with ://. token: changes when the bytes may have
    changed; equal tokens, equal bytes.
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


class ImageSource:
    """Images in a fixed order, one a row, listed without being read."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __iter__(self) -> Iterator[ImageRef | Missing]:
        """Raises ZSLError where there is no image, and where the place cannot be opened."""
        any_there = False
        with _opening(self.path):
            for image in self._list():
                any_there = True
                yield image
        if not any_there:
            raise ZSLError(
                f"{self.path}: no images there; check the path, or give a folder, a list or archives with some"
            )

    def _list(self) -> Iterator[ImageRef | Missing]:
        raise NotImplementedError


def read(image: ImageRef) -> bytes:
    """The encoded bytes of an image. Raises BadImage when they cannot be read, or are more than MAX_BYTES."""
    too_many = MAX_BYTES + 1
    try:
        content = _range(image.path, image.start, too_many if image.size is None else min(image.size, too_many))
    except Exception as error:  # the drivers of addresses raise what they like; ValueError: a place that no file has
        raise BadImage(_why(error)) from error
    if len(content) >= too_many:
        raise BadImage(f"more than {MAX_BYTES:,} bytes: scale it down")
    return content


def _range(path: str, start: int, count: int) -> bytes:
    """`count` bytes from `start`, fewer where the file ends: at an address in one request for no byte more."""
    if "://" not in path:
        with open(path, "rb") as stream:
            stream.seek(start)
            return stream.read(count)
    system, inner = fsspec.core.url_to_fs(path)
    content: bytes = system.cat_file(inner, start=start, end=start + count) if count else b""
    if start and len(content) > count:
        raise ValueError("the server sends whole files, not ranges of them: copy the archive to a disk")
    return content


def whole_file(name: str, path: str) -> ImageRef | Missing:
    """A reference to an image that is a whole file; its token is made of the file's size and times, not its bytes."""
    try:
        return ImageRef(name, path if "://" in path else os.path.abspath(path), _token(path))
    except Exception as error:  # the drivers of addresses raise what they like
        return Missing(name, _why(error))


@contextmanager
def _opening(place: str) -> Iterator[None]:
    """What goes wrong with a place, as a ZSLError."""
    address = "://" in place
    drivers = Exception if address else (OSError, ValueError)  # those of addresses raise what they like
    try:
        yield
    except ZSLError:
        raise
    except FileNotFoundError as error:
        raise ZSLError(f"{place}: no such file; check the path") from error
    except drivers as error:
        todo = "check the address, install its driver or set its credentials" if address else "check its permissions"
        raise ZSLError(f"{place}: cannot be opened ({_why(error)}); {todo}") from error


def _why(error: Exception) -> str:
    reason: str | None = getattr(error, "strerror", None)
    return reason.splitlines()[0] if reason else first_line(error)


def _open(path: str, block_size: int | None = None) -> Any:
    """block_size: what is read ahead at an address; None: as its driver likes."""
    if "://" not in path:
        return open(path, "rb")
    system, inner = fsspec.core.url_to_fs(path)
    return system.open(inner, "rb", block_size=block_size)


def _token(path: str) -> bytes:
    """Changes with the file. Raises OSError where there is none."""
    if "://" in path:
        system, inner = fsspec.core.url_to_fs(path)
        about = system.info(inner)
        if about["type"] != "file":
            raise ValueError("not a file")
        if about["size"] == 0:
            raise ValueError("the file is empty (0 bytes)")  # it has no range of bytes to ask for
        details = sorted((name, value) for name, value in about.items() if name != "url")  # HTTP may sign it
        return _digest(path, details)
    status = os.stat(path)
    if not os.path.isfile(path):
        raise ValueError("not a file")
    return _digest(os.path.abspath(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _digest(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


class Listed(ImageSource):
    """The image files a data set lists, relative to the project's folder; `path` is the data set's artifact."""

    def _list(self) -> Iterator[ImageRef | Missing]:
        with artifacts.open_artifact(Path(self.path), artifacts.DATASET) as file:
            names = artifacts.dataset(file, "image_files", str, ndim=1).asstr()
            artifacts.verify(file, "image_files")
            for start in range(0, len(names), 10_000):
                for name in names[start : start + 10_000]:
                    yield whole_file(name, name)


class Pictures(ImageSource):
    """The pictures a data set carries in its artifact."""

    def _list(self) -> Iterator[ImageRef | Missing]:
        with artifacts.open_artifact(Path(self.path), artifacts.DATASET) as file:
            ends = artifacts.array(file, "pictures/ends", np.int64, ndim=1)
            content = artifacts.dataset(file, "pictures/bytes", np.uint8, ndim=1)
            artifacts.verify(file, "pictures/bytes")
            offset = content.id.get_offset()
            if offset is None:
                raise ZSLError(f"{self.path}: its pictures are not stored in one piece; prepare the data set again")
            start = 0
            for row, end in enumerate(ends.tolist()):
                token = hashlib.sha256(content[start:end].tobytes()).digest()
                yield ImageRef(f"{self.path}, picture {row}", self.path, token, offset + start, end - start)
                start = end


def of_dataset(path: Path) -> ImageSource:
    """The images of a prepared data set. Raises ZSLError when it has none."""
    with artifacts.open_artifact(path, artifacts.DATASET) as file:
        if "pictures" in file:
            return Pictures(str(path))
        if "image_files" in file:
            return Listed(str(path))
    raise ZSLError(f"{path}: neither features nor images; import the data set again")


class Chosen(ImageSource):
    """Some rows of a source; of the others no image is opened."""

    def __init__(self, images: ImageSource, rows: NDArray[np.int64]) -> None:
        super().__init__(images.path)
        self.images, self.rows = images, frozenset(rows.tolist())

    def _list(self) -> Iterator[ImageRef | Missing]:
        return (image for row, image in enumerate(self.images) if row in self.rows)


class OneFile(ImageSource):
    """One image file."""

    def _list(self) -> Iterator[ImageRef | Missing]:
        yield whole_file(self.path, self.path)


class Folder(ImageSource):
    """Every image file under a folder or an fsspec address, in the order of their paths."""

    def _list(self) -> Iterator[ImageRef | Missing]:
        if "://" not in self.path:
            yield from (whole_file(os.path.relpath(path, self.path), path) for path in _walk(self.path))
            return
        system, inner = fsspec.core.url_to_fs(self.path)
        for path in sorted(system.find(inner)):
            if is_image(path):
                yield whole_file(path.removeprefix(inner).lstrip("/"), system.unstrip_protocol(path))


class ListFile(ImageSource):
    """A text file with one path or address a line; relative ones start at the list's folder."""

    def _list(self) -> Iterator[ImageRef | Missing]:
        folder = os.path.dirname(self.path)
        with (
            _open(self.path) as stream,
            TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="\n") as text,
            ThreadPoolExecutor(AT_ONCE) as pool,
        ):
            names = filter(None, map(str.strip, lines_of(text, self.path)))
            places = ((name, name if "://" in name else os.path.join(folder, name)) for name in names)
            asked = (
                pool.submit(whole_file, *place).result if "://" in place[1] else partial(whole_file, *place)
                for place in places
            )
            for answer in prefetch(asked, AT_ONCE):
                yield answer()


class Tar(ImageSource):
    """The images in tar archives (WebDataset shards), read where they lie; nothing is unpacked.

    path: one archive or a pattern, such as `shards/train-{000..012}.tar` or `s3://bucket/*.tar`.
    """

    def _list(self) -> Iterator[ImageRef | Missing]:
        archives = list(_expand(self.path))
        if "://" in self.path and len(archives) > 1:
            yield from self._side_by_side(archives)
            return
        for archive in archives:
            with _opening(archive):
                yield from self._members(archive)

    def _side_by_side(self, archives: list[str]) -> Iterator[ImageRef | Missing]:
        """The images of archives at addresses, in order; those of `AT_ONCE` are in memory at a time."""
        over = Event()

        def members(archive: str) -> list[ImageRef | Missing]:
            with _opening(archive):
                return list(takewhile(lambda _: not over.is_set(), self._members(archive)))

        with ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                for listed in prefetch((pool.submit(members, one) for one in archives), AT_ONCE - 1):
                    yield from listed.result()
            finally:  # an error of one, or nobody wants more, ends all
                over.set()
                pool.shutdown(cancel_futures=True)

    def _members(self, archive: str) -> Iterator[ImageRef | Missing]:
        token = _token(archive)
        damage = (tarfile.TarError,) if "://" in archive else (tarfile.TarError, OSError, ValueError)
        with _open(archive, LISTING_BLOCK) as stream:
            try:
                with tarfile.open(fileobj=stream, mode="r:") as tar:
                    while (member := tar.next()) is not None:
                        tar.members = []  # type: ignore[attr-defined]  # else the archive's object keeps every header it has seen
                        if member.isdir() or not (is_image(member.name) or _escapes(member)):
                            continue
                        name = f"{PurePosixPath(archive).name}/{member.name}"
                        if reason := _escapes(member):
                            yield Missing(name, reason)
                        else:
                            place = member.offset_data, member.size
                            yield ImageRef(name, archive, _digest(token, *place), *place)
            except damage as error:
                raise ZSLError(f"{archive}: not a plain tar archive ({error}); unpack compressed ones first") from error


def _escapes(member: tarfile.TarInfo) -> str | None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        return "its path leads out of the archive"
    return None if member.isreg() else "a link or device, not a file"


def _expand(pattern: str) -> Iterator[str]:
    """Archives of a pattern with one {first..last}, or with the wildcards of the file system."""
    numbers = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if numbers:
        first, last = numbers.groups()
        for number in range(int(first), int(last) + 1):
            yield pattern.replace(numbers[0], str(number).zfill(len(first)))
    elif "*" in pattern:
        system, inner = fsspec.core.url_to_fs(pattern)
        for path in sorted(system.glob(inner)):
            yield system.unstrip_protocol(path) if "://" in pattern else path
    else:
        yield pattern


def _walk(folder: str) -> Iterator[str]:
    """Image files below a folder, ordered, one folder's names in memory at a time; links to folders are left out."""
    with os.scandir(folder) as scanned:
        entries = sorted(scanned, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path)
        elif is_image(entry.name):
            yield entry.path


def of_place(place: str) -> ImageSource:
    """Images anywhere: a file, a folder, a .txt list, .tar archives or a pattern of them, local or an fsspec address.

    Raises ZSLError when there is nothing of the kind, and when it cannot be opened.
    """
    extension = PurePosixPath(place).suffix.lower()
    kind = KINDS.get(extension, Folder)
    with _opening(place):
        system, inner = fsspec.core.url_to_fs(place)
        if kind is Folder and is_image(place) and system.isfile(inner):
            return OneFile(place)
        if kind is Folder and not system.isdir(inner):
            if extension in COMPRESSED:
                raise ZSLError(
                    f"{place}: a compressed archive; unpack it and give the folder, or make a plain .tar of it"
                )
            raise ZSLError(
                f"{place}: no such file or folder of images; give an image, a folder, a .txt list, .tar "
                "archives, or an address of one"
            )
        if kind is ListFile and not system.isfile(inner):
            raise ZSLError(f"{place}: no such file; give a text file with one image path a line")
    return kind(place)


COMPRESSED = {".zip", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".7z", ".rar"}
KINDS: dict[str, Callable[[str], ImageSource]] = {".txt": ListFile, ".tar": Tar}
"""By extension; anything else is a folder."""
