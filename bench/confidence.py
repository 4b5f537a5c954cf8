"""How sure a method of the library is: python bench/confidence.py cub eszsl

Fits the method, with its default settings, on the validation tasks of a data set that the pipeline has extracted;
chooses the calibration factor, temperatures and the score of strangers there; and prints what test images show.
"""

import sys

from stages.workspace import Workspace
from zslcore.evaluation.protocol import (
    benchmark_task,
    choose_confidence,
    evaluate,
    fit,
    score,
    validation_figures,
)
from zslcore.evaluation.search import validation_tasks
from zslcore.methods import registry


def main(dataset: str, name: str) -> None:
    """Print temperatures, the AUROC of each score on validation classes, and the metrics on test images."""
    workspace, method = Workspace(dataset), registry.get(name)
    scored = [score(fit(method(), task), task) for task in validation_tasks(workspace.seen())]
    factor = validation_figures([(one.zsl_top1, one.curve()) for one in scored])["calibration"]
    confidence, compared = choose_confidence(scored, factor)
    print(f"temperatures: {confidence.joint:.4g} jointly, {confidence.unseen:.4g} among unseen classes")
    print("AUROC on validation classes:", ", ".join(f"{key} {value:.1f}" for key, value in compared.items()))
    task = benchmark_task(workspace.data, workspace.features())
    found = evaluate(score(fit(method(), task), task), factor, confidence)
    for group in ("confidence", "strangers"):
        print(f"{group}:", ", ".join(f"{key} {value:.2f}" for key, value in found[group].items()))


if __name__ == "__main__":
    main(*sys.argv[1:])
