"""Command `params` for a method: every setting of it, with its default and its meaning."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from stages.cli import app
from tests.conftest import write_project
from zslcore.io.layers import describe
from zslcore.methods import registry

METHODS = ["eszsl", "cvae-zsl", "metric-learning", "clusterable"]


@pytest.fixture(autouse=True)
def wide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.chdir(write_project(tmp_path, resolve=False))


def shown(*arguments: str) -> dict[str, list[str]]:
    """First cell of each row -> the others."""
    done = CliRunner().invoke(app, ["params", *arguments])
    assert done.exit_code == 0, done.output
    rows = ([cell.strip() for cell in line.strip("│┃").split("│")] for line in done.output.splitlines() if "│" in line)
    return {first: rest for first, *rest in rows}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_s_settings_are_shown(method: str) -> None:
    rows = shown(method)
    settings = registry.get(method).Settings
    for name, default, meaning in describe(settings):
        value, text = rows[name]
        assert value == ("null" if default is None else str(default))
        assert text == " ".join(meaning.split()), name
    assert len(rows) == len(list(describe(settings))), "and nothing else"


def test_a_data_set_of_a_method_s_name_is_the_data_set(tmp_path: Path) -> None:
    write_project(tmp_path, data={"sae": {"best": {"train": {"lr": 0.5}}}}, resolve=False)
    assert shown("sae")["train.lr"][:2] == ["0.5", "data/sae.yaml: best"]


def test_one_setting_or_section_alone_is_shown() -> None:
    assert list(shown("toy", "train.lr")) == ["train.lr"]
    assert {name.partition(".")[0] for name in shown("toy", "classify")} == {"classify"}
    done = CliRunner().invoke(app, ["params", "toy", "train.lrr"])
    assert "unknown part 'train.lrr'" in str(done.exception)
