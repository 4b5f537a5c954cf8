"""How sure a method of the library is: python bench/confidence.py cub eszsl

Fits the method, with its default settings, on the validation tasks of a data set that the pipeline has extracted;
chooses the calibration factor, temperatures and the score of strangers there; and prints what test images show, with
what as many images show by chance.
"""

import sys

import numpy as np
from numpy.typing import NDArray

from stages.workspace import Workspace
from zslcore.evaluation.confidence import calibration_error, probabilities, reliability
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

DRAWS = 100


def of_chance(chances: NDArray[np.float64]) -> str:
    """The ECE in percent, mean ± std, of probabilities (n, classes) whose images' labels are drawn from them."""
    random, up_to = np.random.default_rng(0), chances.cumsum(axis=1)
    up_to /= up_to[:, -1:]
    drawn = ((up_to > random.uniform(size=(len(chances), 1))).argmax(axis=1) for _ in range(DRAWS))
    errors = [100 * calibration_error(chances, labels) for labels in drawn]
    return f"{np.mean(errors):.1f} ± {np.std(errors, ddof=1):.1f}"


def debiased(chances: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Root mean square of the gaps that ECE is the mean of, in percent, less what chance adds to the mean square.

    0 where that is more (Kumar, Liang and Ma, NeurIPS 2019). A bin with one image is left out: it cannot say.
    """
    found = reliability(chances, labels)
    said, came_true, images = (values[found.images > 1] for values in found)
    squares = (came_true - said) ** 2 - came_true * (1 - came_true) / (images - 1)
    return 100 * float(np.sqrt(max(0.0, np.average(squares, weights=images))))


def main(dataset: str, name: str) -> None:
    """Print temperatures, the AUROC of each score on validation classes, and the metrics on test images."""
    workspace, method = Workspace(dataset), registry.get(name)
    scored = [score(fit(method(), task), task) for task in validation_tasks(workspace.seen())]
    factor = validation_figures([(one.zsl_top1, one.curve()) for one in scored])["calibration"]
    confidence, compared = choose_confidence(scored, factor)
    print(f"temperatures: {confidence.joint:.4g} jointly, {confidence.unseen:.4g} among unseen classes")
    print("AUROC on validation classes:", ", ".join(f"{key} {value:.1f}" for key, value in compared.items()))
    task = benchmark_task(workspace.data, workspace.features())
    scores = score(fit(method(), task), task)
    found = evaluate(scores, factor, confidence)
    for group in ("confidence", "strangers"):
        print(f"{group}:", ", ".join(f"{key} {value:.2f}" for key, value in found[group].items()))
    for what, chances, labels in (
        ("all classes", probabilities(scores.joint(factor), confidence.joint), scores.labels),
        ("unseen classes", probabilities(scores.zsl, confidence.unseen), scores.unseen_labels - scores.seen_count),
    ):
        print(f"{what}: ECE by chance {of_chance(chances)}; gap without bias {debiased(chances, labels):.1f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
