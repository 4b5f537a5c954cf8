"""`zsl download`, against a server on the loopback that breaks off, stalls, forgets, changes its file and lies."""

import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
from scipy.io import savemat

from stages import download as command
from zslcore.datasets import dataset as datasets
from zslcore.datasets import download, registry
from zslcore.datasets.dataset import Dataset
from zslcore.errors import ZSLError
from zslcore.project.params import Params

ROOT = Path(__file__).resolve().parents[2]
WAIT = threading.Event()


class Server(ThreadingHTTPServer):
    """Serves `content` under any path. cuts: after how many bytes each answer breaks off, one an answer."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.tag, self.status = content, '"one"', 200
        self.cuts: list[int] = []
        self.stalls = self.forgets_ranges = False
        self.starts: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/xian/xlsa17.zip"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        served = self.server
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        goes_on = bool(asked) and not served.forgets_ranges and self.headers.get("If-Range") == served.tag
        start = int(asked[1]) if asked and goes_on else 0
        served.starts.append(start)
        body = served.content[start:]
        self.send_response(206 if goes_on else served.status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", served.tag)
        self.end_headers()
        self.wfile.write(body[: served.cuts.pop(0)] if served.cuts else body)
        self.wfile.flush()
        if served.stalls:
            WAIT.wait(30)
        self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, toy: Dataset) -> bytes:
    """Two data sets as the benchmark's archive has them, one with validation classes, and files nobody asks for."""
    folder = tmp_path_factory.mktemp("archive")
    assert toy.features is not None
    padding = np.random.default_rng(0).normal(size=(len(toy.labels), 500))  # a few MiB that do not compress
    features = np.hstack([toy.features, padding])
    savemat(folder / "res101.mat", {"features": features.T, "labels": toy.labels[:, None] + 1.0})
    names = np.array(toy.classes, dtype=object)[:, None]
    splits = {f"{split}_loc": getattr(toy, split)[:, None] + 1.0 for split in datasets.SPLITS}
    savemat(folder / "att_splits.mat", {"att": toy.signatures.T, "allclasses_names": names, **splits})
    with ZipFile(folder / "x.zip", "w", ZIP_DEFLATED) as file:
        for name in ("res101.mat", "att_splits.mat"):
            for of in ("CUB", "AWA1"):
                file.write(folder / name, f"xlsa17/data/{of}/{name}")
        file.writestr("xlsa17/data/CUB/valclasses1.txt", "class 1\nclass 2\n")
        file.writestr("xlsa17/data/CUB/trainclasses1.txt", "nonsense")
        file.writestr("xlsa17/code/eval.m", "disp('hello')")
    return (folder / "x.zip").read_bytes()


