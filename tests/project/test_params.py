"""The settings of a data set: layers, who wins, and what a mistake is told."""

import difflib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import modify_yaml
from pydantic import BaseModel
from ruamel.yaml import YAML

from stages import params as params_command
from stages import resolve
from stages.cli import COMMANDS
from tests.conftest import write_project
from zslcore.errors import ZSLError
from zslcore.evaluation.selected import chosen_and_given
from zslcore.experiments import settings as experiments
from zslcore.io.layers import describe, flat, merge, nested, validate
from zslcore.project.gate import GateSettings
from zslcore.project.params import BEST, PIPELINE, SECTIONS, TOP_LEVEL, Params, Resolved
from zslcore.project.resolved import load_resolved
from zslcore.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    [ROOT / "params.yaml", ROOT / "experiments/params.yaml", *ROOT.glob("presets/*.yaml"), *ROOT.glob("data/*.yaml")]
)
SNAPSHOT: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("resolved.json").read_text())
ABOUT_A_RUN = ("preset", "device", "seeds", "source")
"""What `Resolved` holds beside sections."""


def project(folder: Path, cub: dict[str, Any] | None = None, **others: Any) -> Params:
    """The settings of a project with the data set `cub`."""
    return Params(write_project(folder, data={"cub": cub or {}}, **{"resolve": False, **others}))


def cub(folder: Path, values: dict[str, Any] | None = None, **others: Any) -> Resolved:
    return project(folder, values, **others).resolve("cub")


# Layers.

LAYERS = [
    ("params.yaml", lambda value: {"params": {"train": {"hidden": value}}}),
    ("experiments/params.yaml", lambda value: {"experiments": {"train": {"hidden": value}}}),
    ("presets/paper.yaml", lambda value: {"presets": {"paper": {"train": {"hidden": value}}}}),
    ("data/cub.yaml", lambda value: {"data": {"cub": {"train": {"hidden": value}}}}),
    ("data/cub.yaml: paper", lambda value: {"data": {"cub": {"paper": {"train": {"hidden": value}}}}}),
    ("params.yaml: override", lambda value: {"params": {"override": {"train": {"hidden": value}}}}),
]
"""From the weakest to the strongest: where a value stands, and the project that holds it there."""


def test_each_layer_beats_the_one_below_and_is_named_as_the_origin(tmp_path: Path) -> None:
    values: dict[str, Any] = {"params": {"preset": "paper"}, "presets": {"paper": {}}, "data": {"cub": {}}}
    for value, (where, layer) in enumerate(LAYERS, start=1):
        values = merge(values, layer(value))
        params = Params(write_project(tmp_path, resolve=False, **values))
        assert params.resolve("cub").pipeline.train.hidden == value
        assert params.origins("cub")["train.hidden"] == where


@pytest.mark.parametrize(("where", "layer"), LAYERS, ids=[where for where, _ in LAYERS])
def test_an_error_names_the_file_that_holds_the_bad_value(where: str, layer: Any, tmp_path: Path) -> None:
    values = {"params": {"preset": "paper"}, "presets": {"paper": {}}, "data": {"cub": {"train": {"lr": 0.5}}}}
    params = Params(write_project(tmp_path, resolve=False, **merge(values, layer("many"))))
    with pytest.raises(ZSLError, match=rf"^{re.escape(where)} \(data set 'cub'\): train\.hidden is 'many': "):
        params.resolve("cub")


def test_the_default_is_what_no_file_says(tmp_path: Path) -> None:
    assert cub(tmp_path).pipeline == Settings()
    assert cub(tmp_path).experiments == {}


def test_other_presets_and_other_data_sets_do_not_count(tmp_path: Path) -> None:
    presets = {"paper": {"train": {"hidden": 1}}}
    data = {"cub": {"paper": {"train": {"hidden": 2}}}, "sun": {"train": {"hidden": 3}}}
    params = Params(write_project(tmp_path, {"preset": BEST}, data, presets=presets, resolve=False))
    assert params.resolve("cub").pipeline == Settings()
    assert params.resolve("sun").pipeline.train.hidden == 3


