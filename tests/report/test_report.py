import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from zslcore.errors import ZSLError
from zslcore.evaluation.per_class import write_csv
from zslcore.io.artifacts import write_json
from zslcore.project.params import Resolved
from zslcore.report.build import write_report
from zslcore.settings import Settings


def value(mean: float, *seeds: float) -> dict[str, Any]:
    return {"mean": mean, "std": 0.5, "seeds": {str(k): v for k, v in enumerate(seeds or (mean - 0.5, mean + 0.5))}}


def metrics(t1: float = 61.2) -> dict[str, Any]:
    names = ("test_selected_H", "selection_gap_H", "oracle_domain_U", "oracle_domain_S", "oracle_domain_H")
    return {
        "about": {"dataset": "cub-x", "split": "proposed split", "preset": "best", "seeds": 2},
        "zsl": {"T1": value(t1)},
        "gzsl": {name: value(50.0) for name in ("U", "S", "H", "AUSUC", "retention")},
        "plain": {name: value(33.3) for name in "USH"},
        "diagnostic": {name: value(77.7) for name in names},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_json(tmp_path / "results/cub-x/metrics.json", metrics())
    return tmp_path


def report(
    folder: Path,
    experiments: bool = False,
    bench: Path | None = None,
    best: dict[str, Any] | None = None,
    features: str | list[str] = "data/res.mat",
) -> tuple[str, str]:
    source: dict[str, Any] = {"kind": "xlsa17", "features": features, "splits": "data/att.mat"}
    if isinstance(features, list):
        source = {"kind": "features", "features": features, "labels": ["y.npy"], "signatures": "s.csv"}
    settings = Settings().override(best or {})
    resolved = Resolved("cub-x", "best", "cpu", (0, 1), source, settings, {})
    others = folder / "experiments" if experiments else None
    write_report([resolved], folder / "results", folder / "report", others, bench)
    return (folder / "report/report.md").read_text(), (folder / "report/report.html").read_text()


def test_metrics_alone_make_a_report(folder: Path) -> None:
    markdown, page = report(folder)
    assert "| cub-x | proposed split | 61.2 ± 0.5 | 50.0 ± 0.5 |" in markdown
    for optional in ("Ablation", "Clusterability", "Few-shot", "t-SNE", "Curves"):
        assert optional not in markdown
        assert optional not in page


def test_measured_and_published_are_told_apart(folder: Path) -> None:
    families = {"dap": "attribute classifiers", "eszsl": "compatibility", "sje": "compatibility"}
    scores = {"dap": value(40.5, 40.5), "eszsl": value(54.3), "sje": value(30.0)}
    for name, family in families.items():
        about = {"title": name, "family": family}
        write_json(
            folder / f"results/cub-x/methods/{name}.json", {"about": about, "zsl": {"T1": scores[name]}, "gzsl": {}}
        )
    markdown, _ = report(folder)
    assert "Families of the measured methods: attribute classifiers: dap; compatibility: eszsl, sje." in markdown
    lines = [line for line in markdown.splitlines() if "| **measured here** |" in line or "| published |" in line]
    assert "| **this pipeline** | **measured here** | **61.2 ± 0.5** |" in lines[0]
    assert "given: res.mat" in lines[0]
    assert "Xu et al." in lines[1], "published figures of the same method come right below"
    assert "| **eszsl** | **measured here** | **54.3 ± 0.5** |" in lines[2]
    assert "| ESZSL (Romera-Paredes and Torr 2015) | published | 53.9 | 12.6 | 63.8 | 21.0 |" in lines[3]
    assert "| **dap** | **measured here** | **40.5** |" in lines[4], "the best first; one run has no spread"
    assert "**33.3 ± 0.5** | **given: res.mat** | **no** | **77.7 ± 0.5** |" in lines[0], "H uncalibrated, and on test"
    assert sum("ESZSL (" in line for line in lines) == 1
    assert any("f-CLSWGAN" in line and "published" in line and line.endswith("| yes |  |") for line in lines)
    assert any("Xu et al." in line and "63.1 | 56.8 | 69.2 | 62.4" in line and "unknown" in line for line in lines)
    assert "repeats the SE-ZSL row" in markdown


@pytest.mark.parametrize(
    ("files", "named"),
    [(["a/x.npy"], "given: x.npy"), (["x.npy", "y.npy", "z.npy"], "given: x.npy, y.npy and 1 more")],
)
def test_features_given_in_several_files_are_named(folder: Path, files: list[str], named: str) -> None:
    markdown, _ = report(folder, features=files)
    assert f"| **{named}** |" in markdown


def test_eszsl_of_the_run_stands_under_the_pipeline_and_noise_is_called_noise(folder: Path) -> None:
    random = np.random.default_rng(0)
    hard = random.uniform(20, 80, 30)
    classes_csv(folder, list(hard))
    simple = {"about": {"title": "eszsl"}, "zsl": {"T1": value(61.9, 61.9)}, "gzsl": {}}
    simple["classes"] = lists(list(hard + random.normal(0, 20, 30)))
    write_json(folder / "results/cub-x/metrics.json", {**metrics(), "eszsl": simple})
    write_json(folder / "results/cub-x/methods/dem.json", {"about": {"title": "dem"}, "zsl": {"T1": value(70.0)}})
    markdown, _ = report(folder)
    summary = markdown.split("## cub-x")[0]
    assert summary.index("| cub-x | proposed split | 61.2") < summary.index("| cub-x: ESZSL, in closed form | proposed")
    table = [line for line in markdown.splitlines() if "| **measured here** |" in line]
    assert [line.split("**")[1] for line in table] == ["this pipeline", "eszsl", "dem"]
    assert "is NOT shown to differ from eszsl. What is not shown is within the noise" in markdown


def test_methods_alone_and_clip_apart(folder: Path) -> None:
    (folder / "results/cub-x/metrics.json").unlink()
    write_json(
        folder / "experiments/cub-x/methods/sae.json", {"zsl": {"T1": value(47.1)}, "gzsl": {"AUSUC": value(20)}}
    )
    clip = {"about": {"title": "CLIP tiny"}, "zsl": {"T1": value(91.2)}, "gzsl": {}}
    write_json(folder / "experiments/cub-x/reference/clip.json", clip)
    markdown, _ = report(folder, experiments=True)
    assert "No results yet" in markdown
    assert markdown.index("| **sae** | **measured here** | **47.1 ± 0.5** |") < markdown.index("| SAE (Kodirov")
    assert markdown.index("| SAE (Kodirov") < markdown.index("REFERENCE, not zero-shot") < markdown.index("| CLIP tiny")


def test_methods_on_maps_stand_in_a_block_with_their_published_rows(folder: Path) -> None:
    for name, about in {"aren": {"title": "aren", "input": "maps"}, "eszsl": {"title": "eszsl"}}.items():
        write_json(
            folder / f"results/cub-x/methods/{name}.json", {"about": about, "zsl": {"T1": value(50)}, "gzsl": {}}
        )
    markdown, _ = report(folder)
    block = markdown.index("Methods on feature maps")
    measured = markdown.index("| **aren** | **measured here** | **50.0 ± 0.5** |")
    assert markdown.index("| **eszsl** |") < markdown.index("| ESZSL (") < block < measured < markdown.index("| AREN (")
    assert markdown.count("| AREN (") == 1
    assert "**maps of given: res.mat**" in markdown[measured:]


def test_timings_stand_in_no_other_report(folder: Path) -> None:
    write_json(folder / "results/cub-x/methods/eszsl.json", {"zsl": {"T1": value(54.3)}, "gzsl": {"H": value(40.0)}})
    slow = {"fit_s": 3.0, "score_s": 1.0, "memory_mib": 250.4, "ridge_s": 0.5, "threads": 2}
    found = {"methods": {"unscored": slow, "eszsl": {**slow, "fit_s": 0.25}}}
    write_json(folder / "bench/methods-cub-x.json", found)
    assert "Time and memory" not in report(folder)[0]
    markdown, _ = report(folder, bench=folder / "bench")
    rows = [line for line in markdown.splitlines() if line.endswith("| 250 |")]
    assert rows == [
        "| eszsl | 54.3 ± 0.5 | 53.9 | 40.0 ± 0.5 | 2 | 0.25 | 1.00 | 2.5 | 250 |",
        "| unscored |  |  |  | 2 | 3.00 | 1.00 | 8.0 | 250 |",
    ]
    assert (folder / "report/figures/cub-x-time.png").exists()


def test_what_the_test_set_would_add_and_the_oracle_stand_apart(folder: Path) -> None:
    markdown, _ = report(folder)
    assert "a bound, not a result | 77.7 ± 0.5 |" in markdown
    assert "used for no claim" in markdown
    assert markdown.index("used for no claim") < markdown.index("| oracle domain | 77.7")


def test_chosen_is_what_validation_classes_chose_and_given_what_the_settings_say(folder: Path) -> None:
    values = {"train": {"epochs": 40}, "generate": {"per_unseen": 200}, "classify": {"epochs": 25, "calibration": 0.7}}
    write_json(folder / "results/cub-x/selected.json", {**values, "validation": {"T1": 60.0, "H": 50.0}})
    table = pd.DataFrame({"train_epochs": [20, 40], "T1": [50, 51], "H": [40, 42]})
    table.to_csv(folder / "results/cub-x/selection.csv")
    markdown = report(folder)[0].replace("\\", "")
    assert "test image: train.epochs = 40, classify.calibration = 0.7 (there: T1 60.0, H 50.0)." in markdown
    assert "Given by the settings: generate.per_unseen = 200, classify.epochs = 25." in markdown
    assert "calibration chosen on validation classes: the result" in markdown
    assert "Choice of the training length" in markdown
    best = {"train": {"epochs": 40}, "classify": {"calibration": 0.7}}
    markdown = report(folder, best=best)[0].replace("\\", "")
    assert "test image: nothing (there" in markdown
    assert "train.epochs = 40, generate.per_unseen = 200, classify.calibration = 0.7, classify.epochs = 25." in markdown
    assert "calibration given by the settings: the result" in markdown
    assert "Choice of the training length" not in markdown


def test_plots_are_inside_the_page(folder: Path) -> None:
    base = folder / "results/cub-x"
    pd.DataFrame({"seed": [0, 0, 1, 1], "epoch": [1, 2, 1, 2], "total": [3.0, 1, 4, 2]}).to_csv(base / "train.csv")
    pd.DataFrame({"seed": [0], "calibration": [0.1], "unseen": [30], "seen": [50]}).to_csv(base / "curve.csv")
    pd.DataFrame({"train_epochs": [20, 40], "T1": [50, 51], "H": [40, 42]}).to_csv(base / "selection.csv")
    rows = [(panel, "c", kind, 0.0, 1.0) for panel in ("a", "b") for kind in ("real", "synthetic")]
    pd.DataFrame(rows, columns=["panel", "class", "kind", "x", "y"]).to_csv(base / "tsne.csv", index=False)
    classes = pd.DataFrame({"class": ["<b>"], "kind": ["seen"], "images": [3], "gzsl": [50.0], "zsl": [np.nan]})
    classes.to_csv(base / "classes.csv", index=False)
    markdown, page = report(folder)
    assert page.count("data:image/png;base64,") == 4
    assert "&lt;b&gt;" in page
    assert {path.stem for path in (folder / "report/figures").glob("*.png")} == {
        "cub-x-training",
        "cub-x-selection",
        "cub-x-curve",
        "cub-x-tsne",
    }
    assert report(folder) == (markdown, page)


def test_what_has_collapsed_is_told_of_each_seed(folder: Path) -> None:
    last = {"total": 1.0, "kl": [7.0, 0.02], "spread": [0.35, 0.05]}
    first = {"total": 2.0, "kl": [0.1, 9.0], "spread": [0.1, 0.4]}
    epochs = [pd.DataFrame({"seed": [0, 1], "epoch": n, **values}) for n, values in enumerate((first, last), 1)]
    pd.concat(epochs).to_csv(folder / "results/cub-x/train.csv")
    markdown, page = report(folder)
    for text in (markdown, page):
        assert "Seed 1: the posterior has collapsed: the KL term stands at 0.02 nats" in text
        assert "Seed 1: M has collapsed: its outputs have a spread of 0.05" in text
        assert "Seed 0: " not in text


def test_ablation_says_which_increments_are_real(folder: Path) -> None:
    def row(position: int, against: str | None, *t1: float) -> dict[str, Any]:
        about = {"title": f"row {position}", "against": against, "row": position, "reused": False}
        about |= {"candidates": 12, "splits": 1, "members": 3}
        return {"about": about, "zsl": {"T1": value(float(np.mean(t1)), *t1)}, "gzsl": {"H": value(40.0)}}

    write_json(folder / "experiments/cub-x/ablation/NA.json", row(0, None, 50, 52, 51))
    write_json(folder / "experiments/cub-x/ablation/CLS.json", row(1, "NA", 55.1, 57, 55.9))
    write_json(folder / "experiments/cub-x/ablation/AAA.json", row(2, "CLS", 55, 57.5, 55.8))
    markdown, page = report(folder, experiments=True)
    assert "excludes 0 for: CLS over NA." in markdown
    assert "does NOT exclude 0 for: AAA over CLS." in markdown
    assert "| NA: row 0 | 3 | 12 × 1 | 51.0" in markdown
    assert markdown.index("| NA: row 0") < markdown.index("| CLS: row 1") < markdown.index("| AAA: row 2")
    assert "PUBLISHED, not measured here" in page
    assert "Ablation" not in report(folder)[0]


def test_clusterability_says_where_it_does_not_rise(folder: Path) -> None:
    def row(nmi: float, purity: float) -> dict[str, Any]:
        return {"NMI arithmetic": value(nmi), "purity": value(purity)}

    spaces = {"unseen x": row(0.5, 0.5), "unseen M(F(x))": row(0.6, 0.4)}
    spaces |= {f"seen-test {name}": row(number, number) for name, number in (("x", 0.5), ("M(F(x))", 0.7))}
    order = sorted(spaces, key=lambda name: "M" in name)  # x first, though files sort names
    write_json(
        folder / "experiments/cub-x/clusterability.json",
        {"about": {"order": order, "measures": ["purity", "NMI arithmetic"]}, "spaces": spaces},
    )
    markdown, _ = report(folder, experiments=True)
    assert "From x to M(F(x)), unseen images: clusterability does NOT rise in: purity." in markdown
    assert "From x to M(F(x)), seen-test images: clusterability rises in all measures." in markdown
    assert "MI (variant unknown)" in markdown
    assert markdown.index("| x | 0.500") < markdown.index("| **M(F(x))** |")


def test_fewshot(folder: Path) -> None:
    interval = {"mean": 70.0, "low": 69.0, "high": 71.0, "count": 600}
    lead = {"mean": 5.0, "low": 4.0, "high": 6.0, "count": 600}
    rows = {"plain": {"1-shot": {**interval, "lead": None}}, "F by Gaussian": {"1-shot": {**interval, "lead": lead}}}
    about = {"way": 5, "query": 15, "baseline": "plain", "order": list(rows), "columns": ["1-shot"]}
    write_json(folder / "experiments/cub-x/fewshot.json", {"about": about, "rows": rows})
    markdown, _ = report(folder, experiments=True)
    assert "| plain | 70.0 ± 1.0 |" in markdown
    assert "| F by Gaussian | +5.0 [+4.0, +6.0] |" in markdown
    assert "86.6" in markdown  # the published figure, in its own table


def test_damaged_and_missing_results(folder: Path) -> None:
    (folder / "results/cub-x/selected.json").write_text("{")
    with pytest.raises(ZSLError, match=r"selected.json: not valid JSON"):
        report(folder)
    (folder / "results/cub-x/selected.json").unlink()
    (folder / "results/cub-x/metrics.json").unlink()
    with pytest.raises(ZSLError, match=r"metrics.json: no such file"):
        report(folder)
    assert not (folder / "report").exists()


def test_names_of_classes_are_shown_as_they_are_and_run_nothing(folder: Path) -> None:
    evil = [
        "<script>alert(1)</script>", "a\"><img src=x onerror=alert(1)>", "x\ny | z", "../../etc/passwd",
        "[a](javascript:b)", "NA", "007", "\x1b[31mred", "`code` *bold*", "=cmd|' /C calc'!A0",
    ]  # fmt: skip
    columns = {"class": evil, "kind": "unseen", "images": 3, "gzsl": 50.0, "zsl": np.nan}
    write_csv(folder / "results/cub-x/classes.csv", pd.DataFrame(columns))
    before = {path for path in folder.rglob("*") if "report" not in path.parts}
    markdown, page = report(folder)
    for forbidden in ("<script", "<img src=x", "\x1b"):
        assert forbidden not in page
    for forbidden in ("<script", "<img", "\x1b", "[a](javascript"):
        assert forbidden not in markdown
    assert "<td>NA</td>" in page
    assert "<td>007</td>" in page
    assert {path for path in folder.rglob("*") if "report" not in path.parts} == before


def classes_csv(folder: Path, zsl: list[float], gzsl: list[float] | None = None) -> None:
    """results/cub-x/classes.csv of these unseen classes and two seen ones."""
    count = len(zsl)
    columns = {
        "class": [f"u{k}" for k in range(count)] + ["s0", "s1"],
        "kind": ["unseen"] * count + ["seen"] * 2,
        "images": [5] * count + [4, 3],
        "gzsl": [*(gzsl or zsl), 80.0, 90.0],
        "zsl": [*zsl, np.nan, np.nan],
    }
    write_csv(folder / "results/cub-x/classes.csv", pd.DataFrame(columns))


def test_chance_and_sizes_are_said(folder: Path) -> None:
    classes_csv(folder, [50.0, 60.0])
    markdown, page = report(folder)
    assert "2 unseen classes with 10 test images, 2 seen ones with 7; by guessing: T1 50.0, U and S 25.0." in markdown
    assert "by guessing: T1 50.0" in page


def test_every_table_says_what_its_spread_covers_and_one_seed_claims_none(folder: Path) -> None:
    classes_csv(folder, [50.0, 60.0])
    write_json(folder / "results/cub-x/methods/sae.json", {"zsl": {"T1": value(47.1)}, "gzsl": {}})
    _, page = report(folder)
    tables = re.findall(r'(<p class="caption">[^<]*</p>)?<div class="scroll"><table>(.*?)</table>', page)
    spread = [caption for caption, cells in tables if "±" in cells]
    assert len(spread) >= 4
    assert all("±: standard deviation over seeds" in caption for caption in spread)

    def once(node: Any) -> Any:
        if isinstance(node, dict):
            return value(node["mean"], node["mean"]) if "mean" in node else {k: once(v) for k, v in node.items()}
        return node

    one = once(metrics())
    write_json(folder / "results/cub-x/metrics.json", {**one, "about": {**metrics()["about"], "seeds": 1}})
    write_json(folder / "results/cub-x/methods/sae.json", {"zsl": {"T1": value(47.1, 47.1)}, "gzsl": {}})
    markdown, page = report(folder)
    assert "±" not in markdown + page
    assert "One seed: how far another would move the figures is not known." in markdown


def test_an_end_of_what_was_tried_is_told(folder: Path) -> None:
    def told(epochs: int, best: dict[str, Any] | None = None) -> str:
        write_json(folder / "results/cub-x/selected.json", {"train": {"epochs": epochs}})
        return report(folder, best=best)[0].replace("\\", "")

    assert (
        "> **At the end of what was tried: train.epochs = 80 is the largest of 20, 40, 60, 80: add larger values to "
        "select.train_epochs and run again.**"
    ) in told(80)
    assert "train.epochs = 20 is the smallest of" in told(20)
    assert "At the end" not in told(40)
    assert "At the end" not in told(80, {"train": {"epochs": 80}})
    assert "At the end" not in told(80, {"select": {"train_epochs": [80]}})


def test_methods_that_trained_as_long_as_any_candidate_are_named(folder: Path) -> None:
    for name, validation in (("a", {"longest": True}), ("b", {}), ("c", None)):
        about = {"title": name, "validation": validation}
        write_json(folder / f"results/cub-x/methods/{name}.json", {"about": about, "zsl": {"T1": value(50.0)}})
    markdown, _ = report(folder)
    assert "At the end of what was tried, the longest training: a; more epochs might be better." in markdown


def lists(zsl: list[float]) -> dict[str, Any]:
    return {"zsl": zsl, "unseen": zsl, "seen": [80.0, 90.0]}


def test_leads_over_methods_are_paired_over_classes_and_corrected(folder: Path) -> None:
    random = np.random.default_rng(0)
    hard = random.uniform(20, 80, 30)
    classes_csv(folder, list(hard + 10))
    others = {
        "worse": list(hard + random.normal(0, 2, 30)),
        "alike": list(hard + 10 + random.normal(0, 20, 30)),
        "ahead": list(hard + 20 + random.normal(0, 2, 30)),
    }
    for name, zsl in others.items():
        result = {"about": {"title": name}, "zsl": {"T1": value(50.0)}, "gzsl": {}, "classes": lists(zsl)}
        write_json(folder / f"results/cub-x/methods/{name}.json", result)
    markdown, _ = report(folder)
    assert (
        "In T1, with Holm's correction for all 6 differences, this pipeline is better than worse; WORSE than ahead; "
        "NOT shown to differ from alike."
    ) in markdown
    (row,) = (line for line in markdown.splitlines() if line.startswith("| worse |"))
    mean, low, high = map(float, re.findall(r"[+-]\d+\.\d", row)[:3])
    assert low < mean < high
    assert mean == pytest.approx(float(np.mean(hard + 10 - others["worse"])), abs=0.06)
    assert high - low < 3, "paired: over classes alone it would be 12"


def test_an_interval_that_excludes_0_alone_need_not_among_many(folder: Path) -> None:
    """Thirteen rows; one has p = 0.02, which is nothing among thirteen."""

    def row(position: int, against: str | None, t1: list[float]) -> dict[str, Any]:
        about = {"title": f"row {position}", "against": against, "row": position, "reused": False}
        about |= {"candidates": 1, "splits": 1, "members": 1}
        zsl = list(np.linspace(20, 80, 30) + position)
        return {
            "about": about,
            "zsl": {"T1": value(float(np.mean(t1)), *t1)},
            "gzsl": {"H": value(40.0)},
            "classes": lists(zsl),
        }

    base = [50.0, 51.0, 52.0, 51.0, 50.0]
    write_json(folder / "experiments/cub-x/ablation/NA.json", row(0, None, base))
    for k in range(13):
        lead = [1.0, 2.0, 0.4, 1.5, 1.6] if k == 0 else [1.0, -1.0, 0.5, -0.5, 0.1 * k]
        t1 = [one + more for one, more in zip(base, lead, strict=True)]
        write_json(folder / f"experiments/cub-x/ablation/v{k}.json", row(k + 1, "NA", t1))
    markdown, _ = report(folder, experiments=True)
    (line,) = (line for line in markdown.splitlines() if line.startswith("| v0: row 1 |"))
    assert "| +1.3 [+0.5, +2.1] | +1.0 [+1.0, +1.0] |" in line
    assert "over seeds of the difference in T1" not in markdown
    assert "In T1 it does NOT exclude 0 for: v0 over NA; v1 over NA" in markdown
    said = "The interval over classes of the difference in T1, with Holm's correction for all 26 of the table, excludes"
    assert f"{said} 0 for: v0 over NA; v1 over NA" in markdown


def test_few_shot_leads_are_a_family_too(folder: Path) -> None:
    def lead(mean: float, half: float) -> dict[str, Any]:
        found = {"mean": mean, "low": mean - half, "high": mean + half, "count": 600}
        return {"1-shot": {"mean": 70.0, "low": 69.0, "high": 71.0, "count": 600, "lead": found}}

    plain = {"1-shot": {"mean": 70.0, "low": 69.0, "high": 71.0, "count": 600, "lead": None}}
    rows = {"plain": plain, "sure": lead(5.0, 1.0), "b": lead(1.1, 1.0), "c": lead(0.1, 1.0), "d": lead(0.2, 1.0)}
    about = {"way": 5, "query": 15, "baseline": "plain", "order": list(rows), "columns": ["1-shot"]}
    write_json(folder / "experiments/cub-x/fewshot.json", {"about": about, "rows": rows})
    markdown, _ = report(folder, experiments=True)
    assert "| b | +1.1 [+0.1, +2.1] |" in markdown
    said = "With Holm's correction for all 4 leads NOT shown to differ from 'plain': b, 1-shot; c, 1-shot; d, 1-shot."
    assert said in markdown
