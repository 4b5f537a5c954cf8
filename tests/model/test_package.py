"""The stage `package`: the very classifiers of `classify`, in one file, with a card."""

import dataclasses
import shutil
from contextlib import chdir
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from stages import inspect
from stages import package as stage
from tests.conftest import write_project
from tests.model.conftest import SETTINGS
from zslcore.datasets.dataset import Dataset
from zslcore.errors import BadFile, ZSLError
from zslcore.evaluation.metrics import harmonic_mean, per_class_top1
from zslcore.io import artifacts, rows
from zslcore.io.yaml import read_yaml
from zslcore.methods.clusterable import label_spaces
from zslcore.model.model import Model
from zslcore.project.remedies import remedy


def accuracy(model: Model, data: Dataset, rows: np.ndarray, among: str) -> float:
    assert data.features is not None
    found = model.predict_features(data.features[rows], top=1, among=among)
    position = {name: k for k, name in enumerate(data.classes)}
    return 100 * per_class_top1(data.labels[rows], np.array([position[one.classes[0]] for one in found]))


def test_each_seed_s_accuracy_is_that_of_the_metrics(packaged: Path, toy: Dataset) -> None:
    model = Model.load(packaged / "models/toy.zsl")
    metrics = artifacts.read_json(packaged / "results/toy/metrics.json")
    for seed, method in zip(model.header.seeds, model.methods, strict=True):
        header = model.header.model_copy(update={"seeds": (seed,)})
        one = dataclasses.replace(model, header=header, methods=(method,))
        unseen, seen = accuracy(one, toy, toy.test_unseen, "all"), accuracy(one, toy, toy.test_seen, "all")
        found = {
            "zsl.T1": accuracy(one, toy, toy.test_unseen, "unseen"),
            "gzsl.U": unseen,
            "gzsl.S": seen,
            "gzsl.H": harmonic_mean(unseen, seen),
        }
        for name, value in found.items():
            group, key = name.split(".")
            assert value == pytest.approx(metrics[group][key]["seeds"][str(seed)], abs=1e-9), name


