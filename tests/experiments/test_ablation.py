from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from zslcore import progress
from zslcore.datasets.dataset import Dataset, Seen
from zslcore.errors import ZSLError
from zslcore.evaluation.per_class import ClassAccuracies
from zslcore.experiments.ablation import Variant, load_variants, run_variant
from zslcore.experiments.settings import Ablation
from zslcore.io.artifacts import write_json
from zslcore.io.layers import merge
from zslcore.project.params import Resolved
from zslcore.settings import Finetune, Select, Settings, Train

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = Settings(
    select=Select(splits=1, train_epochs=(2, 4), per_unseen=(10,), classify_epochs=(5,)),
    finetune=Finetune(epochs=1),
    train=Train(hidden=16, projection=8),
)


def seen_of(data: Dataset) -> Seen:
    assert data.features is not None
    rows = data.trainval
    return Seen("toy", data.features[rows], data.labels[rows], data.signatures, data.seen, data.unseen)


def run(
    name: str,
    variants: dict[str, Variant],
    toy: Dataset,
    folder: Path,
    common: dict[str, Any] | None = None,
    features: np.ndarray | None = None,
) -> dict[str, Any]:
    main = folder / "selected.json", folder / "metrics.json"
    features = toy.features if features is None else features
    given = SETTINGS, Ablation(settings=common or {}), name, variants, toy, seen_of(toy), features, main
    return run_variant(*given, preset="best", seeds=[0, 1], device="cpu")


def test_the_full_variant_reuses_the_main_run(toy: Dataset, tmp_path: Path) -> None:
    write_json(tmp_path / "selected.json", {"train": {"epochs": 4}})
    write_json(tmp_path / "metrics.json", {"zsl": {"T1": {"mean": 12.5}}, "about": {"dataset": "toy"}})
    variants = {"full": Variant(title="full"), "same": Variant(title="same", settings={"finetune": {"enabled": True}})}
    for name in variants:
        found = run(name, variants, toy, tmp_path)
        assert found["about"]["reused"]
        assert found["zsl"]["T1"]["mean"] == 12.5
        assert found["about"]["title"] == name


def test_all_rows_share_the_settings_of_the_ablation(toy: Dataset, tmp_path: Path) -> None:
    common = {"train": {"members": 2}, "select": {"train_epochs": [3]}}
    variants = {"main": Variant(title="main"), "wide": Variant(title="wide", settings={"train": {"members": 3}})}
    for name, members in (("main", 2), ("wide", 3)):
        found = run(name, variants, toy, tmp_path, common)
        assert not found["about"]["reused"]
        assert (found["about"]["members"], found["chosen"]["train"]["epochs"]) == (members, 3)
        assert found["about"]["common"] == {"train.members": 2, "select.train_epochs": [3]}


def test_a_variant_is_its_overrides(toy: Dataset, tmp_path: Path) -> None:
    variants = {"NA": Variant(title="NA", settings={"train": {"projection": 0}, "finetune": {"enabled": False}})}
    found = run("NA", variants, toy, tmp_path)
    assert not found["about"]["reused"]
    assert set(found["zsl"]["T1"]["seeds"]) == {"0", "1"}
    assert found["chosen"]["train"]["epochs"] in (2, 4)
    again = run("NA", variants, toy, tmp_path)
    assert again == found


def test_an_end_of_what_was_tried_is_told(toy: Dataset, tmp_path: Path) -> None:
    """Of the two lengths that are tried, either is an end."""
    found = run("NA", {"NA": Variant(title="NA", settings={"train": {"projection": 0}})}, toy, tmp_path)
    (told,) = (warning for warning in found["warnings"] if not warning.startswith("seed"))
    assert told.startswith(f"train.epochs = {found['chosen']['train']['epochs']} is the ")
    assert told.endswith("est of 2, 4: add larger values to select.train_epochs and run again") or "smaller" in told
    fixed = run("x", {"x": Variant(title="x", settings={"train": {"epochs": 2}})}, toy, tmp_path)
    assert all(warning.startswith("seed") for warning in fixed["warnings"])


def test_accuracy_by_class_is_kept(toy: Dataset, tmp_path: Path) -> None:
    found = run("x", {"x": Variant(title="x", settings={"train": {"epochs": 2}})}, toy, tmp_path)
    accuracies = ClassAccuracies.read(found["classes"])
    assert (len(accuracies.zsl), len(accuracies.seen)) == (len(toy.unseen), len(toy.seen))
    assert accuracies.zsl.mean() == pytest.approx(found["zsl"]["T1"]["mean"], abs=1e-4)
    assert accuracies.seen.mean() == pytest.approx(found["gzsl"]["S"]["mean"], abs=1e-4)


