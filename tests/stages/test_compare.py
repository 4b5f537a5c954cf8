"""Experiment `compare`, in a project of its own."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from stages import compare
from stages.common import run
from tests.conftest import make_dataset, make_maps, write_data, write_project
from tests.methods.outside import importable, install
from zslcore.datasets import dataset as datasets
from zslcore.errors import ZSLError
from zslcore.experiments import compare as evaluation
from zslcore.experiments.compare import check_data, load_candidates, load_given
from zslcore.io import artifacts
from zslcore.methods import registry
from zslcore.methods.base import Method
from zslcore.methods.registry import METHODS
from zslcore.project.code import ROOT

ON_MAPS = {name for name in METHODS if registry.get(name).input == "maps"}

PARAMS = {"seeds": [0, 1], "device": "auto"}
COMPARE = {"budget": 2, "splits": 1}
GIVEN = """\
sje: {toy: {settings: {epochs: 2, scaling: l2}, calibration: 0.25}}
eszsl: {toy: {settings: {alpha: 1.0}}}
sae: {toy: {settings: {strenght: 1.0}, calibration: 0.0}}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    data = make_dataset(seen=6, unseen=3, per_class=6)
    assert data.features is not None
    write_data(tmp_path / "artifacts/toy", data)
    settle(tmp_path)
    (tmp_path / "experiments/methods.yaml").write_text(GIVEN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settle(project: Path, compare: dict[str, Any] | None = None, **params: Any) -> None:
    """Write the settings of the project, with these changes."""
    presets: dict[str, Any] = {"paper": {}}
    write_project(
        project, {**PARAMS, **params}, experiments={"compare": {**COMPARE, **(compare or {})}}, presets=presets
    )


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Methods whose measurement fits anything, as it happens."""
    fitted: list[str] = []
    fit_and_score = evaluation.fit_and_score

    def watched(method: type[Method], *rest: Any) -> Any:
        if rest[-1] == 0:  # the first seed
            fitted.append(method.name)
        return fit_and_score(method, *rest)

    monkeypatch.setattr(evaluation, "fit_and_score", watched)
    return fitted


def result(project: Path, method: str) -> dict:
    return artifacts.read_json(project / f"experiments/results/toy/methods/{method}.json")


def change(project: Path, file: str, old: str, new: str) -> None:
    text = (project / file).read_text()
    assert old in text
    (project / file).write_text(text.replace(old, new))


def test_given_settings_and_calibration_are_used_as_they_are(project: Path) -> None:
    compare.command("sje")
    found = result(project, "sje")
    assert found["about"]["settings"]["epochs"] == 2
    assert found["gzsl"]["calibration"]["mean"] == found["about"]["calibration"] == 0.25
    assert list(found["zsl"]["T1"]["seeds"]) == ["0", "1"]
    assert found["about"]["validation"] is None
    assert set(found["gzsl"]) >= {"U", "S", "H", "AUSUC"}


def test_what_is_not_given_is_chosen_on_validation_classes_and_closed_forms_run_once(project: Path) -> None:
    compare.command("eszsl,gfzsl,gfzsl-transductive", "toy")
    assert result(project, "eszsl")["about"]["settings"]["alpha"] == 1.0
    assert result(project, "eszsl")["about"]["validation"]["splits"] == 1
    assert list(result(project, "eszsl")["zsl"]["T1"]["seeds"]) == ["0"]
    assert result(project, "gfzsl")["about"]["title"] == "gfzsl"
    assert "TRANSDUCTIVE" in result(project, "gfzsl-transductive")["about"]["title"]


def test_chooses_among_given_candidates_and_lengths(project: Path) -> None:
    table = project / "experiments/among.yaml"
    table.write_text("sje: [{epochs: 4, scaling: l2}, {epochs: 4, scaling: standard}, {epochs: 4, scaling: none}]")
    settle(project, {"lengths": 2})
    compare.command("sje", choose=True, candidates=str(table))
    about = result(project, "sje")["about"]
    tried = about["validation"]["tried"]
    assert [one["settings"]["scaling"] for one in tried] == ["l2", "standard"], "the budget is two"
    assert {one["settings"]["epochs"] for one in tried} <= {2, 4}
    best = max(tried, key=lambda one: one["top1"] + one["harmonic"])
    assert {key: about["settings"][key] for key in ("scaling", "epochs")} == best["settings"]
    assert about["calibration"] == best["calibration"], "not the given one"


def test_settings_from_another_table(project: Path) -> None:
    (project / "other.yaml").write_text("sje: {toy: {settings: {epochs: 1}, calibration: 0.5}}")
    compare.command("sje", given="other.yaml")
    assert result(project, "sje")["about"]["settings"]["epochs"] == 1
    assert result(project, "sje")["about"]["calibration"] == 0.5

    assert result(project, "sje")["about"]["given"] == "other.yaml"
    shutil.rmtree(project / "experiments/results")
    with pytest.raises(ZSLError, match=r"other\.yaml: no row eszsl: toy; add one"):
        compare.command("sje,eszsl", given="other.yaml")
    assert not (project / "experiments/results").exists(), "said before anything is measured"


def test_the_papers_preset_takes_the_papers_settings_where_they_are_known(project: Path) -> None:
    settle(project, preset="paper")
    (project / "experiments/paper.yaml").write_text("sje: {toy: {settings: {epochs: 3}, calibration: 0.5}}")
    compare.command("sje,eszsl")
    found = {method: result(project, method)["about"] for method in ("sje", "eszsl")}
    assert {method: about["given"] for method, about in found.items()} == {"sje": compare.PAPER, "eszsl": compare.GIVEN}
    assert found["sje"]["settings"]["epochs"] == 3


def test_the_same_inputs_give_the_same_bytes(project: Path) -> None:
    file = project / "experiments/results/toy/methods/eszsl.json"
    compare.command("eszsl")
    first = file.read_bytes()
    shutil.rmtree(project / ".zsl")
    compare.command("eszsl")
    assert file.read_bytes() == first


def test_the_same_bytes_however_many_methods_run_at_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One, two methods side by side, or, with more cores than methods, each method's fits."""
    results, found = project / "experiments/results/toy/methods", []
    for jobs in ("1", "2", "8"):
        monkeypatch.setenv("ZSL_JOBS", jobs)
        shutil.rmtree(project / ".zsl", ignore_errors=True)
        with pytest.raises(ZSLError, match="2 of 3 measured"):
            compare.command()
        found.append({file.name: file.read_bytes() for file in results.iterdir()})
        shutil.rmtree(results)
    assert found[0] == found[1] == found[2]


def test_what_is_done_is_kept_and_what_changed_is_measured_anew(
    project: Path, fits: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    change(project, "experiments/methods.yaml", "strenght", "strength")

    def measured() -> list[str]:
        fits.clear()
        compare.command()
        return list(fits)

    assert measured() == ["sje", "eszsl", "sae"], "all that have a row"
    before = {method: result(project, method) for method in ("sje", "eszsl", "sae")}
    shutil.rmtree(project / "experiments/results")
    assert measured() == []
    assert {method: result(project, method) for method in before} == before
    change(project, "experiments/methods.yaml", "calibration: 0.25", "calibration: 0.5")
    assert measured() == ["sje"]
    assert result(project, "sje")["about"]["calibration"] == 0.5
    code = compare.code
    with monkeypatch.context() as edited:
        edited.setattr(compare, "code", lambda name: code(name) + (" edited" if name == "sae" else ""))
        assert measured() == ["sae"]
        assert measured() == []
    changes: dict[str, Any] = {}
    for name, value in (("compare", {"budget": 1}), ("seeds", [0]), ("device", "cpu")):
        changes[name] = value
        settle(project, **changes)
        assert measured() == ["sje", "eszsl", "sae"], name
        assert measured() == []
    with artifacts.open_artifact(project / "artifacts/toy/features.h5", artifacts.FEATURES) as file:
        features = file["features"][()]
    with artifacts.create(project / "artifacts/toy/features.h5", artifacts.FEATURES, {}) as file:
        file["features"] = features + 1
    assert measured() == ["sje", "eszsl", "sae"]


def test_a_choice_is_made_anew_among_other_candidates_only(project: Path, fits: list[str]) -> None:
    def chosen(candidate: str) -> Any:
        (project / "among.yaml").write_text(f"sje: [{candidate}]")
        compare.command("sje", choose=True, candidates="among.yaml")
        return result(project, "sje")["about"]["settings"]["scaling"]

    assert chosen("{epochs: 1, scaling: l2}") == "l2"
    assert chosen("{epochs: 1, scaling: l2}") == "l2"
    assert fits == ["sje"]
    assert chosen("{epochs: 1, scaling: standard}") == "standard"
    assert fits == ["sje", "sje"]


def test_an_edited_file_concerns_the_methods_that_import_it(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "zslcore", tmp_path / "zslcore")

    def keys() -> dict[str, str]:
        return {name: compare.code(name, root=tmp_path) for name in METHODS}

    def touched(file: str, line: str = "EDITED = True") -> set[str]:
        before = keys()
        with (tmp_path / file).open("a") as out:
            out.write(f"{line}\n")
        return {name for name, key in keys().items() if key != before[name]}

    assert touched("zslcore/methods/ale.py", "# a comment") == set()
    assert touched("zslcore/methods/ale.py") == {"ale"}
    assert touched("zslcore/methods/_ranking.py") == {"ale", "devise", "latem", "sje", "sse"}
    assert touched("zslcore/methods/registry.py") == set(), "a new method is no reason to measure the others"
    assert touched("zslcore/report/page.py") == set()
    assert touched("zslcore/evaluation/metrics.py") == set(METHODS)


def test_a_killed_run_goes_on_where_it_was(project: Path, fits: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(registry.get("eszsl"), "fit", killed)
        with pytest.raises(KeyboardInterrupt):
            compare.command("sje,eszsl")
    fits.clear()
    compare.command("sje,eszsl")
    assert fits == ["eszsl"]


def test_a_method_that_fails_costs_no_other(project: Path, fits: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(compare.command)
    assert ended.value.code == 1
    *measured, error, reason = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in measured] == ["toy, sje", "toy, eszsl"]
    assert error == "error: 2 of 3 measured; not measured:"
    assert reason.startswith("toy, sae: ")
    assert "unknown parameter 'strenght'; did you mean 'strength'" in reason
    results = project / "experiments/results/toy/methods"
    assert sorted(file.name for file in results.iterdir()) == ["eszsl.json", "sje.json"]
    change(project, "experiments/methods.yaml", "strenght", "strength")
    fits.clear()
    compare.command()
    assert fits == ["sae"]


@pytest.mark.parametrize(
    ("methods", "sets", "message"),
    [
        ("ezsl", "toy", "unknown method 'ezsl'.*did you mean 'eszsl'"),
        ("sje,ezsl", "toy", "unknown method 'ezsl'.*did you mean 'eszsl'"),
        ("eszsl", "tyo", "did you mean 'toy'"),
        ("eszsl", "toy,tyo", "did you mean 'toy'"),
        ("sae", "toy", "unknown parameter 'strenght'; did you mean 'strength'"),
    ],
)
def test_errors_for_people(project: Path, methods: str, sets: str, message: str) -> None:
    with pytest.raises(ZSLError, match=message):
        compare.command(methods, sets)
    assert not (project / "experiments/results").exists()


def test_a_damaged_table_of_settings_is_named(tmp_path: Path) -> None:
    (tmp_path / "methods.yaml").write_text("a: [")
    with pytest.raises(ZSLError, match=r"methods\.yaml: not valid YAML"):
        load_given(tmp_path / "methods.yaml")
    (tmp_path / "methods.yaml").write_text("sje: {toy: {calibraton: 0.0}}")
    with pytest.raises(ZSLError, match=r"methods\.yaml: sje: toy: .*did you mean 'calibration'"):
        load_given(tmp_path / "methods.yaml")
    (tmp_path / "methods.yaml").write_text("my-method: {}\nale:\nsje: {toy: }")
    assert load_given(tmp_path / "methods.yaml") == {"my-method": {}, "ale": {}, "sje": {}}


def test_a_candidate_that_is_none_is_refused_by_its_number(project: Path) -> None:
    (project / "among.yaml").write_text("sje: [{epochs: 2}, {epochs: 0}]")
    with pytest.raises(ZSLError, match=r"method 'sje', candidate 2: epochs"):
        compare.command("sje", choose=True, candidates="among.yaml")


def test_candidates_are_a_list_of_settings(tmp_path: Path) -> None:
    path = tmp_path / "among.yaml"
    path.write_text("sje: {epochs: 2}\nale: [{epochs: 2}]")
    assert load_candidates(path, "ale") == [{"epochs": 2}]
    assert load_candidates(path, "eszsl") is None
    with pytest.raises(ZSLError, match=r"among\.yaml: sje: expected a list"):
        load_candidates(path, "sje")


def test_coinciding_signatures_are_named(project: Path) -> None:
    data = make_dataset(seen=4, unseen=2)
    data.signatures[5] = data.signatures[1]
    with pytest.raises(ZSLError, match="'class 1', 'class 5' coincide"):
        check_data(data)
    write_data(project / "artifacts/toy", data)
    with pytest.raises(ZSLError, match=r"^data set 'toy': .*'class 1', 'class 5' coincide"):
        compare.command()


def test_checkpoints_of_a_method_that_writes_them_stand_in_the_folder(project: Path) -> None:
    tiny = "{hidden: 8, epochs: 4, generate: {per_unseen: 5}, classify: {epochs: 2}}"
    given = f"cvae-zsl: {{toy: {{settings: {tiny}, calibration: 0.0}}}}\n"
    (project / "experiments/methods.yaml").write_text(GIVEN + given)
    compare.command("cvae-zsl,sje", checkpoints=project / "checkpoints")
    names = sorted(file.name for file in (project / "checkpoints").iterdir())
    assert [name.rpartition("-")[0] for name in names] == ["cvae-zsl-0", "cvae-zsl-1"], "one a seed"


def test_a_method_of_another_package(project: Path, fits: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Named by its class: its result stands under its name, and an edit of its package measures it anew."""
    importable(install(project), monkeypatch)
    for _ in range(2):
        compare.command("tiny_zsl.methods:PlainRidge,eszsl")
    assert fits == ["plain-ridge", "eszsl"], "the second run reads both back"
    assert result(project, "plain-ridge")["about"]["method"] == "plain-ridge"
    change(project, "site/tiny_zsl/numbers.py", "1.0", "2.0")
    compare.command("tiny_zsl.methods:PlainRidge,eszsl")
    assert fits == ["plain-ridge", "eszsl", "plain-ridge"]
    with pytest.raises(ZSLError, match="unknown class 'PlainRigde'"):
        compare.command("tiny_zsl.methods:PlainRigde,eszsl")


def test_every_method_that_no_other_stage_measures_has_a_row() -> None:
    assert set(METHODS) - set(load_given(ROOT / compare.GIVEN)) == {"clusterable", "metric-learning", *ON_MAPS}
    assert all(registry.get(name).name == name for name in METHODS), "results stand under one, and say the other"


def test_a_method_on_maps_reads_those_of_the_artifact(project: Path) -> None:
    """Its result says so; without maps it is told what to set."""
    with pytest.raises(ZSLError, match=r"holds no feature maps; set extract.output to both"):
        compare.command("attribute-maps")
    data = datasets.load(project / "artifacts/toy/dataset.h5", with_features=True)
    with artifacts.create(project / "artifacts/toy/features.h5", artifacts.FEATURES, {}) as file:
        file["maps"] = make_maps(data).astype("f2")
    (project / "given.yaml").write_text("attribute-maps: {toy: {settings: {epochs: 2}, calibration: 0.0}}")
    compare.command("attribute-maps", given="given.yaml")
    assert result(project, "attribute-maps")["about"]["input"] == "maps"
    with pytest.raises(ZSLError, match=r"holds feature maps alone; set extract.output to both"):
        compare.command("eszsl")
