"""Stage `evaluate`: T1, U, S, H and what else a reader needs, as mean ± std over the seeds."""

import numpy as np
from h5py import File
from numpy.typing import NDArray

from stages.common import DatasetName, say
from stages.lines import headline, sizes
from stages.workspace import Workspace
from zslcore.evaluation import per_class, protocol
from zslcore.evaluation.metrics import Scores
from zslcore.io import artifacts
from zslcore.progress import track
from zslcore.settings import number_or


def command(dataset: DatasetName) -> None:
    """Compute the metrics and the plots' data from the scores of the test images."""
    workspace = Workspace(dataset)
    data = workspace.data_of("scores.h5", artifacts.SCORES)
    made_with = artifacts.params(workspace.artifact("scores.h5"), artifacts.SCORES)
    factor = number_or(made_with["classify"]["calibration"], 0.0)
    confidence = workspace.confidence
    runs = {}
    with artifacts.open_artifact(workspace.artifact("scores.h5"), artifacts.SCORES) as file:
        for seed in track(workspace.seeds, f"{dataset}: evaluate", len(workspace.seeds)):
            runs[seed] = Scores.of(
                data,
                zsl=artifacts.array(file, f"seed={seed}/zsl", np.float32, ndim=2),
                joint_seen=artifacts.array(file, f"seed={seed}/joint_seen", np.float32, ndim=2),
                joint_unseen=artifacts.array(file, f"seed={seed}/joint_unseen", np.float32, ndim=2),
                evidence=_arrays(file, f"seed={seed}/evidence"),
            )
        of_attributes = _arrays(file, f"seed={workspace.seeds[0]}/attributes")
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
    artifacts.write_json(workspace.result("metrics.json"), {"about": workspace.about(data), **metrics})
    say(f"{dataset}: {headline(metrics)}")
    say(f"{dataset}: {sizes(classes)}")


def _arrays(file: File, group: str) -> dict[str, NDArray[np.float32]]:
    """What a group holds, by name; nothing where it is absent."""
    return {name: artifacts.array(file, f"{group}/{name}", np.float32) for name in file.get(group, ())}
