"""ESZSL and the main method on features of a backbone as it was loaded, fine-tuned with eq. 8, and with cross-entropy.

    python bench/backbone.py birds [--seeds 0 1 2] [--backbones loaded gaussian cce]

Run it in a project's folder where `prepare` has run, with settings as `zsl params` shows them; `--set` changes some:
`--set '{"finetune": {"gamma": 10}}'`. A line a backbone and seed: the training length chosen, T1, U, S and H of both
methods with all that is open chosen on validation classes, and minutes of processor time.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from stages.extract import tuned
from stages.workspace import Workspace
from zslcore.datasets import dataset as datasets
from zslcore.evaluation import protocol
from zslcore.evaluation.search import choose
from zslcore.evaluation.select import select
from zslcore.evaluation.selected import fill
from zslcore.evaluation.signatures import GRID
from zslcore.evaluation.tuned_backbone import extract_tuned
from zslcore.features.extract import extract
from zslcore.methods.base import Method
from zslcore.methods.clusterable.estimator import Clusterable, ClusterableSettings
from zslcore.methods.eszsl import ESZSL
from zslcore.settings import Settings

BACKBONES = {
    "loaded": {"level": "features"},
    "gaussian": {"level": "backbone", "loss": "gaussian"},
    "cce": {"level": "backbone", "loss": "cce"},
}


def measure(dataset: Path, features: Path, settings: Settings, seed: int) -> str:
    """The figures of both methods; features: the artifact."""
    data, seen = datasets.load(dataset, features=features), datasets.load_seen(dataset, features)
    task = protocol.benchmark_task(data, datasets.load_features(features, np.arange(len(data.labels))))
    splits, of = settings.select.splits, settings.select.seed
    trial, _ = choose(ESZSL, seen, among=GRID, budget=len(GRID), splits=splits, seed=of)
    chosen, _ = select(seen, settings, "cpu")
    main = Clusterable(ClusterableSettings.of(fill(settings, chosen), "cpu"))
    eszsl = ESZSL(ESZSL.Settings(**trial.settings))
    found = line(eszsl, task, trial.calibration, seed), line(main, task, chosen["classify"]["calibration"], seed)
    return "; ".join(found)


def line(method: Method[Any], task: protocol.Task, calibration: float, seed: int) -> str:
    """T1, U, S and H of one method, in percent."""
    found = protocol.evaluate(protocol.score(protocol.fit(method, task, seed), task, seed), calibration)
    figures = found["zsl"]["T1"], *(found["gzsl"][name] for name in "USH")
    return f"{method.name} " + " ".join(f"{name} {value:.1f}" for name, value in zip("TUSH", figures, strict=True))


def main() -> None:
    """Measure each backbone with each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--backbones", nargs="+", choices=BACKBONES, default=list(BACKBONES))
    parser.add_argument("--set", type=json.loads, default={})
    asked = parser.parse_args()
    workspace = Workspace(asked.dataset)
    dataset = workspace.artifact("dataset.h5")
    for seed in asked.seeds:
        for name in asked.backbones:
            settings = workspace.settings.override(asked.set).override(
                {"finetune": {**BACKBONES[name], "backbone": {"seed": seed}}}
            )
            before, features = sum(os.times()[:4]), Path(f".zsl/bench/{asked.dataset}-{name}-{seed}.h5")
            if name == "loaded":
                extract(dataset, features, settings.extract, "cpu")
            else:
                extract_tuned(dataset, features, settings, "cpu")
                print(tuned(features), flush=True)
            spent = (sum(os.times()[:4]) - before) / 60
            figures = measure(dataset, features, settings, seed)
            print(f"{name}, seed {seed}: {figures}; {spent:.1f} min of processor time for features", flush=True)


if __name__ == "__main__":
    main()
