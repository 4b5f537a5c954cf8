"""How a command ends."""

import re

import pytest
import torch
import typer
from typer.testing import CliRunner

from stages.cli import COMMANDS
from stages.cli import app as cli
from stages.common import INTERRUPTED, run


def on_a_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


def on_the_cpu() -> None:
    torch.empty(2**50)


@pytest.mark.parametrize("train", [on_a_gpu, on_the_cpu])
def test_too_little_memory_on_the_device_says_what_to_do(train, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(train)
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "smaller batch_size, or another device" in said
    assert "tried to allocate" in said.lower()
    with pytest.raises(RuntimeError):
        run(train, debug=True)


def test_ctrl_c_says_what_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer()

    @app.command()
    def train() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        run(lambda: app([]))
    assert ended.value.code == INTERRUPTED
    assert "interrupted; outputs that were complete are kept" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_no_help_loses_words_to_markup(name: str) -> None:
    said = " ".join(CliRunner().invoke(cli, [name, "--help"], env={"COLUMNS": "200"}).output.split())
    assert "Usage" in said
    assert not re.search(r" \.(\s|$)", said)


def test_a_bug_keeps_its_traceback() -> None:
    def train() -> None:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        run(train)
