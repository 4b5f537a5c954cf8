"""The command `zsl extract`: a data set or images from anywhere, a forecast, and mistakes explained."""

import logging
import shutil
import sys
from pathlib import Path

import h5py
import pytest
from typer.testing import CliRunner

from stages import prepare
from stages.cli import app, main
from tests.conftest import write_project
from zslcore.datasets import dataset as datasets
from zslcore.errors import ZSLError
from zslcore.io import artifacts

EXTRACT = {"backbone": "test_resnet.r160_in1k", "weights": "random", "image_size": 32, "precision": "fp32"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, {"extract": EXTRACT})
    Path("photos").mkdir()
    for name in ("a", "b", "c"):
        Image.effect_noise((40, 40), 50).save(f"photos/{name}.png")
    return tmp_path


def zsl(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["extract", *arguments], catch_exceptions=False)
    return result.output


def test_images_from_a_folder(project):
    zsl("--images", "photos", "--out", "out.h5")
    with h5py.File("out.h5") as file:
        assert file["names"].asstr()[()].tolist() == ["a.png", "b.png", "c.png"]
        assert file["features"].shape == (3, 96)


def test_bad_images_by_option(project):
    Path("photos/b.png").write_bytes(b"")
    with pytest.raises(ZSLError, match=r"1 of 3 images"):
        zsl("--images", "photos", "--out", "out.h5")
    zsl("--images", "photos", "--out", "out.h5", "--on-bad-image", "skip")
    with h5py.File("out.h5") as file:
        assert file["skipped"][()].tolist() == [1]


def test_what_was_decided_is_shown(project, monkeypatch, caplog, capsys):
    caplog.set_level(logging.NOTSET, "zslcore")  # so that it is put back afterwards
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # as they are without pytest
    monkeypatch.setattr(logging.lastResort, "level", logging.WARNING)
    monkeypatch.setattr(sys, "argv", ["zsl", "extract", "--images", "photos", "--out", "out.h5"])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    said = capsys.readouterr().err
    assert said.count("test_resnet.r160_in1k on cpu in fp32") == 1
    assert "decided now, on 3 images" in said
    assert not logging.getLogger().handlers, "libraries with handlers of their own would say everything twice"


def test_dry_run_counts_and_writes_nothing(project):
    before = {path.name for path in project.iterdir()}
    said = zsl("--images", "photos", "--dry-run")
    assert "3 images, 3 to compute" in said
    assert "disk" in said
    assert not (project / ".zsl").exists()
    assert {path.name for path in project.iterdir()} == before


def test_dry_run_of_given_features(project, toy):
    write_project(project, {"preset": "paper"}, presets={"paper": {}})
    Path("artifacts/toy").mkdir(parents=True)
    datasets.save(Path("artifacts/toy/dataset.h5"), toy, {})
    assert zsl("toy", "--dry-run") == "toy: its features are given; nothing is to be computed\n"
    assert not Path("artifacts/toy/features.h5").exists()


def test_images_as_those_of_a_data_set(project, toy):
    """The data set's own backbone, its settings, and what was decided on its images, whatever these look like."""
    own = {"backbone": "test_vit.r160_in1k", "image_size": 160, "precision": "auto", "batch_size": 2}
    source = {"kind": "birds", "classes": 8, "unseen": 2, "images_per_class": 4, "side": 32}
    write_project(project, {"extract": EXTRACT}, {"toy": {"source": source, "extract": own}, "given": {}})
    prepare.command("toy")
    said = zsl("--images", "photos", "--as", "toy", "--out", "early.h5")
    assert "toy: no features yet" in said
    shutil.rmtree(".zsl")
    zsl("toy")
    shutil.rmtree(".zsl")
    zsl("--images", "photos", "--as", "toy", "--out", "out.h5")
    made = [artifacts.params(Path(name), artifacts.FEATURES) for name in ("artifacts/toy/features.h5", "out.h5")]
    assert made[0]["extract"] == made[1]["extract"]
    assert made[0]["preprocessing"] == made[1]["preprocessing"]
    assert made[0]["extract"]["backbone"] == "test_vit.r160_in1k"
    datasets.save(Path("artifacts/given/dataset.h5"), toy, {})
    with pytest.raises(ZSLError, match="its features were given"):
        zsl("--images", "photos", "--as", "given", "--out", "x.h5")


def test_mistakes_are_explained(project):
    Path("empty").mkdir()
    for arguments, message in [
        ([], "name a data set"),
        (["x", "--images", "photos"], "name a data set"),
        (["--images", "photos"], "add --out"),
        (["--images", "none", "--out", "x.h5"], "no such file or folder"),
        (["--images", "photos", "--as", "tyo", "--out", "x.h5"], "did you mean 'toy'"),
        (["toy", "--as", "toy"], "--as: only for --images PLACE"),
        (["--images", "empty", "--out", "x.h5"], "empty: no images there"),
        (["--images", "empty", "--dry-run"], "empty: no images there"),
        (["toy", "--out", "x.h5"], r"artifacts/toy/features\.h5; leave --out away"),
        (["--images", "photos", "--out", "x.h5", "--workers", "2"], "--workers: only for --engine ray"),
        (["--images", "photos", "--out", "x.h5", "--cpus", "1"], "--cpus: only for --engine ray"),
        (["toy", "--workers", "2", "--address", "x:1"], "--address, --workers: only for"),
        (["--images", "photos", "--out", "x.h5", "--engine", "rai"], "did you mean 'ray'"),
        (["--images", "photos", "--out", "x.h5", "--on-bad-image", "drop"], "on_bad_image"),
    ]:
        with pytest.raises(ZSLError, match=message):
            zsl(*arguments)
        assert not Path("x.h5").exists()
