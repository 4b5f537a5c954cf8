"""Names of data sets: what is refused, and what is told of things that are there already."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import write_project
from zslcore.errors import ZSLError
from zslcore.project.belongings import BENCHMARKS
from zslcore.project.names import check_name
from zslcore.project.params import Params

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def params(tmp_path: Path) -> Params:
    """A project with the data set `birds`, and settings that wait for `cub`."""
    write_project(tmp_path, data={"birds": {"extract": {"batch_size": 8}}}, presets={"paper": {}}, resolve=False)
    (tmp_path / "data/cub.yaml").write_text("best: {train: {members: 6}}\n")
    return Params(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("best", "a preset is called so"),
        ("Best", "a preset is called so"),
        ("paper", "a preset is called so"),
        ("con", "Windows keeps this name"),
        ("NUL", "Windows keeps this name"),
        ("com1", "Windows keeps this name"),
        ("Birds", "'birds' is here, and Windows and macOS take the two names for one; use 'birds'"),
        ("CUB", "'cub' is here, .*; use 'cub' itself"),
        ("b" * 65, "65 characters; use 64 at most"),
        ("ä", "letters, digits, - and _ only"),
    ],
)
def test_a_name_that_is_taken_elsewhere_is_refused_also_with_replace(name: str, message: str, params: Params) -> None:
    for replace in (False, True):
        with pytest.raises(ZSLError, match=f"^name '{name}': .*{message}"):
            check_name(params, name, replace)


@pytest.mark.parametrize("place", ["data", "artifacts", "results", "experiments/results"])
def test_a_folder_whose_name_differs_by_case_is_in_the_way(place: str, params: Params) -> None:
    (params.root / place / "Wasp").mkdir(parents=True)
    with pytest.raises(ZSLError, match="'Wasp' is here"):
        check_name(params, "wasp", replace=False)


@pytest.mark.parametrize("trace", ["data/wasp", "data/wasp.dvc", "data/wasp.yaml"])
def test_a_data_set_that_is_off_the_list_is_still_there(trace: str, params: Params) -> None:
    (params.root / trace).write_text("source: {kind: birds}\n")
    with pytest.raises(ZSLError, match=r"data set 'wasp' exists; choose another --name, or --replace it"):
        check_name(params, "wasp", replace=False)
    assert check_name(params, "wasp", replace=True) == []


@pytest.mark.parametrize("name", ["wasp", "default", "cub", "console", "com", "bird", "train"])
def test_other_names_are_taken_without_a_word(name: str, params: Params) -> None:
    assert check_name(params, name, replace=False) == []


def test_what_a_name_takes_over_is_told(params: Params) -> None:
    for replace in (False, True):
        assert check_name(params, "cub", replace, like="birds") == [
            "data/cub.yaml: its settings (best), brought by the project, are replaced by those of 'birds'; leave "
            "--like out to keep them"
        ]
    assert check_name(params, "birds", replace=True) == []
    (told,) = check_name(params, "cub-fc7", replace=False)
    assert told == "its settings start from those of 'cub', whose name it begins with; --like says otherwise"
    assert check_name(params, "cub-fc7", replace=False, like="cub") == []
    (told,) = check_name(params, "eszsl", replace=False)
    assert "`zsl params eszsl` shows the data set" in told
    (params.root / "results/cub").mkdir(parents=True)
    assert check_name(params, "cub", replace=False) == [
        "results/cub: of an earlier data set of this name; `dvc repro` replaces what is there"
    ]


def test_the_benchmarks_are_the_shipped_settings_without_a_source() -> None:
    files = {path.stem: YAML(typ="safe").load(path) for path in (ROOT / "data").glob("*.yaml")}
    assert set(BENCHMARKS) == {name for name, values in files.items() if "source" not in values}
