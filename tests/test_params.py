import re
from pathlib import Path
from pkgutil import resolve_name

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from stages import params as params_command
from zslcore.errors import ZSLError
from zslcore.layers import describe as explain
from zslcore.layers import merge
from zslcore.project.gate import GateSettings
from zslcore.project.params import EXTRA_SECTIONS, SECTIONS, Params, load_params
from zslcore.settings import FewshotSettings

ROOT = Path(__file__).resolve().parents[1]


def raw(**changes: object) -> dict:
    base = {"datasets": ["cub"], "seeds": [0], "presets": {"cub": {"best": {"train": {"lr": 0.5}}, "paper": {}}}}
    return {**base, **changes}


def test_explicit_beats_preset_beats_default() -> None:
    assert Params(raw()).resolve("cub").train.lr == 0.5
    assert Params(raw(train={"lr": None})).resolve("cub").train.lr == 0.5
    assert Params(raw(train={"lr": 0.1})).resolve("cub").train.lr == 0.1
    assert Params(raw(preset="paper")).resolve("cub").train.lr == 1e-3


def test_nested_override_keeps_its_neighbours() -> None:
    presets = {"cub": {"best": {"train": {"noise": {"strength": 1.0, "on": "both"}}}}}
    noise = Params(raw(presets=presets, train={"noise": {"strength": 0.5, "on": None}})).resolve("cub").train.noise
    assert (noise.strength, noise.on) == (0.5, "both")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trian": {}}, "did you mean 'train'"),
        ({"classify": {"seen": "both"}}, r"seen: both learns .* generate\.per_seen is 0; set it above 0"),
        ({"select": {"train_epochs": []}}, r"train_epochs is \[\]: .* at least 1 item"),
        ({"select": {"per_unseen": [0]}}, r"per_unseen\.0 is 0: .* greater than or equal to 1"),
        ({"train": {"learning_rate": 1}}, "unknown parameter 'learning_rate'"),
        ({"train": {"epoch": 1}}, "did you mean 'epochs'"),
        ({"train": {"noise": {"strenght": 1}}}, "did you mean 'strength'"),
        ({"train": {"lr": "fast"}}, "lr is 'fast'"),
        ({"train": {"lr": -1}}, "greater than 0"),
        ({"preset": "bset"}, "did you mean 'best'"),
        ({"presets": {"cub": {"best": {"trian": {}}}}}, "did you mean 'train'"),
    ],
)
def test_bad_parameters_are_named(changes: dict, message: str) -> None:
    with pytest.raises(ZSLError, match=message):
        Params(raw(**changes)).resolve("cub")


def test_a_data_set_has_values_of_its_own_in_an_experiment() -> None:
    own = {"query": 5, "delta": {"epochs": 3}}
    section = {"query": 10, "delta": {"hidden": 64}, "datasets": {"cub": own}}
    params = Params(raw(fewshot=section))
    found = params.extra("fewshot", FewshotSettings, "cub")
    assert (found.query, found.delta.epochs, found.delta.hidden) == (5, 3, 64)
    assert params.extra("fewshot", FewshotSettings, "sun") == FewshotSettings(query=10, delta={"hidden": 64})


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ({"cbu": {}}, r"fewshot\.datasets: unknown data set 'cbu': did you mean 'cub'"),
        ({"cub": {"queries": 5}}, r"fewshot\.datasets\.cub: unknown parameter 'queries'; did you mean 'query'"),
        ({"cub": 5}, r"fewshot\.datasets\.cub is 5; give names and values"),
    ],
)
def test_bad_values_of_a_data_set_are_named(datasets: dict, message: str) -> None:
    with pytest.raises(ZSLError, match=message):
        Params(raw(fewshot={"datasets": datasets})).extra("fewshot", FewshotSettings, "sun")


def test_values_of_data_sets_that_nothing_would_read_are_refused() -> None:
    with pytest.raises(ZSLError, match="gate: unknown parameter 'datasets'"):
        Params(raw(gate={"datasets": {"cub": {}}})).extra("gate", GateSettings)


