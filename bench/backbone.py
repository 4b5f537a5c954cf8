"""ESZSL and the main method on features of a backbone as it was loaded, fine-tuned with eq. 8, and with cross-entropy.

    python bench/backbone.py birds [--seeds 0 1 2] [--backbones loaded gaussian cce] [--views 1 flip] [--methods eszsl]

Run it in a project's folder where `prepare` has run, with settings as `zsl params` shows them; `--set` changes some:
`--set '{"finetune": {"gamma": 10}}'`, of which `finetune` is for fine-tuned backbones alone. Prints a Markdown row for
each method, backbone and views: the mean of T1 and H on validation classes, by which all that is open was chosen; T1,
U, S, H and AUSUC, mean ± std over seeds, each with a backbone of its own; what T1 and H lead those of the main method
on plain vectors by, with 95 % intervals over classes; and of one fit processor seconds and the peak memory of its
process, with libraries and data. The last rows are those of `zsl compare` on this data set.

Rows stay in .zsl/bench/backbone-DATASET.json, for later runs. What the part of the network that does not learn makes of
pictures is computed once for all rows; it stays under .zsl/bench/shared.
"""

import argparse
import json
import resource
import time
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from stages.extract import tuned
from stages.workspace import Workspace
from zslcore.datasets import dataset as datasets
from zslcore.evaluation import per_class, protocol
from zslcore.evaluation.metrics import Scores
from zslcore.evaluation.per_class import ClassAccuracies
from zslcore.evaluation.search import choose
from zslcore.evaluation.select import select
from zslcore.evaluation.selected import fill
from zslcore.evaluation.signatures import GRID
from zslcore.evaluation.tuned_backbone import extract_tuned
from zslcore.features.extract import extract
from zslcore.io.artifacts import read_json, write_json
from zslcore.methods.base import Method
from zslcore.methods.clusterable.estimator import Clusterable, ClusterableSettings
from zslcore.methods.eszsl import ESZSL
from zslcore.report.numbers import difference, spread
from zslcore.settings import Settings

BACKBONES: dict[str, dict[str, Any]] = {
    "loaded": {"level": "features"},
    "gaussian": {"level": "backbone", "loss": "gaussian"},
    "cce": {"level": "backbone", "loss": "cce"},
}
BASE = "clusterable, loaded, 1"
FIGURES = {"T1": "zsl", "U": "gzsl", "S": "gzsl", "H": "gzsl", "AUSUC": "gzsl"}
HEAD = ["method, backbone, views", "score", *FIGURES, "T1 leads by", "H leads by", "fit, s", "peak, MiB"]


def features_of(name: str, dataset: str, settings: Settings, seed: int) -> Path:
    """The file of features by this backbone; said: how it was fine-tuned, and what that cost."""
    before, path = time.process_time(), Path(f".zsl/bench/{dataset}-{name}-{settings.extract.views}-{seed}.h5")
    prepared = Workspace(dataset).artifact("dataset.h5")
    if name == "loaded":
        extract(prepared, path, settings.extract, "cpu")
        return path
    extract_tuned(prepared, path, settings, "cpu", shared=Path(".zsl/bench/shared"))
    print(f"{path.stem}: {tuned(path)}, {time.process_time() - before:.0f} s of processor time", flush=True)
    return path