@pytest.fixture
def server(archive: bytes) -> Iterator[Server]:
    with Server(archive) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        WAIT.clear()
        yield served
        WAIT.set()
        served.shutdown()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data").mkdir()
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    shutil.copyfile(ROOT / "data/cub.yaml", tmp_path / "data/cub.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_one_command_fetches_checks_and_imports(project: Path, server: Server, toy: Dataset) -> None:
    command.command("cub", url=server.url, no_dvc=True)
    assert Params().datasets[-1] == "cub"
    data = registry.source(Params().source("cub")).load("cub", Path())
    np.testing.assert_array_equal(data.labels, toy.labels)
    np.testing.assert_array_equal(data.test_unseen, toy.test_unseen)
    assert [held_out.tolist() for held_out in data.validation_splits] == [[1, 2]]
    assert sorted(path.name for path in (project / "data/cub").iterdir()) == [
        "features-res101.mat",
        "splits-att_splits.mat",
        "validation_classes1-valclasses1.txt",
    ]
    command.command("awa1", url=server.url, no_dvc=True)
    assert server.starts == [0], "the archive was there"
    left = [path.name.partition("-")[2] for path in (project / ".zsl/downloads").iterdir()]
    assert left == ["xlsa17.zip"]


def test_a_connection_that_breaks_is_gone_on_with(tmp_path: Path, server: Server) -> None:
    server.cuts = [100_000, 70_000, 500_000]
    assert download.fetch(server.url, tmp_path).read_bytes() == server.content
    block = download.CHUNK
    assert server.starts == [0, block, 2 * block, 2 * block + 500_000 // block * block]


def test_a_killed_download_goes_on_where_it_was(tmp_path: Path, server: Server) -> None:
    server.cuts, server.stalls = [2**20], True
    code = f"from pathlib import Path; from zslcore.datasets.download import fetch; fetch({server.url!r}, Path())"
    child = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in tmp_path.glob("*.part")) and time.monotonic() < deadline:
        time.sleep(0.02)
    child.kill()
    child.wait()
    server.stalls = False
    (part,) = tmp_path.glob("*.part")
    there = part.stat().st_size
    assert 0 < there < len(server.content)
    assert download.fetch(server.url, tmp_path).read_bytes() == server.content
    assert server.starts == [0, there]
    assert len([path for path in tmp_path.iterdir() if path.stat().st_size]) == 1


@pytest.mark.parametrize("change", ["another file", "no ranges", "a longer part"])
def test_a_part_of_no_use_is_fetched_anew(tmp_path: Path, server: Server, change: str) -> None:
    server.cuts = [100_000, 0]
    with pytest.raises(ZSLError, match="cannot be fetched"):
        download.fetch(server.url, tmp_path)
    if change == "another file":
        server.content, server.tag = server.content[::-1], '"two"'
    elif change == "no ranges":
        server.forgets_ranges = True
    else:
        next(tmp_path.glob("*.state")).write_text('"another"')
    assert download.fetch(server.url, tmp_path).read_bytes() == server.content


def refused(project: Path, dataset: str, url: str) -> str:
    before = (project / "params.yaml").read_bytes()
    with pytest.raises(ZSLError) as caught:
        command.command(dataset, url=url, no_dvc=True)
    assert (project / "params.yaml").read_bytes() == before
    assert not (project / "data" / dataset).exists()
    return str(caught.value)


def test_a_dead_address_says_so_and_what_else_to_do(project: Path, server: Server) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        silent = f"http://127.0.0.1:{nobody.getsockname()[1]}/xlsa17.zip"
    server.status = 404
    for url, why in (
        (server.url, "the server says 404 Not Found"),
        (silent, "no answer from the server"),
        ("ftp://127.0.0.1/x.zip", "No connection adapters"),
    ):
        said = refused(project, "cub", url)
        assert re.match(rf"{re.escape(url)}: cannot be fetched \(.*({why})", said)
        assert "--url" in said
        assert "zsl import xlsa17 --features res101.mat --splits att_splits.mat --name cub" in said


def test_what_is_no_archive_of_the_data_set_is_refused(project: Path, server: Server, archive: bytes) -> None:
    for content, problem in (
        (b"<!DOCTYPE html><p>moved", "a web page"),
        (archive[: len(archive) // 2], "damaged .* delete it"),
        (archive.replace(archive[5000:5008], b"\0" * 8), "damaged .* delete it"),
    ):
        shutil.rmtree(project / ".zsl", ignore_errors=True)
        server.content = content
        assert re.search(problem, refused(project, "cub", server.url))
    shutil.rmtree(project / ".zsl")
    server.content = archive
    assert "no res101.mat of FLO in it" in refused(project, "flo", server.url)
    assert "did you mean 'cub'" in refused(project, "cup", server.url)


def test_nothing_is_fetched_for_a_name_that_is_taken(project: Path, server: Server) -> None:
    (project / "data/cub").mkdir()
    with pytest.raises(ZSLError, match="data set 'cub' exists"):
        command.command("cub", url=server.url, no_dvc=True)
    assert server.starts == []
