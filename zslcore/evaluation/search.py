"""Hyper-parameters of any method, chosen on validation classes: settings, training length, calibration factor."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from zslcore.compute.jobs import in_order
from zslcore.datasets.dataset import Seen
from zslcore.errors import ZSLError
from zslcore.evaluation.metrics import SeenUnseenCurve
from zslcore.evaluation.protocol import (
    HOLDOUT,
    Task,
    fit,
    score,
    validation_figures,
    validation_splits,
    validation_task,
)
from zslcore.evaluation.result_cache import cached_result, fingerprint
from zslcore.methods.base import Method

LENGTHS = 10
"""How many training lengths of one run are scored by default, evenly spaced."""


@dataclass(frozen=True)
class Trial:
    """A candidate and its mean figures over validation tasks, in percent; settings hold the best training length.

    longest: whether that was the longest of several that were scored, so that training on might be better still.
    """

    settings: dict[str, Any]
    calibration: float
    top1: float
    harmonic: float
    tasks: int
    longest: bool = False

    @property
    def score(self) -> float:
        """What is maximised: the mean of T1 and of H at the calibration factor."""
        return (self.top1 + self.harmonic) / 2

    def summary(self) -> dict[str, Any]:
        """As a mapping, for JSON."""
        return asdict(self)


def choose(
    method: type[Method[Any]],
    seen: Seen,
    *,
    budget: int = 20,
    splits: int = 3,
    holdout: float = HOLDOUT,
    seed: int = 0,
    lengths: int = LENGTHS,
    among: Sequence[Mapping[str, Any]] | None = None,
    store: Path | None = None,
    fixed: Mapping[str, Any] | None = None,
) -> tuple[Trial, list[Trial]]:
    """Choose the settings of any method on validation classes, out of its search space; `select`: the main method's.

    `budget` candidates (the default settings first, then random ones, none twice) are scored on the first validation
    task; the best quarter (at least one) goes on to all `splits` tasks, and the best mean there wins. Returns the best
    trial and all trials.
    among: candidates to try in place of the search space. lengths: of one run that are scored, evenly spaced.
    store: folder where each trial is cached, so that an interrupted search goes on; None: nowhere. fixed: settings that
    every candidate shares.
    Raises ZSLError when no candidate can be fitted.
    """
    tasks = validation_tasks(seen, splits, holdout, seed)
    names = [fingerprint(task) for task in tasks] if store is not None else []
    device = (fixed or {}).get("device", "cpu")

    def assess_all(candidates: Sequence[Mapping[str, Any]], count: int) -> list[Trial]:
        what = f"{seen.name}: choosing settings of {method.name}, each on {count} of {len(tasks)} tasks"
        one = partial(_assess_cached, method, tasks[:count], names[:count], seed, lengths, store)
        assessed = list(in_order(what, one, [(settings,) for settings in candidates], device))
        trials = [trial for trial in assessed if isinstance(trial, Trial)]
        if not trials:
            raise ZSLError(f"{method.name}: no candidate could be fitted on validation classes: {assessed[0]}")
        return trials

    to_try = [
        {**(fixed or {}), **settings}
        for settings in islice(candidates(method.search_space, seed) if among is None else among, budget)
    ]
    finalists = min(max(1, budget // 4), len(to_try))
    first = assess_all(to_try, 1)
    best = sorted(first, key=lambda trial: -trial.score)[:finalists]
    if len(tasks) == 1:
        return best[0], first
    last = assess_all([trial.settings for trial in best], len(tasks))
    return max(last, key=lambda trial: trial.score), [*first, *last]


def _assess_cached(
    method: type[Method[Any]],
    tasks: Sequence[Task],
    names: Sequence[str],
    seed: int,
    lengths: int,
    store: Path | None,
    settings: Mapping[str, Any],
) -> Trial | str:
    """The candidate's figures, or why it could not be fitted: it may be numerically impossible (singular, diverging).

    names: of the tasks, in `store`.
    """
    try:
        if store is None:
            return assess(method, settings, tasks, seed, lengths)
        complete = method.Settings(**settings).model_dump(mode="json")
        key = {"trial": method.name, "settings": complete, "tasks": names, "seed": seed, "lengths": lengths}
        return Trial(**cached_result(key, lambda: assess(method, settings, tasks, seed, lengths).summary(), store))
    except ZSLError as error:
        return str(error)


def validation_tasks(seen: Seen, splits: int = 3, holdout: float = HOLDOUT, seed: int = 0) -> list[Task]:
    """The validation tasks that choices are made on, one a split; holdout: share of the images that play test_seen.

    Raises ZSLError where too few classes are seen to hold any out.
    """
    return [validation_task(seen, held_out, holdout, seed) for held_out in validation_splits(seen, splits, seed)]


def candidates(space: Mapping[str, tuple[Any, ...]], seed: int = 0) -> Iterator[dict[str, Any]]:
    """Settings to try: none (the defaults), then every point of the search space once, in random order."""
    yield {}
    random = np.random.default_rng(seed)
    tried: set[tuple[int, ...]] = set()
    points = prod(len(values) for values in space.values()) if space else 0
    while len(tried) < points:
        places = tuple(int(random.integers(len(values))) for values in space.values())
        if places not in tried:
            tried.add(places)
            yield {name: values[place] for (name, values), place in zip(space.items(), places, strict=True)}


def assess(
    method: type[Method[Any]], settings: Mapping[str, Any], tasks: Sequence[Task], seed: int = 0, lengths: int = LENGTHS
) -> Trial:
    """Fit and score one candidate on every task; where it has `epochs`, at `lengths` training lengths of one run.

    lengths: 1 keeps the training length of the settings.
    An optimiser of another kind (Optuna's, say) can call this with the settings it suggests, on `validation_tasks`.
    Raises ZSLError for settings or data with which the method cannot be fitted.
    """
    complete = method.Settings(**settings)
    epochs: int | None = getattr(complete, "epochs", None)
    stops = {round(epochs * part / lengths) for part in range(1, lengths + 1)} - {0} if epochs else set()
    scored: dict[int, list[tuple[float, SeenUnseenCurve]]] = {}
    for task in tasks:
        candidate = method(complete)

        def record(done: int, candidate: Method[Any] = candidate, task: Task = task) -> None:
            scores = score(candidate, task, seed)
            scored.setdefault(done, []).append((scores.zsl_top1, scores.curve()))

        fit(candidate, task, seed, lambda done, record=record: record(done) if done in stops else None)  # type: ignore[misc]
        if not stops:
            record(0)
    means = {done: validation_figures(tasks_scored) for done, tasks_scored in scored.items()}
    best = max(means, key=lambda done: means[done]["score"])
    chosen = {**settings, "epochs": best} if epochs else dict(settings)
    longest = len(stops) > 1 and best == max(stops)
    return Trial(chosen, means[best]["calibration"], means[best]["T1"], means[best]["H"], len(tasks), longest)
