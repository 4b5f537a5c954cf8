"""Stages `finetune` and `train`: features and weights that belong together are replaced together."""

import errno
from pathlib import Path

import pytest

from stages import finetune, train
from tests.conftest import write_project
from zslcore.datasets import dataset as datasets
from zslcore.datasets.dataset import Dataset
from zslcore.errors import ZSLError
from zslcore.io import artifacts

TOY = {"finetune": {"epochs": 1}, "train": {"hidden": 8, "projection": 4, "epochs": 2}}
OUTPUTS = ("finetuned.h5", "finetuned.safetensors", "projected.h5", "trained.safetensors")


def write_inputs(data: Dataset) -> None:
    datasets.save(Path("artifacts/toy/dataset.h5"), data, {})
    with artifacts.create(Path("artifacts/toy/features.h5"), artifacts.FEATURES, {}) as file:
        file["features"] = data.features
    artifacts.write_json(Path("results/toy/selected.json"), {"train": {}, "generate": {}, "classify": {}})


@pytest.mark.parametrize("write", ["zslcore.io.artifacts._Writer.flush", "safetensors.numpy.save"])
def test_a_full_disk_leaves_features_and_weights_that_belong_together(
    write: str, toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def outputs() -> list[bytes]:
        return [Path("artifacts/toy", name).read_bytes() for name in OUTPUTS]

    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, data={"toy": TOY})
    write_inputs(toy)
    for stage in (finetune, train):
        stage.command("toy")
    before = outputs()
    write_project(tmp_path, {"seeds": [1]}, {"toy": TOY})  # whose outputs have other bytes
    for stage in (finetune, train):
        with monkeypatch.context() as patched:
            patched.setattr(write, full)
            with pytest.raises(ZSLError, match="No space left"):
                stage.command("toy")
        assert outputs() == before
        stage.command("toy")
        before, old = outputs(), before
        assert sum(new != kept for new, kept in zip(before, old, strict=True)) == 2


def test_a_collapsed_posterior_is_said_and_stays_with_the_features(
    toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, data={"toy": {**TOY, "train": {**TOY["train"], "kl_weight": 100.0, "epochs": 20}}})
    write_inputs(toy)
    for stage in (finetune, train):
        stage.command("toy")
    assert "toy, seed 0: warning: the posterior has collapsed: the KL term stands at" in "".join(capsys.readouterr())
    with artifacts.open_artifact(Path("artifacts/toy/projected.h5"), artifacts.PROJECTED) as file:
        assert "the posterior has collapsed" in str(file["seed=0"].attrs["warnings"])
