"""Where images come from: the same pictures by every way, in a fixed order, and nothing from outside."""

import io
import os
import re
import tarfile
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Barrier, Thread
from typing import ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractBufferedFile

from zslcore.errors import ZSLError
from zslcore.features import image_sources
from zslcore.features.image_sources import LISTING_BLOCK, ImageRef, Missing, of_place, read, whole_file
from zslcore.features.images import BadImage


def contents(place: str) -> list[bytes]:
    return [read(image) for image in of_place(place)]


def pack(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_folder_in_order_of_paths_images_only(tmp_path, picture):
    for number, name in enumerate(["b/2.png", "a/10.JPG", "a/9.png", "c.png"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture(number))
    (tmp_path / "a" / "notes.md").write_text("no image")
    assert [image.name for image in of_place(str(tmp_path))] == ["a/10.JPG", "a/9.png", "b/2.png", "c.png"]
    assert contents(str(tmp_path)) == [picture(1), picture(2), picture(0), picture(3)]


def test_list_file_with_relative_absolute_and_missing_paths(pictures, tmp_path, picture):
    folder = pictures(2)
    (tmp_path / "list.txt").write_text(f"pictures/00001.png\n\n{folder}/00000.png\npictures/none.png\n{folder}\n")
    first, second, *missing = of_place(str(tmp_path / "list.txt"))
    assert (read(first), read(second)) == (picture(1), picture(0))
    assert [(type(m), m.reason) for m in missing] == [(Missing, "No such file or directory"), (Missing, "not a file")]


def test_list_file_of_any_bytes(tmp_path, picture):
    """A byte order mark is dropped; names need not be UTF-8."""
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")).write_bytes(picture(0))
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf\xff.png\r\n\xff.png")
    assert contents(str(tmp_path / "list.txt")) == [picture(0)] * 2


@pytest.mark.parametrize("place", ["list.txt", "memory://list.txt"])
def test_list_file_with_a_line_too_long(place, tmp_path, monkeypatch, within_limits):
    monkeypatch.chdir(tmp_path)
    with fsspec.open(place, "wb") as stream:
        stream.write(b"a.png\n" + b"a" * 2**23)
    with within_limits(), pytest.raises(ZSLError, match=rf"^{place}: a line of 4,194,304 characters or more"):
        list(of_place(place))


def test_tar_shards_are_read_where_they_lie(tmp_path, picture):
    for shard in range(3):
        pack(tmp_path / f"part-{shard:02}.tar", {f"{shard}/x.png": picture(shard), f"{shard}/x.cls": b"7"})
    expected = [picture(0), picture(1), picture(2)]
    assert contents(str(tmp_path / "part-{00..02}.tar")) == expected
    assert contents(str(tmp_path / "part-*.tar")) == expected
    assert contents(str(tmp_path / "part-01.tar")) == expected[1:2]


def test_tar_members_that_lead_out_are_refused(tmp_path, picture):
    path = tmp_path / "bad.tar"
    pack(path, {"../up.png": picture(0), "/etc/x.png": picture(1), "fine.png": picture(2)})
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    up, absolute, fine, linked = of_place(str(path))
    assert read(fine) == picture(2)
    assert [missing.reason.split()[-2:] for missing in (up, absolute)] == [["the", "archive"]] * 2
    assert "link" in linked.reason


def test_sizes_that_are_only_claimed_take_no_memory(tmp_path, picture, within_limits):
    with (tmp_path / "sparse.png").open("wb") as sparse:
        sparse.truncate(2**40)
    pack(tmp_path / "lying.tar", {"a.png": picture(0)})
    content = bytearray((tmp_path / "lying.tar").read_bytes())
    content[124:136] = b"%011o\0" % (2**33 - 1)
    content[148:156] = b"%06o\0 " % (sum(content[:148]) + 8 * 32 + sum(content[156:512]))
    (tmp_path / "lying.tar").write_bytes(content)
    (sparse,) = of_place(str(tmp_path))
    lying = next(iter(of_place(str(tmp_path / "lying.tar"))))
    assert lying.size == 2**33 - 1
    with within_limits():
        with pytest.raises(BadImage, match="scale it down"):
            read(sparse)
        assert read(lying).startswith(picture(0))
        with pytest.raises(BadImage):
            read(lying._replace(start=2**70))


def test_zip_archives_are_not_opened(tmp_path, picture):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../up.png", picture(0))
    with pytest.raises(ZSLError, match=r"evil\.zip: a compressed archive; unpack it and give the folder"):
        of_place(str(tmp_path / "evil.zip"))
    assert [path.name for path in tmp_path.iterdir()] == ["evil.zip"]


@pytest.mark.parametrize("place", ["a.tar.gz", "part-{0..1}.TGZ", "memory://shards/*.tar.bz2", "a.tar.xz"])
def test_compressed_archives_are_to_be_unpacked(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ZSLError, match=rf"^{re.escape(place)}: a compressed archive; .* or make a plain \.tar of it$"):
        of_place(place)


def test_a_folder_may_be_named_like_a_compressed_archive(tmp_path, picture):
    (tmp_path / "birds.zip").mkdir()
    (tmp_path / "birds.zip" / "x.png").write_bytes(picture(0))
    assert contents(str(tmp_path / "birds.zip")) == [picture(0)]


@pytest.mark.parametrize(
    "place", ["empty", "empty.txt", "empty.tar", "none/*.tar", "memory://void", "memory://v/*.tar"]
)
def test_a_place_without_images_is_an_error(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("empty", "notes.md").touch()
    Path("empty.txt").write_text("\n\n")
    pack(Path("empty.tar"), {"notes.md": b""})
    fsspec.filesystem("memory").pipe("/void/notes.md", b"")
    with pytest.raises(ZSLError, match=rf"^{re.escape(place)}: no images there; check the path"):
        list(of_place(place))


@pytest.mark.parametrize("place", ["none.tar", "part-{0..1}.tar", "memory://none.tar"])
def test_an_archive_that_is_not_there_is_named(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    archive = place.replace("{0..1}", "0")
    with pytest.raises(ZSLError, match=f"^{archive}: no such file; check the path$"):
        list(of_place(place))


class Locked(fsspec.AbstractFileSystem):
    """An address whose driver wants credentials, and says so in an error of its own kind."""

    protocol = "locked"

    def info(self, path, **_):
        raise RuntimeError("no credentials\nand more")

    isdir = isfile = ls = info


@pytest.mark.parametrize(
    "place", ["locked://b/x", "locked://b/x.txt", "locked://b/x.tar", "locked://b/*.tar", "foo://x"]
)
def test_an_address_that_cannot_be_opened_is_explained(place):
    fsspec.register_implementation("locked", Locked, clobber=True)
    why = "Protocol not known: foo" if place.startswith("foo") else "no credentials"
    with pytest.raises(ZSLError) as caught:
        list(of_place(place))
    expected = f"{place}: cannot be opened ({why}); check the address, install its driver or set its credentials"
    assert str(caught.value) == expected


def test_listed_images_at_an_address_that_cannot_be_opened_are_missing(tmp_path):
    fsspec.register_implementation("locked", Locked, clobber=True)
    (tmp_path / "list.txt").write_text("locked://b/x.png\n")
    assert list(of_place(str(tmp_path / "list.txt"))) == [Missing("locked://b/x.png", "no credentials")]
    with pytest.raises(BadImage, match=r"^no credentials$"):
        read(ImageRef("x.png", "locked://b/x.png", b""))


def test_damaged_archives_are_explained(tmp_path, picture):
    (tmp_path / "a.tar").write_bytes(b"x" * 2000)
    with tarfile.open(tmp_path / "b.tar", "w:gz") as tar:
        tar.add(__file__, "x.png")
    for name in ("a.tar", "b.tar"):
        with pytest.raises(ZSLError, match=f"{name}: not a plain tar"):
            list(of_place(str(tmp_path / name)))


def test_fsspec_addresses(picture):
    system = fsspec.filesystem("memory")
    system.pipe({"/bucket/b.png": picture(1), "/bucket/a/a.png": picture(0), "/bucket/readme.md": b""})
    system.pipe("/bucket/list.txt", b"memory://bucket/b.png\n")
    assert contents("memory://bucket") == [picture(0), picture(1)]
    assert contents("memory://bucket/list.txt") == [picture(1)]


def test_tar_shards_behind_an_fsspec_address(tmp_path, picture):
    system = fsspec.filesystem("memory")
    for shard in range(2):
        pack(tmp_path / "part.tar", {f"{shard}/x.png": picture(shard), "../up.png": picture(9)})
        system.pipe(f"/shards/part-{shard}.tar", (tmp_path / "part.tar").read_bytes())
    for place in ("memory://shards/part-{0..1}.tar", "memory://shards/*.tar"):
        found = list(of_place(place))
        assert [read(image) for image in found if isinstance(image, ImageRef)] == [picture(0), picture(1)]
        assert sum(isinstance(image, Missing) for image in found) == 2


class Counted(MemoryFileSystem):
    """Counts what is read, and reads ahead as the drivers of addresses do."""

    protocol = "counted"
    requests: ClassVar[list[int]] = []

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("counted:/"))

    def cat_file(self, path, start=None, end=None, **_):
        content = self.store[path].getvalue()[start:end]
        self.requests.append(len(content))
        return content

    def _open(self, path, mode="rb", block_size=None, **_):
        return CountedFile(self, path, mode, block_size)


class CountedFile(AbstractBufferedFile):
    def _fetch_range(self, start, end):
        return self.fs.cat_file(self.path, start, end)


@pytest.mark.parametrize("size", [1_000, 300_000])
def test_an_archive_at_an_address_is_read_once(size, tmp_path):
    """Listing skips large members; an image is one request for its bytes alone."""
    fsspec.register_implementation("counted", Counted, clobber=True)
    pack(tmp_path / "a.tar", {f"{n}.{kind}": bytes([n]) * size for n in range(40) for kind in ("cls", "png")})
    whole = (tmp_path / "a.tar").read_bytes()
    fsspec.filesystem("memory").pipe("/counted/a.tar", whole)
    Counted.requests.clear()
    images = list(of_place("counted://counted/a.tar"))
    assert sum(Counted.requests) <= min(1.01 * len(whole), 80 * 1.1 * LISTING_BLOCK)
    Counted.requests.clear()
    assert [read(image) for image in images] == [bytes([n]) * size for n in range(40)]
    assert Counted.requests == [size] * 40
    assert read(images[0]._replace(start=len(whole) - 10)) == whole[-10:]


def test_archives_at_addresses_are_listed_side_by_side_and_in_order(tmp_path, monkeypatch):
    fsspec.register_implementation("counted", Counted, clobber=True)
    for shard in range(6):
        pack(tmp_path / "a.tar", {f"{n}.png": bytes([shard, n]) for n in range(3)})
        fsspec.filesystem("memory").pipe(f"/many/{shard}.tar", (tmp_path / "a.tar").read_bytes())
    together = Barrier(3)  # opened for good by three at once
    opened = Counted._open

    def waiting(self, *arguments, **options):
        together.wait(timeout=20)
        return opened(self, *arguments, **options)

    monkeypatch.setattr(Counted, "_open", waiting)
    assert contents("counted://many/*.tar") == [bytes([shard, n]) for shard in range(6) for n in range(3)]


def test_images_of_a_list_at_addresses_are_asked_for_side_by_side_and_in_order(tmp_path, monkeypatch, picture):
    fsspec.register_implementation("counted", Counted, clobber=True)
    fsspec.filesystem("memory").pipe({f"/listed/{number}.png": bytes([number]) for number in range(6)})
    (tmp_path / "here.png").write_bytes(picture(0))
    lines = [f"counted://listed/{number}.png" for number in range(7)]
    (tmp_path / "list.txt").write_text("\n".join([*lines[:3], "here.png", *lines[3:]]))
    together = Barrier(7)
    info = Counted.info

    def waiting(self, *arguments, **options):
        together.wait(timeout=20)
        return info(self, *arguments, **options)

    monkeypatch.setattr(Counted, "info", waiting)
    *found, gone = of_place(str(tmp_path / "list.txt"))
    assert [read(image) for image in found] == [b"\0", b"\1", b"\2", picture(0), b"\3", b"\4", b"\5"]
    assert isinstance(gone, Missing)


def test_an_archive_that_cannot_be_listed_ends_the_others(tmp_path, monkeypatch):
    fsspec.register_implementation("counted", Counted, clobber=True)
    pack(tmp_path / "a.tar", {f"{n}.png": b"x" * 2 * LISTING_BLOCK for n in range(100)})
    fsspec.filesystem("memory").pipe({f"/some/{n}.tar": (tmp_path / "a.tar").read_bytes() for n in (1, 2)})
    fsspec.filesystem("memory").pipe("/some/0.tar", b"x" * 2000)
    read_by = Counted.cat_file

    def slow(self, path, start=None, end=None, **_):
        time.sleep(0.02 if start else 0)
        return read_by(self, path, start, end)

    monkeypatch.setattr(Counted, "cat_file", slow)
    Counted.requests.clear()
    with pytest.raises(ZSLError, match=r"0\.tar: not a plain tar archive"):
        list(of_place("counted://some/*.tar"))
    assert len(Counted.requests) < 100, "the others, of 200 requests, are not listed to their ends"


def test_a_whole_image_at_an_address_is_one_request(monkeypatch):
    fsspec.register_implementation("counted", Counted, clobber=True)
    fsspec.filesystem("memory").pipe({"/photos/a.png": b"x" * 1000, "/photos/b.png": b"", "/photos/c.png": b"c" * 2001})
    monkeypatch.setattr(image_sources, "MAX_BYTES", 2000)
    first, empty, large = of_place("counted://photos")
    Counted.requests.clear()
    assert read(first) == b"x" * 1000
    assert empty == Missing("b.png", "the file is empty (0 bytes)")
    with pytest.raises(BadImage, match="more than 2,000 bytes"):
        read(large)
    assert Counted.requests == [1000, 2001]


def test_images_in_s3(tmp_path, monkeypatch, picture):
    """A server of the S3 protocol: a range ends before its end, and an empty object has none."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    driver = pytest.importorskip("s3fs").S3FileSystem
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
            monkeypatch.setenv(f"AWS_{name}", "anything")
        driver.clear_instance_cache()
        system = fsspec.filesystem("s3")
        system.mkdir("pictures")  # the server holds buckets for all tests of a process
        pack(tmp_path / "a.tar", {f"{number}.png": picture(number) for number in range(3)})
        system.pipe("pictures/a.tar", (tmp_path / "a.tar").read_bytes())
        system.pipe({"pictures/photos/a.png": picture(7), "pictures/photos/b.png": b""})
        assert contents("s3://pictures/*.tar") == [picture(0), picture(1), picture(2)]
        first, empty = of_place("s3://pictures/photos")
        assert read(first) == picture(7)
        assert empty == Missing("b.png", "the file is empty (0 bytes)")
        with pytest.raises(BadImage):
            read(first._replace(path="s3://pictures/photos/gone.png"))
    finally:
        server.stop()
        driver.clear_instance_cache()


class Rangeless(BaseHTTPRequestHandler):
    """A web server that sends whole files, whatever range is asked for."""

    content: ClassVar[bytes] = b""
    date = "Mon, 01 Jan 2024 00:00:00 GMT"

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.send_header("Last-Modified", self.date)
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        self.wfile.write(self.content)

    def log_message(self, *_):
        pass


@pytest.fixture
def rangeless() -> Iterator[str]:
    pytest.importorskip("aiohttp")
    with ThreadingHTTPServer(("127.0.0.1", 0), Rangeless) as server:
        Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_web_server_without_ranges(rangeless, tmp_path, monkeypatch, picture):
    """A whole image comes from it; a member of an archive is refused, and not taken for the archive's first bytes."""
    monkeypatch.setattr(Rangeless, "content", picture(0))
    image = whole_file("x", f"{rangeless}/x.png")
    assert read(image) == picture(0)
    assert whole_file("x", f"{rangeless}/x.png") == image
    with pytest.raises(BadImage, match="sends whole files, not ranges of them"):
        read(image._replace(start=512, size=20))
    pack(tmp_path / "a.tar", {"a.png": b"x" * 100_000, "b.png": b""})
    monkeypatch.setattr(Rangeless, "content", (tmp_path / "a.tar").read_bytes())
    with pytest.raises(ZSLError, match=r"/a\.tar: cannot be opened \(.*range requests"):
        list(of_place(f"{rangeless}/a.tar"))
    monkeypatch.setattr(Rangeless, "date", "Tue, 02 Jan 2024 00:00:00 GMT")
    assert whole_file("x", f"{rangeless}/x.png").token != image.token


def test_fsspec_local_address_gives_what_the_folder_gives(pictures):
    folder = pictures(3)
    assert contents(f"file://{folder}") == contents(str(folder))


def test_a_changed_file_has_another_token(tmp_path, picture):
    path = tmp_path / "x.png"
    path.write_bytes(picture(0))
    before = whole_file("x", str(path))
    assert before == whole_file("x", str(path))
    path.write_bytes(picture(0)[:-1] + b"?")
    after = whole_file("x", str(path))
    assert isinstance(before, ImageRef)
    assert isinstance(after, ImageRef)
    assert before.token != after.token


def test_nothing_there_is_explained(tmp_path):
    for place in (str(tmp_path / "none"), str(tmp_path / "none.txt"), "memory://nowhere"):
        with pytest.raises(ZSLError, match="no such"):
            of_place(place)
