"""Tables without a terminal, as in a log of CI: whole."""

import sys

import pytest
from rich.table import Table

from stages.common import print_table
from stages.gate import _print
from zslcore.project.gate import Row


@pytest.mark.parametrize("environment", [{}, {"COLUMNS": "40"}, {"FORCE_COLOR": "1", "COLUMNS": "40"}])
def test_rows_of_the_gate_can_be_told_apart(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    names = [f"results/flowers-of-{'a-very-long-name-' * 6}/metrics.json:gzsl.{metric}" for metric in ("H", "AUSUC")]
    _print([Row(name, "same", 1.0, 1.0, 0.5, None) for name in names])
    lines = capsys.readouterr().out.splitlines()
    for name in names:
        assert sum(name in line for line in lines) == 1
    assert not any("…" in line for line in lines)


def test_a_narrow_terminal_breaks_a_long_word_and_cuts_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    table = Table("parameter", "value")
    table.add_row("extract.batch_size_of_every_image", "tf_efficientnet_lite0")
    print_table(table)
    out = capsys.readouterr().out
    assert "…" not in out
    letters = {line.split("│")[1].strip() for line in out.splitlines() if line.startswith("│")}
    assert len(letters) > 1, "broken over lines"