def test_a_nested_value_leaves_its_neighbours(tmp_path: Path) -> None:
    params = {"train": {"noise": {"strength": 1.0, "applies_to": "both"}}}
    noise = cub(tmp_path, {"best": {"train": {"noise": {"strength": 0.5}}}}, params=params).pipeline.train.noise
    assert (noise.strength, noise.applies_to) == (0.5, "both")


@pytest.mark.parametrize(
    "values", [{"generate": {"per_unseen": "auto"}}, {"paper": {"generate": {"per_unseen": "auto"}}}]
)
def test_a_data_set_hands_back_to_auto_what_a_preset_fixed(values: dict[str, Any], tmp_path: Path) -> None:
    others = {"params": {"preset": "paper"}, "presets": {"paper": {"generate": {"per_unseen": 50}}}}
    assert cub(tmp_path, **others).pipeline.generate.per_unseen == 50
    auto = {"generate": {"per_unseen": "auto"}}
    for values in (auto, {"paper": auto}):
        assert cub(tmp_path, values, **others).pipeline.generate.per_unseen == "auto"


def test_a_data_set_has_values_of_its_own_in_an_experiment(tmp_path: Path) -> None:
    own = {"fewshot": {"query": 5, "delta": {"epochs": 3}}}
    shared = {"fewshot": {"query": 10, "delta": {"hidden": 64}}}
    found: Any = cub(tmp_path, own, experiments=shared).experiments["fewshot"]
    assert (found.query, found.delta.epochs, found.delta.hidden) == (5, 3, 64)
    assert cub(tmp_path, experiments=shared).experiments["fewshot"] == experiments.Fewshot(
        query=10, delta={"hidden": 64}
    )


def test_merge_flat_and_nested() -> None:
    assert merge({"a": 1, "b": {"c": 2}}, {"a": None, "b": {"d": 3}}) == {"a": None, "b": {"c": 2, "d": 3}}
    assert merge({"a": {"b": 1}}, {"a": 2}) == {"a": 2}
    tree = {"train": {"lr": 1, "noise": {"strength": 2}}, "seeds": [0]}
    assert flat(tree) == {"train.lr": 1, "train.noise.strength": 2, "seeds": [0]}
    assert nested(flat(tree)) == tree


# Mistakes.


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trian": {}}, r"^data/cub\.yaml: unknown section 'trian': did you mean 'train'\?"),
        ({"best": {"trian": {}}}, r"^data/cub\.yaml: best: unknown section 'trian': did you mean 'train'\?"),
        ({"papre": {"train": {}}}, r"^data/cub\.yaml: unknown section 'papre': did you mean 'paper'\?"),
        ({"paper": {"trian": {}}}, r"^data/cub\.yaml: paper: unknown section 'trian'"),  # though it is not in use
        ({"classify": {"seen": "both"}}, r"seen: both learns .* generate\.per_seen is 0; set it above 0"),
        ({"select": {"train_epochs": []}}, r"train_epochs is \[\]: .* at least 1 item"),
        ({"train": {"learning_rate": 1}}, r"unknown parameter 'train\.learning_rate'; known: epochs, lr, "),
        ({"train": {"epoch": 1}}, r"unknown parameter 'train\.epoch'; did you mean 'epochs'"),
        ({"train": {"noise": {"strenght": 1}}}, r"unknown parameter 'train\.noise\.strenght'; did you mean 'strength'"),
        ({"train": {"lr": "fast"}}, r"^data/cub\.yaml \(data set 'cub'\): train\.lr is 'fast'"),
        ({"train": {"lr": -1}}, "greater than 0"),
        ({"train": {"epochs": 0}}, "train.epochs is 0: give a whole number of at least 1, or auto"),
        ({"train": {"epochs": True}}, "train.epochs is True: give a whole number of at least 1, or auto"),
        ({"classify": {"calibration": "off"}}, "classify.calibration is 'off': give a number, or auto"),
        ({"train": 5}, r"^data/cub\.yaml: train is 5; give names and values"),
        ({"train": {5: 5}}, r"^data/cub\.yaml: train: the name 5 is not text; put it in quotes"),
        ({"best": 5}, r"^data/cub\.yaml: best is 5; give names and values"),
        (
            {"fewshot": {"queries": 5}},
            r"^data/cub\.yaml .*: fewshot: unknown parameter 'queries'; did you mean",
        ),
        ({"fewshot": {"query": 0}}, r"^data/cub\.yaml .*: fewshot: query is 0"),
        ({"source": 5}, r"^data/cub\.yaml: source is 5; give names and values"),
    ],
)
def test_mistakes_in_a_data_set_s_file_are_named(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ZSLError, match=message):
        cub(tmp_path, values, presets={"paper": {}})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"trian": {}}, r"^params\.yaml: unknown parameter 'trian': did you mean 'train'\?"),
        ({"fewshot": {}}, r"^params\.yaml: unknown parameter 'fewshot'"),  # of the experiments
        (
            {"preset": "bset"},
            r"^params\.yaml: preset: unknown preset 'bset': did you mean 'best'\? Known: best, ",
        ),
        ({"override": {"trian": {}}}, r"^params\.yaml: override: unknown section 'trian': did you mean 'train'"),
        ({"override": [1]}, r"override is \[1\]; give names and values"),
        (
            {"select": {"per_unseen": [0]}},
            r"^params\.yaml .*: select\.per_unseen\.0 is 0: .* greater than or",
        ),
    ],
)
def test_mistakes_in_params_yaml_are_named(params: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ZSLError, match=message):
        cub(tmp_path, params=params, presets={"paper": {}})


