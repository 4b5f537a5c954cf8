"""Files of images: what extraction reads, the importer lists; what others are is said by their first bytes."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zslcore.datasets import image_files
from zslcore.datasets.folder import list_files
from zslcore.datasets.image_files import BadImage, check_header, is_image, what
from zslcore.features.image_sources import Folder, ImageRef
from zslcore.features.images import decode

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))
HEIC = b"\0\0\0\x24ftypheic\0\0\0\0mif1heic" + bytes(64)
KINDS = {"x.avif": "AVIF", "x.jfif": "JPEG", "x.jp2": "JPEG2000", "x.apng": "PNG", "x.JPE": "JPEG", "x.tga": "TGA"}


def encoded(kind: str) -> bytes:
    stream = BytesIO()
    PICTURE.save(stream, kind)
    return stream.getvalue()


def test_the_importer_lists_what_extraction_lists_and_each_is_decoded(tmp_path: Path) -> None:
    for name, kind in KINDS.items():
        (tmp_path / name).write_bytes(encoded(kind))
    for name in ("x.eps", "x.pdf", "x.h5", "x.mpeg", "x.svg", "x.txt", "x"):
        (tmp_path / name).write_bytes(b"?")
    (tmp_path / "x.heic").write_bytes(HEIC)
    images, others = list_files(tmp_path)
    listed = [image for image in Folder(str(tmp_path)) if isinstance(image, ImageRef)]
    assert [path.name for path in images] == [image.name for image in listed] == sorted([*KINDS, "x.heic"])
    assert len(others) == 7
    for name in KINDS:
        check_header(tmp_path / name)
        assert decode((tmp_path / name).read_bytes()).size == (16, 16)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"^the file is empty \(0 bytes\)"),
        (HEIC, r"^a HEIC image: `pip install pillow-heif` to read it, or save it as JPEG"),
        (b"\0\0\0\x20ftypisom" + bytes(32), r"^a video"),
        (b"\n<!DOCTYPE html><html></html>", r"^a web page \(HTML\), not an image: download it again"),
        (b'<?xml version="1.0"?><svg width="1"/>', r"^a drawing \(SVG\): save it as PNG"),
        (b"<?xml version='1.0'?><Error/>", r"^text \(XML\)"),
        (b'{"error": 404}', r"^text \(JSON\)"),
        (b"version https://git-lfs.github.com/spec/v1\n", r"^a pointer of Git LFS"),
        (b"%PDF-1.7", r"^a PDF"),
        (b"\xff\x0a" + bytes(9), r"^JPEG XL"),
        (b"kiwi", r"^not an image, or of an unknown kind"),
        (encoded("PNG")[:20], r"^truncated or damaged|^not an image"),
    ],
)
def test_what_is_no_image_is_called_what_it_is_by_importer_and_extraction(
    content: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.jpg").write_bytes(content)
    readers: list[Callable[[], object]] = [lambda: check_header(tmp_path / "x.jpg"), lambda: decode(content)]
    for reader in readers:
        with pytest.raises(BadImage, match=message):
            reader()


def test_a_picture_too_large_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(image_files.MAX_PIXELS_OF, "PNG", 255)
    (tmp_path / "x.png").write_bytes(encoded("PNG"))
    with pytest.raises(BadImage, match="16x16 pixels, more than 255: scale it down"):
        check_header(tmp_path / "x.png")
    with pytest.raises(BadImage, match="No such file"):
        check_header(tmp_path / "y.png")


def test_an_unknown_beginning_of_any_length_has_a_name() -> None:
    assert all(what(HEIC[:length]) for length in range(len(HEIC)))
    assert not is_image("heic")
    assert is_image("a.b.HEIC")