def test_progress_says_what_is_under_way(toy: Dataset, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    grid = (({"train": {"projection": 4}}, {"train": {"projection": 8}}),)
    run("CLS", {"CLS": Variant(title="CLS", grid=grid)}, toy, tmp_path)
    said = capsys.readouterr().err
    assert "toy: CLS: candidates: 2/2" in said
    for seeds in (1, 2):
        assert f"toy: CLS: {seeds}/2" in said


def test_grid_is_the_product_of_its_axes_and_one_of_it_is_chosen(toy: Dataset, tmp_path: Path) -> None:
    axes = [
        [{"train": {"output": "relu"}, "finetune": {"scaling": "minmax"}}, {"train": {"output": "linear"}}],
        [{"train": {"kl_weight": 0.001}}, {"train": {"kl_weight": 0.1}}],
    ]
    variant = Variant(title="NA", settings={"train": {"projection": 0}}, grid=axes)
    assert len(variant.candidates) == 4
    assert variant.candidates[1] == {
        "train": {"projection": 0, "output": "relu", "kl_weight": 0.1},
        "finetune": {"scaling": "minmax"},
    }
    found = run("NA", {"NA": variant}, toy, tmp_path)
    assert found["settings"] in variant.candidates
    assert found["about"]["candidates"] == 4


def test_a_row_is_the_same_however_many_fits_run_at_once(
    toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = (({"train": {"projection": 4}}, {"train": {"projection": 8}}, {"train": {"projection": 0}}),)
    found = []
    for jobs in ("1", "2"):
        monkeypatch.setenv("ZSL_JOBS", jobs)
        found.append(run("CLS", {"CLS": Variant(title="CLS", grid=grid)}, toy, tmp_path))
    assert found[0] == found[1]


def test_choices_never_look_at_test_rows(toy: Dataset, tmp_path: Path) -> None:
    variants = {"NA": Variant(title="NA", settings={"train": {"projection": 0}})}
    honest = run("NA", variants, toy, tmp_path)
    assert toy.features is not None
    features = toy.features.copy()
    features[np.concatenate([toy.test_seen, toy.test_unseen])] = 1e3
    spoilt = run("NA", variants, toy, tmp_path, features=features)
    assert spoilt["chosen"] == honest["chosen"]
    assert spoilt["zsl"] != honest["zsl"]


def test_bad_rows(toy: Dataset, tmp_path: Path) -> None:
    variants = {"NA": Variant(title="NA", settings={"train": {"projectoin": 0}}), "bad": Variant(title="b")}
    with pytest.raises(ZSLError, match="did you mean 'projection'"):
        run("NA", variants, toy, tmp_path)
    with pytest.raises(ZSLError, match="unknown ablation variant 'NAA': did you mean 'NA'"):
        run("NAA", variants, toy, tmp_path)
    table = tmp_path / "variants.yaml"
    for text, problem in (
        ("NA: {title: x, setings: {}}", "did you mean 'settings'"),
        ("NA: {title: x, against: CLS}", "unknown variant 'CLS'"),
        ("NA: {title: ", "not valid YAML"),
    ):
        table.write_text(text)
        with pytest.raises(ZSLError, match=problem):
            load_variants(table)


def test_the_projects_own_table(shipped: dict[str, Resolved]) -> None:
    variants = load_variants(ROOT / "experiments" / "variants.yaml")
    pipeline = YAML(typ="safe").load((ROOT / "experiments" / "dvc.yaml").read_text())
    assert pipeline["stages"]["ablation"]["matrix"]["variant"] == list(variants)
    resolved = {name: [SETTINGS.override(over) for over in row.candidates] for name, row in variants.items()}
    assert len(resolved["NA"]) == len(resolved["CLS-SEARCHED"]) == 12
    assert all(found.train.projection == 0 for found in resolved["NA"])
    assert resolved["main"] == resolved["drawn-noise"] == [SETTINGS]
    assert resolved["CLS-GAUSS-NOISE"][0].generate.noise == 0
    for place in ("target", "encoder", "both", "synthetic"):
        assert resolved[f"noise-{place}"][0].train.noise.applies_to == place
    assert {"birds", "cub"} <= set(shipped)
    for resolved_of in shipped.values():
        for row in variants.values():
            for over in row.candidates:
                resolved_of.pipeline.override(merge(resolved_of.experiments["ablation"].settings, over))