def test_mistakes_in_a_preset_and_in_the_experiments_are_named(tmp_path: Path) -> None:
    with pytest.raises(ZSLError, match=r"^presets/paper\.yaml: unknown section 'trian': did you mean 'train'"):
        cub(tmp_path, params={"preset": "paper"}, presets={"paper": {"trian": {}}})
    with pytest.raises(ZSLError, match=r"^experiments/params\.yaml: unknown section 'fewshoot': did you mean"):
        cub(tmp_path, experiments={"fewshoot": {}})
    with pytest.raises(ZSLError, match=r"^experiments/params\.yaml \(data set 'cub'\): fewshot: query is 0"):
        cub(tmp_path, experiments={"fewshot": {"query": 0}})


@pytest.mark.parametrize(
    "name", ["train.lr", "train.epochs", "train.noise.strength", "extract.backbone", "train", "fewshot"]
)
def test_null_is_refused_with_what_to_do(name: str, tmp_path: Path) -> None:
    with pytest.raises(ZSLError, match=rf"^data/cub\.yaml .*: {name} is null: .*; to leave it at its default, delete"):
        cub(tmp_path, nested({name: None}))


@pytest.mark.parametrize("seeds", [[], [0, 0], [-1], ["0"], None, [True]])
def test_bad_seeds(seeds: object, tmp_path: Path) -> None:
    with pytest.raises(ZSLError, match="seeds"):
        _ = project(tmp_path, params={"seeds": seeds}).seeds


@pytest.mark.parametrize(
    ("params", "message"),
    [
        *[({"seeds": seeds}, "seeds") for seeds in ([], [0, 0], [-1], ["0"], [0.5], [True], 3, "0, 1", None)],
        *[({"device": device}, f"device is {device!r}; use auto, cpu, cuda or cuda:N") for device in ("gpu", "CPU", 0)],
        *[
            ({"device": device}, "device is .*; use auto, cpu")
            for device in ("mps", "cuda:", "cuda:x", "cuda:-1", None)
        ],
    ],
)
def test_bad_seeds_and_devices_are_refused_by_the_first_stage_and_by_params(
    params: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_project(tmp_path, params, resolve=False))
    for act in (resolve.command, params_command.command):
        with pytest.raises(ZSLError, match=rf"^params\.yaml: {message}"):
            act("toy")
    assert not Path("results").exists()


@pytest.mark.parametrize("datasets", ["birds", 5, [], None, [1], ["birds", "birds"]])
def test_bad_lists_of_data_sets(datasets: object, tmp_path: Path) -> None:
    with pytest.raises(
        ZSLError, match=r"datasets .*(give at least one name, each on a line after `- `|name each once)$"
    ):
        _ = project(tmp_path, params={"datasets": datasets}).datasets


