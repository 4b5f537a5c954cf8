"""What README.md and docs/ name exists: links, files, commands, stages, settings. docs/lab is a record of its days."""

import re
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from stages.commands import STAGES, TOOLS
from zslcore.io.artifacts import write_json
from zslcore.io.yaml import read_yaml
from zslcore.methods import registry
from zslcore.project.gate import GateSettings
from zslcore.project.params import SECTIONS

ROOT = Path(__file__).parents[1]
TODAY = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [*TODAY, *sorted((ROOT / "docs/lab").glob("*.md"))]
FOLDERS = (
    "zslcore",
    "stages",
    "tests",
    "docs",
    "examples",
    "experiments",
    "presets",
    "bench",
    "fuzz",
    "ci",
    ".ci",
    ".github",
)
SETTINGS: dict[str, Any] = {**SECTIONS, "gate": GateSettings}
GONE = ("presets", "sources")
"""Sections that params.yaml once had."""

of_today = pytest.mark.parametrize("page", TODAY, ids=lambda page: page.name)


def code(page: Path) -> list[str]:
    """What stands in backticks, and the commands of fenced blocks."""
    blocks = page.read_text(encoding="utf-8").split("```")
    lines = [line for block in blocks[1::2] for line in block.splitlines()]
    commands = [line for line in lines if re.match(r"\s*(zsl|dvc|python|make) ", line)]
    return commands + [span for block in blocks[::2] for span in re.findall(r"`([^`]+)`", block)]


def anchors(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in link:
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@of_today
def test_every_path_of_the_repository_exists(page: Path) -> None:
    """From the root or from zslcore/; a module's name alone may be that of one in any folder."""
    names = {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*")}
    for text in code(page):
        for path in re.findall(r"(?<![\w./<>:-])[\w.-]+(?:/[\w.-]+)+/?(?![\w<*/{])|^[\w-]+\.(?:py|md)$", text):
            ours = path.split("/")[0] in FOLDERS or path.endswith((".py", ".md"))
            if ours and not path.startswith(("experiments/results", "experiments/report")):
                assert (ROOT / path).exists() or (ROOT / "zslcore" / path).exists() or path in names, path
        for module in re.findall(r"python -m ((?:zslcore|stages|tests)\.[\w.]+)", text):
            assert (ROOT / module.replace(".", "/")).with_suffix(".py").exists(), module


@of_today
def test_every_command_and_stage_exists(page: Path) -> None:
    stages = {file: read_yaml(ROOT / file)["stages"] for file in ("dvc.yaml", "experiments/dvc.yaml")}
    for text in code(page):
        for command in re.findall(r"(?<![\w.])zsl ([a-z][\w-]*)", text):
            assert command in {**STAGES, **TOOLS}, text
        for stage in re.findall(r"experiments/dvc\.yaml:([\w-]+)", text):
            assert stage in stages["experiments/dvc.yaml"], text
        for stage in re.findall(r"(?<![\w:/-])([a-z-]+)@\w", text):
            assert stage in stages["dvc.yaml"], text


@of_today
def test_every_setting_exists(page: Path) -> None:
    for text in code(page):
        for path in re.findall(r"(?<![\w./-])([a-z]+(?:\.\w+)+)(?![\w./(:-])", text):
            section, *names = path.split(".")
            if not path.endswith((".py", ".json", ".csv", ".yaml", ".txt")):
                assert section not in GONE, text
                assert section not in SETTINGS or has(SETTINGS[section], names), text


def has(model: Any, names: list[str]) -> bool:
    """Whether settings have a value of this dotted name; a mapping may have any."""
    if not names or get_origin(model) is dict:
        return True
    sections = [one for one in (model, *get_args(model)) if isinstance(one, type) and issubclass(one, BaseModel)]
    fields = {name: field.annotation for one in sections for name, field in one.model_fields.items()}
    return names[0] in fields and has(fields[names[0]], names[1:])


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        ("[a](gone.md)", test_every_relative_link_leads_somewhere),
        ("[a](#nowhere)", test_every_relative_link_leads_somewhere),
        ("`zslcore/losses.py`", test_every_path_of_the_repository_exists),
        ("`python tests/gone.py --all`", test_every_path_of_the_repository_exists),
        ("`python -m stages.code_deps`", test_every_path_of_the_repository_exists),
        ("`closure.py`", test_every_path_of_the_repository_exists),
        ("`zsl new-method mine`", test_every_command_and_stage_exists),
        ("```\ndvc repro -s trian@birds\n```", test_every_command_and_stage_exists),
        ("`dvc repro experiments/dvc.yaml:minning`", test_every_command_and_stage_exists),
        ("`train.noise.on`", test_every_setting_exists),
        ("`dvc exp run -S train.together=true`", test_every_setting_exists),
        ("`presets.cub.best.train.lr`", test_every_setting_exists),
    ],
)
def test_a_page_that_names_what_is_gone_fails(wrong: str, check: Callable[[Path], None], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n{wrong}\n")
    with pytest.raises(AssertionError):
        check(page)


def test_the_protocol_s_figures_are_drawn_from_results(tmp_path: Path) -> None:
    shutil.copy(ROOT / "results/birds/metrics.json", tmp_path)
    (tmp_path / "curve.csv").write_text("seed,calibration,unseen,seen\n0,-1,20,99\n0,0,60,97\n0,2,90,60\n")
    runpy.run_path(str(ROOT / "docs/figures.py"))["draw"](tmp_path, tmp_path)
    assert len(list(tmp_path.glob("protocol-*.png"))) == 2


def test_measured_figures_are_put_into_their_table(tmp_path: Path) -> None:
    """What was measured anew takes the place of what stood there; other methods keep their rows."""
    measured = runpy.run_path(str(ROOT / "docs/measured.py"))
    table = shutil.copy(ROOT / "docs/measured.csv", tmp_path / "measured.csv")
    figure = {"mean": 50.04, "std": 1.26, "seeds": {"0": 50.04, "1": 50.04}}
    metrics = {"zsl": {"T1": figure}, "gzsl": dict.fromkeys(("U", "S", "H", "AUSUC"), figure)}
    write_json(tmp_path / "sje.json", {"about": {"seeds": [0, 1]}, **metrics})
    before = {row["method"]: row for row in measured["read"](table)}
    measured["write"](tmp_path, table)
    after = {row["method"]: row for row in measured["read"](table)}
    assert after["sje"]["H"] == "50.0 ± 1.3"
    assert after["sje"]["seeds"] == "2"
    assert {**after, "sje": before["sje"]} == before
    assert before.keys() <= registry.METHODS.keys()
    assert [row["method"] for row in measured["pipeline"]()] == ["clusterable", "eszsl"]
