"""Files of images: which are read, and what those that are not really are."""

import os
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

try:
    from pillow_heif import register_heif_opener
except ImportError:
    HEIC_INSTALLED = False
else:
    HEIC_INSTALLED = True

MAX_PIXELS = 100_000_000
"""Largest picture that is decoded (10,000 x 10,000); a file that claims more is refused before it takes memory."""

MAX_PIXELS_OF = {"WEBP": 30_000_000, "JPEG2000": 20_000_000, "AVIF": 50_000_000}
"""The same for kinds whose readers hold a picture several times over: less than twice its decoded size and 300 MiB."""

Image.preinit()  # the frequent kinds, which are tried first
Image.init()
if HEIC_INSTALLED:
    register_heif_opener()
KINDS = tuple(kind for kind in Image.ID if kind != "EPS")
"""Kinds that are read. EPS is a program, which Pillow would have another program run."""

STUBS = {"BUFR", "GRIB", "HDF5", "MPEG", "WMF"}
"""Kinds that Pillow knows by their beginning, and has no decoder for."""
READ = {*Image.OPEN, "MPO"} - STUBS - {"EPS"}
SUFFIXES = frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in READ) | {
    ".heic", ".heif", ".hif",
}  # fmt: skip
"""What names of image files end with, in small letters. HEIC is among them without its reader, to be missed by name."""

BEGINNING = 512
SIGNS = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the image: `git lfs pull`"),
    (b"%PDF", "a PDF: save its pictures as PNG or JPEG"),
    (b"PK\x03\x04", "a zip archive or an office document"),
    (b"\xff\x0a", "JPEG XL: save it as PNG or JPEG"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL: save it as PNG or JPEG"),
    (b"%!PS", "not an image but a program (PostScript, EPS): save it as PNG"),
    (b"{", "text (JSON), not an image: download it again"),
)
HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
"""Brands in the first bytes of the photographs of telephones."""


class BadImage(Exception):
    """An image that cannot be used; the message says why."""


def is_image(name: str) -> bool:
    """Whether a file is an image by the end of its name."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def what(beginning: bytes) -> str:
    """What a file is that is no image of a known kind, by its first bytes, and what to do."""
    text = beginning.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if beginning[4:8] == b"ftyp":
        if beginning[8:12] in HEIC:
            return "a HEIC image: `pip install pillow-heif` to read it, or save it as JPEG"
        return "a video: save frames of it as images"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "a web page (HTML), not an image: download it again"
    if text.startswith(b"<svg") or b"<svg" in text:
        return "a drawing (SVG): save it as PNG"
    if text.startswith(b"<?xml"):
        return "text (XML), not an image: download it again"
    return next((name for sign, name in SIGNS if beginning.startswith(sign)), "not an image, or of an unknown kind")


def check_header(path: Path) -> None:
    """Open an image without decoding it. Raises BadImage where it is none that can be read, by its beginning."""
    try:
        with open(path, "rb") as stream:
            _check(stream)
    except OSError as error:
        raise BadImage(error.strerror or str(error)) from error


def _check(stream: BinaryIO) -> None:
    beginning = stream.read(BEGINNING)
    if not beginning:
        raise BadImage("the file is empty (0 bytes)")
    stream.seek(0)
    try:
        with Image.open(stream, formats=KINDS) as image:
            check_size(image)
    except BadImage:
        raise
    except UnidentifiedImageError as error:
        raise BadImage(what(beginning)) from error
    except Image.DecompressionBombError as error:
        raise BadImage(f"claims more than {MAX_PIXELS:,} pixels") from error
    except Exception as error:  # Pillow's readers of broken files raise what they like
        raise BadImage(f"truncated or damaged ({error})") from error


def check_size(image: Image.Image) -> None:
    """Raise BadImage for a picture of more pixels than are decoded of its kind."""
    most = MAX_PIXELS_OF.get(image.format or "", MAX_PIXELS)
    if image.width * image.height > most:
        raise BadImage(f"{image.width}x{image.height} pixels, more than {most:,}: scale it down")
