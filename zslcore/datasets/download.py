"""The benchmark's archives, fetched: an interrupted download goes on where it was, and what comes is checked."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import chain
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit
from zipfile import ZipFile

from zslcore.errors import ZSLError, first_line, unknown
from zslcore.progress import progress

XLSA17 = "http://datasets.d2.mpi-inf.mpg.de/xian/xlsa17.zip"
CVPR18 = "http://datasets.d2.mpi-inf.mpg.de/xian/cvpr18xian.zip"
ADDRESSES = {**dict.fromkeys(("cub", "sun", "awa1", "awa2", "apy"), XLSA17), "flo": CVPR18}
"""Where the files of a data set of the benchmark are. The publishers give no checksums."""
FEATURES, SPLITS = "res101.mat", "att_splits.mat"
LISTS = re.compile(r"valclasses.*\.txt")
CHUNK, MIB = 2**16, 2**20
"""Bytes that are written at once, of which a broken connection loses the last, and bytes that progress counts."""
TRIES = 5
SECONDS = 60
"""After which a server that says nothing is given up."""


def address(dataset: str) -> str:
    """Where a data set's archive is. Raises ZSLError for an unknown data set, with the nearest known one."""
    if dataset not in ADDRESSES:
        raise unknown("data set of the benchmark", dataset, ADDRESSES)
    return ADDRESSES[dataset]


def fetch(url: str, folder: Path) -> Path:
    """The file at an address, in `folder`, downloaded unless it is there.

    An interrupted download leaves a part next to it, with which the next call goes on where the server can and the file
    is the same still. Raises ZSLError where the address does not answer, has no such file, or gives a web page.
    """
    import pooch  # a tenth of a second, and requests with it
    from requests import RequestException

    name = f"{sha256(url.encode()).hexdigest()[:8]}-{PurePosixPath(urlsplit(url).path).name or 'archive'}"
    pooch.get_logger().setLevel("WARNING")

    def download(url: str, output: str | Any, _: Any) -> None:
        part = folder / f"{name}.part"
        _resume(url, part)
        os.replace(part, output)

    try:
        return Path(pooch.retrieve(url, known_hash=None, fname=name, path=folder, downloader=download))
    except (RequestException, ValueError) as error:
        raise ZSLError(f"{url}: cannot be fetched ({_why(error)})") from error
    except OSError as error:
        raise ZSLError(f"{folder}: cannot be written ({error.strerror}); free disk space or check it") from error


def _why(error: Exception) -> str:
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server says {response.status_code} {response.reason}"
    return "no answer from the server" if "Connect" in type(error).__name__ else first_line(error)


def _resume(url: str, part: Path) -> None:
    """Bring a part to its whole length, in several requests where the connection breaks.

    Raises ZSLError for a web page; RequestException where the server cannot be asked, or never sends the rest.
    """
    from requests import ConnectionError, HTTPError, RequestException

    for attempt in range(TRIES):
        before = _size(part)
        try:
            if _request(url, part):
                return
            problem: Exception = ConnectionError("cut short")
        except HTTPError:
            raise
        except RequestException as error:
            problem = error
        if _size(part) <= before or attempt == TRIES - 1:  # nothing came: another try would bring no more
            raise problem


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _request(url: str, part: Path) -> bool:
    """Ask for what a part lacks, and add it; whether it is whole then."""
    import requests

    state = part.with_suffix(".state")
    start = _size(part)
    known = state.read_text(encoding="utf-8") if state.exists() else ""
    headers = {"Accept-Encoding": "identity"}
    if start and known:
        headers |= {"Range": f"bytes={start}-", "If-Range": known}
    with requests.get(url, headers=headers, stream=True, timeout=SECONDS) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            part.unlink()  # longer than the file: of another one
            return _request(url, part)
        response.raise_for_status()
        goes_on = response.status_code == requests.codes.partial_content
        start = start if goes_on else 0
        length = int(response.headers.get("Content-Length") or 0)
        chunks = response.iter_content(CHUNK)
        first = next(chunks, b"")
        if not goes_on and first.lstrip()[:15].lower().startswith((b"<!doctype", b"<html")):
            raise ZSLError(f"{url}: a web page (HTML), no archive; open it in a browser to see what it says")
        part.parent.mkdir(parents=True, exist_ok=True)
        state.write_text(response.headers.get("ETag") or response.headers.get("Last-Modified") or "", encoding="utf-8")
        total = start + length
        with open(part, "ab" if goes_on else "wb") as out, progress(f"{url}, MiB", total // MIB) as advance:
            done = start
            advance(done // MIB)
            for chunk in chain([first], chunks):
                out.write(chunk)
                advance((done + len(chunk)) // MIB - done // MIB)
                done += len(chunk)
    whole = not length or _size(part) == total
    if whole:
        state.unlink()
    return whole


@contextmanager
def unpacked(archive: Path, dataset: str) -> Iterator[tuple[Path, Path]]:
    """The feature file and the split file of a data set, unpacked next to its archive for as long as the context lasts.

    With the lists of validation classes in the folder of the split file. Every file is checked by the archive's CRC-32.
    Raises ZSLError where the archive is damaged or lacks a file.
    """
    with TemporaryDirectory(dir=archive.parent, prefix=f"{dataset}-") as folder:
        try:
            with ZipFile(archive) as file:
                members = [member for member in file.infolist() if _is_of(PurePosixPath(member.filename), dataset)]
                for member in members:
                    member.filename = PurePosixPath(member.filename).name
                    file.extract(member, folder)
        except Exception as error:  # zipfile raises what it likes on damaged archives
            raise ZSLError(f"{archive}: damaged ({first_line(error)}); delete it, and download it again") from error
        features, splits = Path(folder) / FEATURES, Path(folder) / SPLITS
        for path in (features, splits):
            if not path.exists():
                raise ZSLError(f"{archive}: no {path.name} of {dataset.upper()} in it; check the address")
        yield features, splits


def _is_of(path: PurePosixPath, dataset: str) -> bool:
    return path.parent.name.lower() == dataset and (path.name in (FEATURES, SPLITS) or bool(LISTS.fullmatch(path.name)))