def test_a_device_that_is_not_here_is_told_by_the_first_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(write_project(tmp_path, {"device": "cuda:0"}, resolve=False))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    resolve.command("toy")
    assert "toy: note: device 'cuda:0' asked for, but this machine has no CUDA" in capsys.readouterr().err


def test_unknown_data_set(tmp_path: Path) -> None:
    params = project(tmp_path)
    for look in (params.resolve, params.source):
        with pytest.raises(ZSLError, match=r"^data/cud\.yaml: unknown data set 'cud': did you mean 'cub'.*zsl import"):
            look("cud")
    (tmp_path / "data/sun.yaml").write_text("train: {lr: 0.1}\n")  # settings for a data set that is not here
    with pytest.raises(ZSLError, match=r"unknown data set 'sun'.* known: cub; add one with `zsl import`"):
        params.resolve("sun")
    assert params.known() == ["cub"]


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(ZSLError, match="no such file"):
        Params(tmp_path)
    for content, message in (("a: [1", "not valid YAML"), ("- 1", "names and values")):
        for name in ("data/cub.yaml", "experiments/params.yaml", "params.yaml"):
            project(tmp_path)
            (tmp_path / name).write_text(content)
            with pytest.raises(ZSLError, match=rf"{name}: .*{message}"):
                Params(tmp_path).resolve("cub")


def test_scores_of_r_need_r(tmp_path: Path) -> None:
    with pytest.raises(ZSLError, match=r"^data/cub\.yaml \(data set 'cub'\): classify\.feedback needs the mapping R"):
        cub(tmp_path, {"classify": {"feedback": 0.5}})
    assert cub(tmp_path, {"classify": {"feedback": 0.5}, "train": {"feedback": 0.1}}).pipeline.classify.feedback == 0.5


def test_gate_has_no_values_by_data_set(tmp_path: Path) -> None:
    gate = project(tmp_path, params={"gate": {"datasets": {"cub": {}}}}).top("gate")
    with pytest.raises(ZSLError, match="gate: unknown parameter 'datasets'"):
        validate(GateSettings, gate, "params.yaml: gate")


# results/<name>/settings.yaml.


def test_settings_are_written_only_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_project(tmp_path))
    file = Path("results/toy/settings.yaml")
    os.utime(file, ns=(1, 1))
    (tmp_path / "params.yaml").write_text((tmp_path / "params.yaml").read_text() + "# a comment\n")
    resolve.command("toy")
    assert file.stat().st_mtime_ns == 1
    before = file.read_text()
    write_project(tmp_path, data={"toy": {"train": {"lr": 0.5}}})
    new = [line for line in file.read_text().splitlines() if line not in before.splitlines()]
    assert new[0] == "  lr: 0.5"
    assert [line.partition(":")[0] for line in new[1:]] == ["fit"]


def test_a_stage_refuses_settings_that_are_missing_or_outdated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_project(tmp_path, resolve=False))
    with pytest.raises(
        ZSLError, match=r"^results/toy/settings\.yaml: no such file; run `zsl resolve toy`, as `dvc repro`"
    ):
        load_resolved("toy")
    write_project(tmp_path)
    assert load_resolved("toy").pipeline == Settings()
    for params, data, what in (
        ({"seeds": [1]}, {}, r"seeds is '0' there, but now '1'"),
        ({}, {"train": {"lr": 0.5}}, r"train\.lr is 0\.001 there, but now 0\.5"),
        ({}, {"source": {"kind": "birds", "seed": 1}}, r"source\.seed is None there, but now 1"),
        ({}, {"fewshot": {}}, r"fewshot\.way is None there, but now 5"),
    ):
        write_project(tmp_path, params, {"toy": data}, resolve=False)
        with pytest.raises(ZSLError, match=rf"^results/toy/settings\.yaml: {what}; run `zsl resolve toy`"):
            load_resolved("toy")
    with pytest.raises(ZSLError, match="unknown data set 'tyo': did you mean 'toy'"):
        load_resolved("tyo")


