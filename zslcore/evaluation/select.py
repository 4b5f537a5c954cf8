"""Choices on validation classes for the main method: training length, calibration, counts, classifier length."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from zslcore.datasets.dataset import Seen
from zslcore.evaluation.metrics import Curve
from zslcore.evaluation.protocol import (
    Task,
    score,
    validation_figures,
    validation_splits,
    validation_task,
)
from zslcore.methods.clusterable import Clusterable, ClusterableSettings
from zslcore.params import Settings
from zslcore.progress import progress

Row = dict[str, Any]
Candidate = tuple[int, int, int]
"""(training epochs, synthetic features an unseen class, classifier epochs)."""


def select(
    seen: Seen, settings: Settings, device: str, observe: Callable[[int, float], None] | None = None
) -> tuple[dict[str, Any], list[Row]]:
    """Score every candidate on every validation task, and take the best mean of T1 and H over the tasks.

    H is taken at the one calibration factor that is best for all tasks together: the factor that is handed on.
    Returns the choice (sections and values, with the validation figures) and the table of all scores, in percent.
    Values set in the settings are kept: only what is None there is chosen.
    observe(tasks done, best score so far) is called after each task; it may raise to end the search.
    """
    wanted = settings.select
    lengths, counts, passes = settings.candidates().values()
    splits = validation_splits(seen, wanted.splits, wanted.seed)
    runs: dict[Candidate, list[tuple[float, Curve]]] = {key: [] for key in product(lengths, counts, passes)}
    with progress(f"{seen.name}: select", len(splits) * lengths[-1]) as advance:
        for held_out in splits:
            task = validation_task(seen, held_out, wanted.holdout, wanted.seed)
            for key, found in _score_candidates(task, settings, device, lengths, counts, passes, advance).items():
                runs[key].append(found)
            if observe is not None:
                scores = [validation_figures(found)["score"] for found in runs.values()]
                observe(len(next(iter(runs.values()))), max(scores))
    summary = {key: validation_figures(found) for key, found in runs.items()}
    best = max(summary, key=lambda key: (summary[key]["score"], -key[0], -key[1], -key[2]))
    calibration = settings.classify.calibration
    chosen = {
        "train": {"epochs": best[0]},
        "generate": {"per_unseen": best[1]},
        "classify": {
            "epochs": best[2],
            "calibration": summary[best]["calibration"] if calibration is None else calibration,
        },
        "validation": {"T1": summary[best]["T1"], "H": summary[best]["H"], "splits": len(splits)},
    }
    rows = [
        {"train_epochs": key[0], "per_unseen": key[1], "classify_epochs": key[2], **summary[key]} for key in summary
    ]
    return chosen, rows


def _score_candidates(
    task: Task,
    settings: Settings,
    device: str,
    lengths: Sequence[int],
    counts: Sequence[int],
    passes: Sequence[int],
    advance: Any,
) -> dict[Candidate, tuple[float, Curve]]:
    """One fit to the longest training length, scored at each candidate on the way."""
    longest = settings.train.model_copy(update={"epochs": max(lengths)})
    base = ClusterableSettings.of(settings.model_copy(update={"train": longest}), device)
    method = Clusterable(base)
    found: dict[Candidate, tuple[float, Curve]] = {}

    def observe(done: int) -> None:
        if done in lengths:
            for per_unseen, epochs in product(counts, passes):
                method.settings = base.model_copy(
                    update={
                        "generate": base.generate.model_copy(update={"per_unseen": per_unseen}),
                        "classify": base.classify.model_copy(update={"epochs": epochs}),
                    }
                )
                scores = score(method, task, settings.select.seed)
                found[done, per_unseen, epochs] = scores.zsl_top1, scores.curve()
        advance(1)

    method.fit(task.train, settings.select.seed, observe)
    return found
