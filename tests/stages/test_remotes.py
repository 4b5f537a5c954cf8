"""Results travel through a remote: a fresh clone that pulled has nothing to run."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

STAGE = "prepare@birds"
MADE = "artifacts/birds/dataset.h5"


@contextmanager
def folder_remote(project, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    project.dvc("remote", "add", "-q", "-d", "storage", str(project.folder.parent / "remote"))
    yield


@contextmanager
def s3_remote(project, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server of the S3 protocol on this machine, with a bucket."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    pytest.importorskip("dvc_s3")
    secrets = {"AWS_ACCESS_KEY_ID": "anyone", "AWS_SECRET_ACCESS_KEY": "anything", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setitem(project.environment, name, value)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        pytest.importorskip("boto3").client("s3", endpoint_url=url).create_bucket(Bucket="bucket")
        project.dvc("remote", "add", "-q", "-d", "storage", "s3://bucket/path")
        project.dvc("remote", "modify", "-q", "storage", "endpointurl", url)
        yield
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("remote", [folder_remote, s3_remote])
def test_pull_on_a_fresh_clone_leaves_nothing_to_run(
    remote, make_project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_project(tmp_path / "first", "birds")
    with remote(first, monkeypatch):
        first.dvc("repro", STAGE)
        first.commit("first state")
        made = first.bytes("artifacts")
        assert list(made) == [MADE]
        first.dvc("push", "--run-cache", STAGE)
        first.run("git", "clone", "-q", str(first.folder), str(tmp_path / "second"))
        second = type(first)(tmp_path / "second")
        second.dvc("pull", STAGE)
        assert "didn't change, skipping" in second.dvc("repro", STAGE)
        assert second.bytes("artifacts") == made

        # Another state, its cache alone kept; back at the first, the remote or else a new run restores the same bytes.
        second.set_params(lambda raw: raw["source"].update(seed=1), "data/birds.yaml")
        second.dvc("repro", STAGE)
        second.commit("second state")
        second.dvc("gc", "-w", "-f")
        second.run("git", "checkout", "-q", "HEAD~1")
        second.dvc("pull", "--run-cache", STAGE)
        assert "didn't change, skipping" in second.dvc("repro", STAGE)
        assert second.bytes("artifacts") == made
    if remote is folder_remote:
        for folder in (tmp_path / "remote", second.folder / ".dvc/cache", second.folder / "artifacts"):
            shutil.rmtree(folder)
        assert "Running stage" in second.dvc("repro", STAGE)
        assert second.bytes("artifacts") == made
        assert second.run("git", "status", "--porcelain") == ""
