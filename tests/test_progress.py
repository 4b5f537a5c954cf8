"""Progress says how far, how fast, how long still, and what went wrong so far."""

import io
import re

from rich.console import Console

from zslcore import progress as module
from zslcore.progress import progress


def test_lines_where_there_is_no_terminal(monkeypatch, capsys):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.0)
    with progress("extract", 10, "images") as advance:
        advance(0, "begun")
        advance(4)
        advance(4, "2 bad")
    begun, first, second = capsys.readouterr().err.splitlines()
    assert begun == "extract: 0/10, 0.0 images/s, begun"
    assert re.fullmatch(r"extract: 4/10, \d+ s left, [\d.]+ images/s", first)
    assert re.fullmatch(r"extract: 8/10, \d+ s left, [\d.]+ images/s, 2 bad", second)


def test_short_work_shows_nothing(capsys):
    with progress("extract", 2) as advance:
        advance(2)
    assert capsys.readouterr().err == ""


def test_a_bar_within_anothers_time_stands_below_it(monkeypatch):
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, color_system=None, width=100, height=20)
    monkeypatch.setattr(module, "CONSOLE", console)
    with progress("outer", 2), progress("inner", 3):
        console.print("a line")  # goes above the bars, which are drawn anew
    assert re.search(r"a line *\nouter .*0/2.*\ninner .*0/3", shown.getvalue())


def test_a_bar_counts_the_time_before_anything_is_done(monkeypatch):
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, color_system=None, width=100, height=20)
    monkeypatch.setattr(module, "CONSOLE", console)
    with progress("train", 5):
        console.print("a line")
    assert re.search(r"train .*0/5 0:00:00 left -:--:--", shown.getvalue())