def test_the_file_holds_what_was_resolved(tmp_path: Path) -> None:
    data = {"toy": {"train": {"noise": {"strength": 0.5}}, "fewshot": {"query": 3}}}
    write_project(tmp_path, {"seeds": [3, 4]}, data)
    found = YAML(typ="safe").load((tmp_path / "results/toy/settings.yaml").read_text())
    assert found.pop("code").keys() >= {"prepare", "train", "evaluate", "fewshot"}
    resolved = Params(tmp_path).resolve("toy")
    assert found.pop("fit") == resolved.fit
    assert found.pop("backbone") == "as loaded"
    assert found == {**resolved.plain(), "seeds": "3, 4"}
    assert (found["train"]["noise"]["strength"], found["fewshot"]["query"]) == (0.5, 3)
    assert None not in flat(found).values()


# The project's own files.


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A copy of the project's settings, with a source for every data set of the snapshot."""
    for name in ("params.yaml", "experiments/params.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    (tmp_path / "data").mkdir()
    for name in {key.partition("/")[0] for key in SNAPSHOT}:
        file = ROOT / f"data/{name}.yaml"
        own = file.read_text() if file.exists() else ""
        source = "" if "source:" in own else "source: {kind: birds}\n"
        (tmp_path / f"data/{name}.yaml").write_text(source + own)
    return tmp_path


@pytest.mark.parametrize("key", SNAPSHOT)
def test_the_shipped_settings_are_those_of_the_snapshot(key: str, shipped: Path) -> None:
    """Whoever changes a value, a default or an order of layers sees here what it does to every data set.

    The snapshot has birds/best whole, and of the others what differs from it, null for what they do not have.
    """
    dataset, preset = key.split("/")
    apply_overrides(shipped / "params.yaml", [f"preset={preset}"])
    found = flat({k: v for k, v in Params(shipped).resolve(dataset).plain().items() if k not in ABOUT_A_RUN})
    expected = SNAPSHOT["birds/best"] | SNAPSHOT[key]
    assert found == {name: value for name, value in expected.items() if value is not None}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_yaml_1_1_and_1_2_read_a_file_alike(file: Path) -> None:
    """DVC's parser and others': no 1e-4 that is text to one, no on, off, yes or no, no null, no name that DVC takes."""
    text = file.read_text()
    one, two = yaml.safe_load(text), YAML(typ="safe", pure=True).load(text)
    assert repr(one) == repr(two)
    names = [part for name in flat(one) for part in name.split(".")]
    assert not {"size", "nfiles"} & set(names)
    assert None not in flat(one).values()


def names(model: type[BaseModel]) -> dict[str, Any]:
    inner = {name: field.annotation for name, field in model.model_fields.items()}
    return {
        name: names(kind) if isinstance(kind, type) and issubclass(kind, BaseModel) else None
        for name, kind in inner.items()
    }


def test_params_yaml_lists_every_parameter_in_at_most_90_lines() -> None:
    text = (ROOT / "params.yaml").read_text()
    raw = YAML(typ="safe").load(text)
    assert len(text.splitlines()) <= 90
    assert tuple(raw) == TOP_LEVEL
    for section, model in PIPELINE.items():
        assert flat(raw[section]).keys() == flat(names(model)).keys(), section
    assert raw["gate"].keys() == GateSettings.model_fields.keys()


@pytest.mark.parametrize(("name", "most"), [("dvc.yaml", 110), ("dvc.lock", 400)])
def test_a_file_of_dvc_stays_short(name: str, most: int) -> None:
    assert len((ROOT / name).read_text().splitlines()) <= most


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_dvc_rewrites_the_settings_to_the_same_bytes(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / file.name
    shutil.copyfile(file, copy)
    with modify_yaml(str(copy)):
        pass
    assert copy.read_text() == file.read_text()
    apply_overrides(copy, [])  # which writes lists anew, those of one line as several
    assert copy.read_text() == file.read_text()


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("train.lr=0.001", None),  # as it is
        ("train.lr=0.002", "  lr: 0.002"),
        ("train.epochs=20", "  epochs: 20"),
        ("train.noise.strength=0.5", "  noise: {strength: 0.5, applies_to: target}"),
        ("package.seeds=first", "package: {method: auto, seeds: first, include_backbone: false}"),
        ("preset=paper", "preset: paper"),
        ("+override.train.lr=0.5", "override:\n  train:\n    lr: 0.5"),
    ],
)
def test_an_override_of_dvc_changes_its_line_only(override: str, line: str | None, shipped: Path) -> None:
    before = (shipped / "params.yaml").read_text().splitlines()
    apply_overrides(shipped / "params.yaml", [override])
    after = (shipped / "params.yaml").read_text().splitlines()
    changed = [text[2:] for text in difflib.ndiff(before, after) if text.startswith("+ ")]
    assert [text.partition(" #")[0].rstrip() for text in changed] == ([] if line is None else line.splitlines())
    assert {text.partition(" #")[2] for text in after} == {text.partition(" #")[2] for text in before}
    Params(shipped).resolve("cub")