def measure(name: str, dataset: str, settings: Settings, seeds: Sequence[int], method: str) -> dict[str, Any]:
    """A row as `zsl compare` writes it, and `score`, `seconds` and `peak`; to be called in a fresh process."""
    runs, classes, scores, seconds = {}, [], [], []
    chosen: tuple[Method[Any], float, float] | None = None
    for seed in seeds:
        if name != "loaded" or chosen is None:  # all seeds have one backbone, and so one choice
            one = settings.override({"finetune": {"backbone": {"seed": seed}}})
            path = features_of(name, dataset, one, seed)
            data, seen = datasets.load(Workspace(dataset).artifact("dataset.h5"), features=path), _seen(dataset, path)
            task = protocol.benchmark_task(data, datasets.load_features(path, np.arange(len(data.labels))))
            chosen = _chosen(method, seen, one)
        made, calibration, score = chosen
        before = time.process_time()
        fitted = protocol.fit(made, task, seed)
        seconds.append(time.process_time() - before)
        found: Scores = protocol.score(fitted, task, seed)
        runs[seed] = protocol.evaluate(found, calibration)
        classes.append(per_class.accuracies(data, {seed: found}, calibration))
        scores.append(score)
        if not made.random and name == "loaded":
            break
    mean = ClassAccuracies(*(np.mean([vars(one)[part] for one in classes], axis=0) for part in vars(classes[0])))
    return {
        **protocol.summarise(runs),
        "classes": mean.lists(),
        "score": float(np.mean(scores)),
        "seconds": float(np.mean(seconds)),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _seen(dataset: str, features: Path) -> datasets.Seen:
    return datasets.load_seen(Workspace(dataset).artifact("dataset.h5"), features)


def _chosen(method: str, seen: datasets.Seen, settings: Settings) -> tuple[Method[Any], float, float]:
    """The method with settings chosen on validation classes, the calibration factor, and the mean of T1 and H there."""
    splits, of = settings.select.splits, settings.select.seed
    if method == "eszsl":
        trial, _ = choose(ESZSL, seen, among=GRID, budget=len(GRID), splits=splits, seed=of)
        return ESZSL(ESZSL.Settings(**trial.settings)), trial.calibration, trial.score
    chosen, _ = select(seen, settings, "cpu")
    main = Clusterable(ClusterableSettings.of(fill(settings, chosen), "cpu"))
    score = (chosen["validation"]["T1"] + chosen["validation"]["H"]) / 2
    return main, chosen["classify"]["calibration"], score


def line(name: str, row: Mapping[str, Any], base: Mapping[str, Any] | None) -> str:
    """A row of the table; base: the row that it is to lead."""
    validation = row.get("about", {}).get("validation") or {}
    score = row["score"] if "score" in row else (validation["T1"] + validation["H"]) / 2
    cells = [name, f"{score:.1f}", *(spread(row[group][figure]) for figure, group in FIGURES.items())]
    leads = {}
    if base is not None and base is not row:
        leads = ClassAccuracies.read(row["classes"]).over_classes(ClassAccuracies.read(base["classes"]))
    cells += [difference(leads[figure]) if leads else "" for figure in ("T1", "H")]
    cells += [f"{row[cost]:.1f}" if cost in row else "" for cost in ("seconds", "peak")]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure each row in a fresh process, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--backbones", nargs="+", choices=BACKBONES, default=list(BACKBONES))
    parser.add_argument("--views", nargs="+", choices=["1", "flip", "five"], default=["1"])
    parser.add_argument("--methods", nargs="+", choices=["eszsl", "clusterable"], default=["eszsl", "clusterable"])
    parser.add_argument("--set", type=json.loads, default={})
    asked = parser.parse_args()
    workspace, file = Workspace(asked.dataset), Path(f".zsl/bench/backbone-{asked.dataset}.json")
    rows: dict[str, Any] = read_json(file) if file.exists() else {}
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}", flush=True)
    for views in asked.views:
        for name in asked.backbones:
            of_views = {"output": "pooled", "views": 1 if views == "1" else views}
            given = {key: value for key, value in asked.set.items() if name != "loaded" or key != "finetune"}
            changed = {"extract": of_views, "finetune": BACKBONES[name]}
            settings = workspace.settings.override(given).override(changed)
            for method in asked.methods:
                with get_context("spawn").Pool(1) as fresh:
                    row = fresh.apply(measure, (name, asked.dataset, settings, asked.seeds, method))
                rows = {**(read_json(file) if file.exists() else {}), f"{method}, {name}, {views}": row}
                write_json(file, rows)
                print(line(f"{method}, {name}, {views}", row, rows.get(BASE)), flush=True)
    for compared in sorted(workspace.experiment("methods").glob("*.json")):
        print(line(compared.stem, read_json(compared), rows.get(BASE)))


if __name__ == "__main__":
    main()
