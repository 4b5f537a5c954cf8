"""Stage `evaluate`: T1, U, S, H and what else a reader needs, as mean ± std over the seeds."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zslcore.datasets.dataset import choosable
from zslcore.errors import ZSLError
from zslcore.evaluation import per_class, protocol
from zslcore.evaluation.metrics import Scores
from zslcore.experiments.compare import compare
from zslcore.experiments.settings import Compare
from zslcore.io import artifacts
from zslcore.io.rows import SCORES, stored
from zslcore.methods.eszsl import ESZSL
from zslcore.progress import track
from zslcore.settings import Select, number_or

from .common import DatasetName, say
from .lines import headline, sizes
from .workspace import Workspace

CANDIDATES = 40
"""Settings of ESZSL that are tried."""


def command(dataset: DatasetName) -> None:
    """Compute the metrics and the plots' data from the scores of the test images."""
    workspace = Workspace(dataset)
    data = workspace.data_of("scores.h5", artifacts.SCORES)
    made_with = artifacts.params(workspace.artifact("scores.h5"), artifacts.SCORES)
    factor = number_or(made_with["classify"]["calibration"], 0.0)
    confidence = workspace.confidence
    runs = {}
    path = workspace.artifact("scores.h5")
    read = partial(stored, path, artifacts.SCORES, part=SCORES)
    for seed in track(workspace.seeds, f"{dataset}: evaluate", len(workspace.seeds)):
        zsl, seen, unseen = (read(f"seed={seed}/{name}") for name in ("zsl", "joint_seen", "joint_unseen"))
        runs[seed] = Scores.of(data, zsl, seen, unseen, _arrays(path, f"seed={seed}/evidence"))
    of_attributes = _arrays(path, f"seed={workspace.seeds[0]}/attributes")
    metrics = protocol.summarise({seed: protocol.evaluate(scores, factor, confidence) for seed, scores in runs.items()})
    names = [data.classes[k] for k in data.class_order]
    classes = per_class.by_class(runs, names, factor)
    per_class.write_csv(workspace.result("classes.csv"), classes)
    per_class.write_csv(workspace.result("curve.csv"), per_class.seen_unseen(runs))
    first = next(iter(runs.values()))
    per_class.write_csv(workspace.result("confusion.csv"), per_class.confusion(first, names))
    per_class.write_csv(workspace.result("reliability.csv"), per_class.reliability_points(runs, factor, confidence))
    explained = per_class.explained_confusions(
        first,
        names,
        factor,
        data.signatures[data.class_order],
        of_attributes.get("predicted"),
        of_attributes.get("logits"),
        data.attribute_names,
    )
    per_class.write_csv(workspace.result("explained.csv"), explained)
    simple = eszsl(workspace)
    linear = {} if simple is None else {ESZSL.name: simple}
    artifacts.write_json(workspace.result("metrics.json"), {"about": workspace.about(data), **metrics, **linear})
    say(f"{dataset}: {headline(metrics)}")
    if simple is not None:
        say(f"{dataset}: ESZSL, in closed form: {headline(simple)}")
    say(f"{dataset}: {sizes(classes)}")


def eszsl(workspace: Workspace) -> dict[str, Any] | None:
    """What ESZSL, a closed form, reaches with the main method's signatures, on the same images: as `compare` gives it.

    Its settings are chosen on the validation tasks of `select`. None where too few classes are seen to choose on, and
    where ESZSL cannot be fitted: two classes have one signature, say.
    """
    seen = workspace.seen()
    if not choosable(seen):
        return None
    choice = as_select(workspace.settings.select)
    try:
        measured = compare(ESZSL, workspace.data, seen, workspace.rows(), None, choice, workspace.seeds)
    except ZSLError as error:
        say(f"{workspace.dataset}: not measured for comparison: {error}")
        return None
    del measured["about"]["validation"]["tried"]
    return measured


def as_select(settings: Select) -> Compare:
    """How ESZSL's settings are chosen: on the very tasks on which `select` chooses the main method's."""
    return Compare(budget=CANDIDATES, splits=settings.splits, holdout=protocol.HOLDOUT, seed=settings.seed)


def _arrays(path: Path, group: str) -> dict[str, NDArray[np.float32]]:
    """What a group of the scores' file holds, by name, as `stored`; nothing where it is absent."""
    with artifacts.open_artifact(path, artifacts.SCORES) as file:
        found = {name: artifacts.dataset(file, f"{group}/{name}", np.float32).ndim for name in file.get(group, ())}
        lists = {
            name: artifacts.array(file, f"{group}/{name}", np.float32) for name, ndim in found.items() if ndim == 1
        }
    tables = (name for name, ndim in found.items() if ndim != 1)
    return lists | {name: stored(path, artifacts.SCORES, f"{group}/{name}", part=SCORES) for name in tables}