def test_an_override_of_dvc_wins_over_a_data_set_s_value(shipped: Path) -> None:
    assert Params(shipped).resolve("cub").pipeline.train.members == 6
    apply_overrides(shipped / "params.yaml", ["train.members=2"])
    assert Params(shipped).resolve("cub").pipeline.train.members == 6
    apply_overrides(shipped / "params.yaml", ["+override.train.members=2"])
    assert Params(shipped).resolve("cub").pipeline.train.members == 2


# What people are shown.


def test_every_parameter_says_what_it_means() -> None:
    for model in (*SECTIONS.values(), GateSettings):
        for name, _, meaning in describe(model):
            assert meaning, name


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_is_explained(
    section: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(write_project(tmp_path, resolve=False))
    monkeypatch.setenv("COLUMNS", "400")
    params_command.command(None, section)
    shown = capsys.readouterr().out
    for name, _, meaning in describe(SECTIONS[section]):
        assert re.search(rf"{section}\.{name} +│ .*│ built-in default +│ {re.escape(meaning)}", shown), name
    others = set(SECTIONS) - {section}
    assert not any(f"│ {other}." in shown for other in others)


def test_the_file_of_each_value_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    params = {"train": {"hidden": 3}, "package": {"seeds": "first"}, "override": {"train": {"lr": 0.5}}}
    experiments = {"tune": {"seed": 12, "space": {"train.lr": {"low": 1, "high": 2}}}}
    data = {"toy": {"generate": {"noise": 0.25}, "best": {"train": {"members": 4}}}}
    monkeypatch.chdir(write_project(tmp_path, params, data, experiments, resolve=False))
    monkeypatch.setenv("COLUMNS", "400")
    params_command.command("toy")
    shown = capsys.readouterr().out
    for name, value, where in (
        ("train.hidden", "3", "params.yaml"),
        ("package.seeds", "first", "params.yaml"),
        ("train.lr", "0.5", "params.yaml: override"),
        ("tune.seed", "12", "experiments/params.yaml"),
        ("generate.noise", "0.25", "data/toy.yaml"),
        ("train.members", "4", "data/toy.yaml: best"),
        ("train.epochs", "auto", "built-in default"),
    ):
        assert re.search(rf"│ {name} +│ {value} +│ {re.escape(where)} +│", shown), name


def test_an_unknown_section_or_data_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_project(tmp_path, resolve=False))
    with pytest.raises(ZSLError, match="unknown part 'trian': did you mean 'train'"):
        params_command.command("toy", "trian")
    with pytest.raises(ZSLError, match="unknown data set 'tyo': did you mean 'toy'"):
        params_command.command("tyo")


def test_help_imports_neither_torch_nor_pandas() -> None:
    program = """
import sys
from stages import cli
sys.argv = ["zsl", "--help"]
try:
    cli.main()
finally:
    print("imported:", sorted({"torch", "pandas", "dvc", "h5py"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "imported: []"
    for name in COMMANDS:
        assert re.search(rf"{name} ", done.stdout), name


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
        chosen, given = chosen_and_given(Settings().override(over), selected)
        assert chosen == expected, name
        assert not chosen.keys() & given.keys()
        assert len(chosen) + len(given) == 4
