"""Choices on validation classes for the main method: training length, calibration, counts, classifier length."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zslcore.compute.jobs import in_order
from zslcore.datasets.dataset import Seen
from zslcore.evaluation.metrics import Scores
from zslcore.evaluation.protocol import (
    choose_confidence,
    score,
    validation_figures,
    validation_splits,
    validation_task,
)
from zslcore.evaluation.selected import candidate_values
from zslcore.methods.clusterable.estimator import Clusterable, ClusterableSettings
from zslcore.settings import Settings, number_or

Row = dict[str, Any]


class Candidate(NamedTuple):
    """What is chosen together; per_unseen: synthetic features of each unseen class."""

    train_epochs: int
    per_unseen: int
    classify_epochs: int


def select(
    seen: Seen, settings: Settings, device: str, observe: Callable[[int, float], None] | None = None
) -> tuple[dict[str, Any], list[Row]]:
    """Choose what the main method leaves open, out of the lists of `settings.select`; `choose`: any method's settings.

    Every candidate is scored on every validation task, and the best mean of T1 and H over the tasks wins; of equals,
    the one that costs least. H is taken at the one calibration factor that is best for all tasks together: the factor
    that is chosen. Values set in the settings stay: only what is `auto` there is chosen.
    observe(tasks done, best score so far in percent) is called after each task; it may raise to end the search.

    Of the winner, the same scores give the section `confidence`: temperatures, and which score knows strangers best.

    Returns the choice (sections and values, with the validation figures; `strangers`: AUROC of each score) and the
    table of all scores, in percent.
    Raises ZSLError where too few classes are seen to hold any out, or a fit fails.
    """
    candidates = [Candidate(*combination) for combination in product(*candidate_values(settings).values())]
    longest = max(candidate.train_epochs for candidate in candidates)
    splits = validation_splits(seen, settings.select.splits, settings.select.seed)
    scored: dict[Candidate, list[Scores]] = {candidate: [] for candidate in candidates}
    fit = partial(_score_candidates, seen, settings, device, candidates, longest)
    of_splits = in_order(f"{seen.name}: select", fit, [(held_out,) for held_out in splits], device)
    for number, of_split in enumerate(of_splits, 1):
        for candidate, result in of_split.items():
            scored[candidate].append(result)
        if observe is not None:
            observe(number, max(_figures(tasks)["score"] for tasks in scored.values()))
    means = {candidate: _figures(tasks) for candidate, tasks in scored.items()}
    best = max(means, key=lambda candidate: (means[candidate]["score"], *(-value for value in candidate)))
    calibration = number_or(settings.classify.calibration, means[best]["calibration"])
    confidence, strangers = choose_confidence(scored[best], calibration)
    choice = {
        "train": {"epochs": best.train_epochs},
        "generate": {"per_unseen": best.per_unseen},
        "classify": {
            "epochs": best.classify_epochs,
            "calibration": calibration,
        },
        "validation": {"T1": means[best]["T1"], "H": means[best]["H"], "splits": len(splits)},
        "confidence": confidence.section(),
        "strangers": strangers,
    }
    return choice, [{**candidate._asdict(), **means[candidate]} for candidate in means]


def _score_candidates(
    seen: Seen,
    settings: Settings,
    device: str,
    candidates: Sequence[Candidate],
    longest: int,
    held_out: NDArray[np.int64],
) -> dict[Candidate, Scores]:
    """The scores of each candidate on one split, from a fit of `longest` epochs that each is scored in.

    held_out: the classes that play the unseen ones.
    """
    task = validation_task(seen, held_out, seed=settings.select.seed)
    train = settings.train.model_copy(update={"epochs": longest})
    base = ClusterableSettings.of(settings.model_copy(update={"train": train}), device)
    method = Clusterable(base)
    scored: dict[Candidate, Scores] = {}

    def observe(done: int) -> None:
        for candidate in candidates:
            if candidate.train_epochs == done:
                method.settings = base.model_copy(
                    update={
                        "generate": base.generate.model_copy(update={"per_unseen": candidate.per_unseen}),
                        "classify": base.classify.model_copy(update={"epochs": candidate.classify_epochs}),
                    }
                )
                scored[candidate] = score(method, task, settings.select.seed)

    method.fit(task.train, settings.select.seed, observe)
    return scored


def _figures(scored: Sequence[Scores]) -> dict[str, float]:
    return validation_figures([(scores.zsl_top1, scores.curve()) for scores in scored])
