"""The stages from `finetune` to `classify`: a full disk costs nothing that was there."""

import errno
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from stages import classify, finetune, generate, train
from stages.live import live
from tests.conftest import write_data, write_project
from zslcore.datasets.dataset import Dataset
from zslcore.errors import ZSLError
from zslcore.io import artifacts
from zslcore.progress import epoch_done

TOY = {
    "finetune": {"epochs": 1},
    "train": {"hidden": 8, "projection": 4, "epochs": 2},
    "generate": {"per_unseen": 5},
    "classify": {"epochs": 1},
}
CHAIN = {
    finetune: {"finetuned.safetensors"},
    train: {"trained.safetensors"},
    generate: {"synthetic.h5"},
    classify: {"scores.h5", "model.safetensors"},
}
"""Stages in order, and what each writes."""


def write_inputs(data: Dataset) -> None:
    write_data(Path("artifacts/toy"), data)
    artifacts.write_json(Path("results/toy/selected.json"), {"train": {}, "generate": {}, "classify": {}})


@pytest.mark.parametrize(
    ("write", "writers"),
    [
        ("zslcore.io.artifacts._Writer.flush", {generate, classify}),
        ("safetensors.numpy.save", {finetune, train, classify}),
    ],
)
def test_a_full_disk_leaves_outputs_that_belong_together(
    write: str, writers: set[ModuleType], toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def outputs() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in Path("artifacts/toy").iterdir()}

    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, data={"toy": TOY})
    write_inputs(toy)
    for stage in CHAIN:
        stage.command("toy")
    before = outputs()
    write_project(tmp_path, {"seeds": [1]}, {"toy": TOY})  # whose outputs have other bytes
    for stage, names in CHAIN.items():
        if stage in writers:
            with monkeypatch.context() as patched:
                patched.setattr(write, full)
                with pytest.raises(ZSLError, match="No space left"):
                    stage.command("toy")
            assert outputs() == before
        stage.command("toy")
        before, old = outputs(), before
        assert {name for name in before if before[name] != old[name]} == names


def test_a_collapsed_posterior_is_said(
    toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, data={"toy": {**TOY, "train": {**TOY["train"], "kl_weight": 100.0, "epochs": 20}}})
    write_inputs(toy)
    for stage in (finetune, train):
        stage.command("toy")
    assert "toy, seed 0: warning: the posterior has collapsed: the KL term stands at" in "".join(capsys.readouterr())


def test_outputs_do_not_know_whether_curves_were_live(
    toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, {"seeds": [0, 1]}, {"toy": TOY})
    write_inputs(toy)

    def outputs() -> dict[str, bytes]:
        for stage in (finetune, train):
            stage.command("toy")
        names = ("artifacts/toy/finetuned.safetensors", "artifacts/toy/trained.safetensors", "results/toy/train.csv")
        return {name: Path(name).read_bytes() for name in names}

    with_curves = outputs()
    assert list(Path(".zsl/live").rglob("*.tsv")) == []
    monkeypatch.setitem(sys.modules, "dvclive", None)  # not installed
    assert outputs() == with_curves


def test_curves_whose_folder_is_gone_end_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the same stage was started a second time."""
    monkeypatch.chdir(tmp_path)
    with live("toy", "train") as of_seed, of_seed(0):
        epoch_done({"total": 2.0})
        assert list(Path(".zsl/live/toy/train/seed=0").rglob("*.tsv"))
        shutil.rmtree(".zsl/live")
        Path(".zsl/live").touch()
        epoch_done({"total": 1.0})