@pytest.mark.parametrize("seeds", [[], [0, 0], [-1], ["0"], None, [True]])
def test_bad_seeds(seeds: object) -> None:
    with pytest.raises(ZSLError, match="seeds"):
        _ = Params(raw(seeds=seeds)).seeds


def test_unknown_data_set() -> None:
    with pytest.raises(ZSLError, match="did you mean 'cub'"):
        Params(raw()).resolve("cud")
    with pytest.raises(ZSLError, match="zsl import"):
        Params(raw(sources={"cub": {}})).source("sun")


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(ZSLError, match="no such file"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [1")
    with pytest.raises(ZSLError, match="not valid YAML"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("- 1")
    with pytest.raises(ZSLError, match="names and values"):
        load_params(tmp_path / "params.yaml")


def test_merge_ignores_null() -> None:
    assert merge({"a": 1, "b": {"c": 2}}, {"a": None, "b": {"c": None, "d": 3}}) == {"a": 1, "b": {"c": 2, "d": 3}}


def names(model: type[BaseModel]) -> dict:
    return {
        name: names(field.annotation)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        else None
        for name, field in model.model_fields.items()
    }


def test_every_parameter_stands_in_params_yaml() -> None:
    shipped = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    for section, model in SECTIONS.items():
        assert shipped[section] == names(model), f"params.yaml: {section} does not list every parameter as null"


def test_every_preset_has_every_section() -> None:
    params = load_params(ROOT / "params.yaml")
    for dataset, presets in params.raw["presets"].items():
        for preset, sections in presets.items():
            assert set(sections) == set(SECTIONS), f"presets.{dataset}.{preset}"
            Params({**params.raw, "preset": preset}).resolve(dataset)


def test_every_parameter_says_what_it_means() -> None:
    for model in (*SECTIONS.values(), *map(resolve_name, EXTRA_SECTIONS.values())):
        for name, _, meaning in explain(model):
            assert meaning, name


@pytest.mark.parametrize("section", EXTRA_SECTIONS)
def test_sections_outside_the_presets_are_explained(
    section: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    text = "presets: {toy: {best: {}}}\n"
    (tmp_path / "params.yaml").write_text(text)
    params_command.command(None, section)
    shown = capsys.readouterr().out
    first, default, meaning = next(explain(resolve_name(EXTRA_SECTIONS[section])))
    assert re.search(rf"{section}\.{first} +│ +{re.escape(str(default))} +│ {re.escape(meaning)}", shown)
    (tmp_path / "params.yaml").write_text(
        f"{text}tsne: {{classes: 12}}\ntune: {{seed: 12, space: {{train.lr: {{low: 1, high: 2}}}}}}\n"
    )
    params_command.command("toy", section)
    value = 12 if section in ("tsne", "tune") else default
    assert re.search(rf"{section}\.{first} +│ +{re.escape(str(default))} +│ +{value} +│", capsys.readouterr().out)


def test_what_select_writes_is_chosen_or_given() -> None:
    selected = {"train": {"epochs": 3}, "generate": {"per_unseen": 5}, "classify": {"epochs": 7, "calibration": 0.5}}
    of = {
        "left open, several tried": ({}, {"train.epochs": 3, "classify.calibration": 0.5}),
        "one tried": ({"select": {"train_epochs": [3]}}, {"classify.calibration": 0.5}),
        "given": ({"train": {"epochs": 3}, "classify": {"calibration": 0.5}}, {}),
        "more tried": (
            {"train": {"epochs": 3}, "select": {"per_unseen": [5, 6], "classify_epochs": [7, 8]}},
            {"generate.per_unseen": 5, "classify.epochs": 7, "classify.calibration": 0.5},
        ),
    }
    for name, (over, expected) in of.items():
        chosen, given = Params(raw()).resolve("cub", over).chosen_and_given(selected)
        assert chosen == expected, name
        assert not chosen.keys() & given.keys()
        assert len(chosen) + len(given) == 4


def test_scores_of_r_need_r() -> None:
    params = load_params(ROOT / "params.yaml")
    assert params.resolve("cub").classify.feedback > 0
    with pytest.raises(ZSLError, match=r"'cub': classify\.feedback needs"):
        params.resolve("cub", {"train": {"feedback": 0.0}})
