"""Choices on validation classes for the main method: training length, calibration, counts, classifier length."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice, product
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
    splits = _splits(seen, settings)
    fit = partial(_score_candidates, seen, device)
    of_splits = []
    for of_split in in_order(f"{seen.name}: select", fit, [(settings, held_out) for held_out in splits], device):
        of_splits.append(of_split)
        if observe is not None:
            means = (_figures([done[candidate] for done in of_splits]) for candidate in of_split)
            observe(len(of_splits), max(mean["score"] for mean in means))
    return _best(settings, of_splits)


def select_each(seen: Seen, each: Sequence[Settings], device: str, what: str) -> list[tuple[dict[str, Any], list[Row]]]:
    """`select` by each of these settings: the fits of all, one a split, are jobs of one list. what: for its bar."""
    jobs = [(settings, held_out) for settings in each for held_out in _splits(seen, settings)]
    of_splits = in_order(what, partial(_score_candidates, seen, device), jobs, device)
    return [_best(settings, list(islice(of_splits, len(_splits(seen, settings))))) for settings in each]


def _splits(seen: Seen, settings: Settings) -> list[NDArray[np.int64]]:
    return validation_splits(seen, settings.select.splits, settings.select.seed)


def _best(settings: Settings, of_splits: Sequence[dict[Candidate, Scores]]) -> tuple[dict[str, Any], list[Row]]:
    """The choice and the table of `select`, from the scores of each candidate on each split."""
    scored = {candidate: [of_split[candidate] for of_split in of_splits] for candidate in of_splits[0]}
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
        "validation": {"T1": means[best]["T1"], "H": means[best]["H"], "splits": len(of_splits)},
        "confidence": confidence.section(),
        "strangers": strangers,
    }
    return choice, [{**candidate._asdict(), **means[candidate]} for candidate in means]


def _score_candidates(
    seen: Seen, device: str, settings: Settings, held_out: NDArray[np.int64]
) -> dict[Candidate, Scores]:
    """The scores of each candidate on one split, from one fit as long as the longest, that each is scored in.

    held_out: the classes that play the unseen ones.
    """
    candidates = [Candidate(*combination) for combination in product(*candidate_values(settings).values())]
    task = validation_task(seen, held_out, seed=settings.select.seed)
    longest = max(candidate.train_epochs for candidate in candidates)
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
    return {candidate: scored[candidate] for candidate in candidates}


def _figures(scored: Sequence[Scores]) -> dict[str, float]:
    return validation_figures([(scores.zsl_top1, scores.curve()) for scores in scored])
