"""ESZSL and the main method on features of a backbone as it was loaded, fine-tuned with eq. 8, and with cross-entropy.

    python bench/backbone.py birds [--seeds 0 1 2] [--backbones loaded gaussian cce] [--views 1 flip] [--methods eszsl]

Run it in a project's folder where `prepare` has run, with settings as `zsl params` shows them; `--set` changes some:
`--set '{"finetune": {"gamma": 10}}'`, of which `finetune` is for fine-tuned backbones alone. Prints a Markdown row for
each method, backbone and views: the mean of T1 and H on validation classes, by which all that is open was chosen; T1,
U, S, H and AUSUC, mean ± std over seeds, each with a backbone of its own; what T1 and H lead those of the main method
on plain vectors by, with 95 % intervals over classes; and of one fit processor seconds and the peak memory of its
process, with libraries and data. The last rows are those of `zsl compare` on this data set.

Each seed of a row stays under .zsl/bench/backbone, so that an interrupted run goes on; what the part of the network
that does not learn makes of pictures is computed once for all rows, and stays under .zsl/bench/shared.
"""

import argparse
import json
import resource
import time
from collections.abc import Mapping
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from stages.extract import tuned
from stages.workspace import Workspace
from zslcore.datasets import dataset as datasets
from zslcore.datasets.dataset import Seen
from zslcore.evaluation import per_class, protocol
from zslcore.evaluation.per_class import ClassAccuracies
from zslcore.evaluation.result_cache import cached_result
from zslcore.evaluation.search import choose
from zslcore.evaluation.select import select
from zslcore.evaluation.selected import fill
from zslcore.evaluation.signatures import GRID
from zslcore.evaluation.tuned_backbone import extract_tuned
from zslcore.features.extract import extract
from zslcore.io.artifacts import read_json
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
BASE = "1", "loaded", "clusterable"
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


def in_fresh_process(*task: Any) -> dict[str, Any]:
    """What `measure` gives."""
    with get_context("spawn").Pool(1) as fresh:
        return fresh.apply(measure, task)


def measure(
    name: str, dataset: str, settings: Settings, seed: int, method: str, chosen: dict[str, Any] | None
) -> dict[str, Any]:
    """One seed of a row, to be called in a fresh process; chosen: by an earlier seed on the same features."""
    path = features_of(name, dataset, settings, seed)
    prepared = Workspace(dataset).artifact("dataset.h5")
    data, seen = datasets.load(prepared, features=path), datasets.load_seen(prepared, path)
    task = protocol.benchmark_task(data, datasets.load_features(path, np.arange(len(data.labels))))
    chosen = chosen or (choose_eszsl if method == "eszsl" else choose_main)(seen, settings)
    cls: type[Method[Any]] = ESZSL if method == "eszsl" else Clusterable
    made = cls(cls.Settings.model_validate(chosen["settings"]))
    before = time.process_time()
    protocol.fit(made, task, seed)
    seconds = time.process_time() - before
    found = protocol.score(made, task, seed)
    return {
        "figures": protocol.evaluate(found, chosen["calibration"]),
        "classes": per_class.accuracies(data, {seed: found}, chosen["calibration"]).lists(),
        "chosen": chosen,
        "seconds": seconds,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def choose_eszsl(seen: Seen, settings: Settings) -> dict[str, Any]:
    """Settings, calibration factor and score of ESZSL, chosen on validation classes."""
    splits, of = settings.select.splits, settings.select.seed
    trial, _ = choose(ESZSL, seen, among=GRID, budget=len(GRID), splits=splits, seed=of)
    return {"settings": trial.settings, "calibration": trial.calibration, "score": trial.score}


def choose_main(seen: Seen, settings: Settings) -> dict[str, Any]:
    """The same of the main method."""
    chosen, _ = select(seen, settings, "cpu")
    filled = ClusterableSettings.of(fill(settings, chosen), "cpu").model_dump(mode="json")
    score = (chosen["validation"]["T1"] + chosen["validation"]["H"]) / 2
    return {"settings": filled, "calibration": chosen["classify"]["calibration"], "score": score}


def row_of(runs: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """A row as `zsl compare` writes it, and `score`, `seconds` and `peak`: means over seeds."""
    each = [ClassAccuracies.read(run["classes"]) for run in runs.values()]
    mean = ClassAccuracies(*(np.mean([vars(one)[part] for one in each], axis=0) for part in vars(each[0])))
    return {
        **protocol.summarise({seed: run["figures"] for seed, run in runs.items()}),
        "classes": mean.lists(),
        "score": float(np.mean([run["chosen"]["score"] for run in runs.values()])),
        **{cost: float(np.mean([run[cost] for run in runs.values()])) for cost in ("seconds", "peak")},
    }


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
    parser.add_argument("--methods", nargs="+", choices=["eszsl", "clusterable"], default=["clusterable", "eszsl"])
    parser.add_argument("--set", type=json.loads, default={})
    asked = parser.parse_args()
    workspace, base = Workspace(asked.dataset), None
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}", flush=True)
    rows = dict.fromkeys([BASE, *product(asked.views, asked.backbones, asked.methods)])
    for views, name, method in rows:
        given = {key: value for key, value in asked.set.items() if name != "loaded" or key != "finetune"}
        settings = workspace.settings.override(given).override(
            {
                "extract": {"output": "pooled", "views": 1 if views == "1" else views},
                "finetune": BACKBONES[name],
            }
        )
        runs: dict[int, dict[str, Any]] = {}
        for seed in asked.seeds:
            one = settings.override({"finetune": {"backbone": {"seed": seed}}}) if name != "loaded" else settings
            chosen = next(iter(runs.values()))["chosen"] if runs and name == "loaded" else None
            key = {"row": [name, asked.dataset, method, seed], "settings": one.model_dump(mode="json")}
            task = name, asked.dataset, one, seed, method, chosen
            runs[seed] = cached_result(key, partial(in_fresh_process, *task), Path(".zsl/bench/backbone"))
            if method == "eszsl" and name == "loaded":  # the same for every seed
                break
        row = row_of(runs)
        base = base or row
        print(line(f"{method}, {name}, {views}", row, base), flush=True)
    for compared in sorted(workspace.experiment("methods").glob("*.json")):
        print(line(compared.stem, read_json(compared), base))


if __name__ == "__main__":
    main()
