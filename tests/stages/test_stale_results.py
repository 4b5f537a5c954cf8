"""The gate and the report refuse results that are edited or out of date, with the command that mends them."""

import hashlib
from pathlib import Path

import pytest
import typer

from stages import gate, report
from stages.code import code_of
from tests.conftest import write_project
from zslcore.errors import BadFile, ZSLError
from zslcore.io.artifacts import write_json
from zslcore.project.params import Params
from zslcore.project.remedies import remedy

METRICS = Path("results/toy/metrics.json")
NAMES = ("U", "S", "H", "AUSUC")


def value(mean: float, *seeds: float) -> dict:
    return {"mean": mean, "std": 0.0, "seeds": {str(seed): one for seed, one in enumerate(seeds or (mean,))}}


def write_metrics(t1: dict) -> None:
    about = {"dataset": "toy", "split": "own", "preset": "best", "seeds": 1}
    oracle = ("test_selected_H", "selection_gap_H", "oracle_domain_U", "oracle_domain_S", "oracle_domain_H")
    groups = {"gzsl": (*NAMES, "retention"), "plain": ("U", "S", "H"), "diagnostic": oracle}
    rest = {group: {name: value(50.0) for name in names} for group, names in groups.items()}
    write_json(METRICS, {"about": about, "zsl": {"T1": t1}, **rest})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set that `dvc repro evaluate` has just measured, which is the working folder."""
    write_project(tmp_path, {}, {"toy": {}})
    monkeypatch.chdir(tmp_path)
    write_metrics(value(58.0, 57.0, 59.0))
    md5 = hashlib.md5(METRICS.read_bytes()).hexdigest()
    code = code_of("evaluate", Params().resolve("toy"))
    write_json(
        Path("dvc.lock"),  # which is YAML too
        {
            "stages": {
                "evaluate@toy": {
                    "params": {"results/toy/settings.yaml": {"preset": "best", "code.evaluate": code}},
                    "outs": [{"path": str(METRICS), "hash": "md5", "md5": md5}],
                }
            }
        },
    )
    was = {"zsl.T1.mean": 58.0, "zsl.T1.seeds.0": 57.0, "zsl.T1.seeds.1": 59.0, "gzsl.H": 50.0, "gzsl.AUSUC": 50.0}
    difference = {str(METRICS): {name: {"old": number, "new": number} for name, number in was.items()}}
    monkeypatch.setattr("zslcore.project.gate.resolve_revision", lambda against: "0" * 40)
    monkeypatch.setattr("zslcore.project.gate.check_revision", lambda commit, named: "")
    monkeypatch.setattr("zslcore.project.gate.metrics_diff", lambda commit: difference)
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    """What the gate says, which exits with 2."""
    with pytest.raises(typer.Exit) as ended:
        gate.command()
    assert ended.value.exit_code == 2
    return capsys.readouterr().err


def test_what_was_just_measured_passes(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gate.command()
    assert "gate passed" in capsys.readouterr().out
    report.command(experiments=False, with_timings=False)


def test_parameters_changed_since(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(f"{text}train: {{lr: 0.5}}\n")
    assert "train.lr is 0.001 there, but now 0.5; run `zsl resolve toy`, as `dvc repro` does" in refused(capsys)
    with pytest.raises(ZSLError, match=r"train\.lr is 0\.001 there"):
        report.command(experiments=False, with_timings=False)


def test_settings_resolved_but_nothing_run(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_project(
        project, {"gate": {"metrics": {"zsl.T1": 0.5}}, "preset": "paper"}, {"toy": {}}, presets={"paper": {}}
    )
    assert "evaluate ran with preset 'best', now it is 'paper'" in refused(capsys)
    with pytest.raises(ZSLError, match="evaluate ran with preset 'best'"):
        report.command(experiments=False, with_timings=False)


def test_code_edited_since(project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.code.code_hash", lambda *modules: "edited")
    assert "the code of evaluate was edited since it ran" in refused(capsys)


def test_metrics_edited_by_hand(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_metrics(value(99.9, 57.0, 59.0))
    assert f"{METRICS}: not the file that `dvc repro` wrote" in refused(capsys)
    Path("dvc.lock").unlink()  # then the mean still tells
    with pytest.raises(BadFile, match=r"zsl\.T1\.mean is 99\.9, which is not the mean of its seeds") as caught:
        report.command(experiments=False, with_timings=False)
    assert remedy(caught.value) == "run `dvc repro -s evaluate@toy` to rebuild it"