def test_the_same_inputs_give_the_same_bytes(packaged: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(packaged, folder)
    with chdir(folder):
        stage.command("toy")
    for name in ("toy.zsl", "toy.md"):
        assert (folder / "models" / name).read_bytes() == (packaged / "models" / name).read_bytes()


@pytest.mark.parametrize("method", ["clusterable", "eszsl"])
def test_features_larger_than_memory_are_never_in_it_as_a_whole(
    method: str, packaged: Path, tmp_path: Path, toy: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the model is that of the same features in memory."""
    folder = tmp_path / "copy"
    shutil.copytree(packaged, folder)
    monkeypatch.setenv("ZSL_MEMORY", "1e-5")
    monkeypatch.setattr(rows, "BLOCK", 16)
    most: list[int] = []
    read = artifacts.read_rows

    def counted(source: h5py.Dataset, wanted: np.ndarray, *of: Any) -> np.ndarray:
        if source.name == "/features":
            most.append(len(wanted))
        return read(source, wanted, *of)

    monkeypatch.setattr(artifacts, "read_rows", counted)
    with chdir(folder):
        stage.command("toy", method)
    assert 0 < max(most) <= 16
    name = "toy.zsl" if method == "clusterable" else f"toy-{method}.zsl"
    found = Model.load(folder / "models" / name)
    monkeypatch.undo()
    with chdir(folder):
        stage.command("toy", method)
    expected = Model.load(folder / "models" / name)
    assert toy.features is not None
    streamed, whole = (model.predict_features(toy.features[:40]) for model in (found, expected))
    assert [one.classes for one in streamed] == [one.classes for one in whole]
    of_both = ([one.probabilities for one in each] for each in (streamed, whole))
    np.testing.assert_allclose(next(of_both), next(of_both), atol=1e-3)


def test_the_card_says_what_was_measured(packaged: Path, tmp_path: Path) -> None:
    text = (packaged / "models/toy.md").read_text()
    _, matter, page = text.split("---\n", 2)
    (tmp_path / "matter.yaml").write_text(matter)
    metrics = artifacts.read_json(packaged / "results/toy/metrics.json")
    measured = read_yaml(tmp_path / "matter.yaml")["model-index"][0]["results"][0]["metrics"]
    assert {one["type"]: one["value"] for one in measured}["T1"] == round(metrics["zsl"]["T1"]["mean"], 2)
    gap = metrics["diagnostic"]["test_selected_H"]
    assert f"| {gap['mean']:.1f} ± {gap['std']:.1f} |" in page


def test_inspect_prints_the_card(
    packaged: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(packaged)
    inspect.command(Path("models/toy.zsl"))
    shown = capsys.readouterr().out
    assert (packaged / "models/toy.md").read_text() in shown
    assert "signatures: 16 × 10, float32" in shown
    attributes = Model.load(packaged / "models/toy.zsl").attributes
    assert f"\n{','.join(['class', *attributes])}\n" in shown


def test_a_model_that_is_not_there_is_asked_for_where_it_may_be(packaged: Path, tmp_path: Path) -> None:
    def said(path: Path) -> str:
        with pytest.raises(BadFile) as caught:
            Model.load(path)
        return remedy(caught.value)

    assert said(packaged / "models/tyo.zsl") == f"did you mean {packaged}/models/toy.zsl?"
    assert said(packaged / "models/birds.zsl") == "run `dvc repro package@birds` to rebuild it"
    assert said(tmp_path / "models/toy.zsl") == "check the path, or run the command in the project's folder"


def test_another_method_is_packaged_with_its_settings(packaged: Path, tmp_path: Path, toy: Dataset) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(packaged, folder)
    (folder / "experiments/methods.yaml").write_text("eszsl: {toy: {settings: {alpha: 2.0}, calibration: 0.25}}\n")
    with chdir(folder):
        stage.command("toy", "eszsl")
    assert "\nzsl predict models/toy-eszsl.zsl IMAGES" in (folder / "models/toy-eszsl.md").read_text()
    model = Model.load(folder / "models/toy-eszsl.zsl")
    assert (model.header.settings["alpha"], model.header.calibration, model.header.seeds) == (2.0, 0.25, (3,))
    figures = model.header.about["metrics"]
    assert accuracy(model, toy, toy.test_unseen, "unseen") == pytest.approx(figures["zsl"]["T1"]["mean"])


def test_auto_packages_what_validation_classes_prefer(packaged: Path, tmp_path: Path, toy: Dataset) -> None:
    """Here ESZSL, whose settings and factor are those that `evaluate` chose; where the main one leads there, it."""
    folder = tmp_path / "copy"
    shutil.copytree(packaged, folder)
    selected, metrics = folder / "results/toy/selected.json", artifacts.read_json(folder / "results/toy/metrics.json")
    simple = metrics["eszsl"]
    worse = {name: simple["about"]["validation"][name] - 1 for name in ("T1", "H")}
    artifacts.write_json(selected, {**artifacts.read_json(selected), "validation": worse})
    write_project(folder, {"seeds": [3, 4], "package": {"method": "auto"}}, {"toy": SETTINGS})
    with chdir(folder):
        stage.command("toy")
    model = Model.load(folder / "models/toy.zsl")
    assert (model.header.method, model.header.calibration) == ("eszsl", simple["about"]["calibration"])
    assert accuracy(model, toy, toy.test_unseen, "unseen") == pytest.approx(simple["zsl"]["T1"]["mean"])
    better = {name: value + 2 for name, value in worse.items()}
    tested = {"zsl": {"T1": {"mean": 0.0}}}  # no test figure counts
    assert stage.preferred({"validation": better}, metrics | tested) == "clusterable"
    assert stage.preferred({"validation": {}}, metrics) == stage.preferred({"validation": better}, {}) == "clusterable"


def test_a_new_label_space_is_trained_once(packaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = {"striped": np.linspace(0, 1, 10), "plain": np.linspace(1, 0, 10)}
    first = Model.load(packaged / "models/toy.zsl", cache=tmp_path).with_classes(new)
    features = np.random.default_rng(0).normal(size=(5, 24)).astype(np.float32)
    expected = first.probabilities(features)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(label_spaces, "fit_classifier", never)
    again = Model.load(packaged / "models/toy.zsl", cache=tmp_path).with_classes(new)
    np.testing.assert_array_equal(again.probabilities(features), expected)
    with pytest.raises(AssertionError, match="trained again"):
        Model.load(packaged / "models/toy.zsl", cache=tmp_path).with_classes({"striped": np.linspace(0, 0.5, 10)})


def test_new_classes_leave_the_model_as_it_was(packaged: Path) -> None:
    model = Model.load(packaged / "models/toy.zsl")
    features = np.random.default_rng(0).normal(size=(5, 24)).astype(np.float32)
    grown = model.with_classes({"new": np.linspace(0, 1, 10)})
    before = model.probabilities(features)
    assert grown.probabilities(features).shape == (5, 17)
    np.testing.assert_array_equal(Model.load(packaged / "models/toy.zsl").probabilities(features), before)
    alone = model.with_classes({"a": np.linspace(0, 1, 10), "b": np.linspace(1, 0, 10)}, replace=True)
    np.testing.assert_allclose(alone.probabilities(features).sum(axis=1), 1, rtol=1e-6)


def test_an_explanation_names_attributes(packaged: Path) -> None:
    model = Model.load(packaged / "models/toy.zsl")
    features = np.random.default_rng(0).normal(size=(2, 24)).astype(np.float32)
    for one in model.predict_features(features, explain=True):
        assert {contribution.attribute for contribution in one.attributes} == set(model.attributes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda bytes_: bytes_[: len(bytes_) // 2], "damaged, or not a safetensors file"),
        (lambda bytes_: bytes_[:-1] + bytes([bytes_[-1] ^ 1]), "is damaged: its bytes are not those"),
        (lambda bytes_: b"", "damaged, or not a safetensors file"),
        (lambda bytes_: bytes_.replace(b'"version', b'"versiom'), "version None, this program reads version 1"),
        (lambda bytes_: bytes_.replace(rb'\"version\": 1}"', rb'\"version\": 7}"'), "version 7, .* update this one"),
    ],
)
def test_a_damaged_file_is_refused(packaged: Path, tmp_path: Path, change: object, message: str) -> None:
    path = tmp_path / "toy.zsl"
    path.write_bytes(change((packaged / "models/toy.zsl").read_bytes()))  # type: ignore[operator]
    with pytest.raises(BadFile, match=message):
        Model.load(path)


def test_a_method_that_is_code_elsewhere_is_not_run(packaged: Path, tmp_path: Path) -> None:
    model = Model.load(packaged / "models/toy.zsl")
    for name, message in (("os:system", "code that a file alone does not make run"), ("nix", "unknown method 'nix'")):
        header = model.header.model_copy(update={"method": name})
        dataclasses.replace(model, header=header).save(tmp_path / "other.zsl")
        with pytest.raises(ZSLError, match=message):
            Model.load(tmp_path / "other.zsl")
