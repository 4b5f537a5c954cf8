"""Hyper-parameters of any method, chosen on validation classes: settings, training length, calibration factor."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from zslcore.datasets.dataset import Seen
from zslcore.errors import ZSLError
from zslcore.evaluation.cells import cell, fingerprint
from zslcore.evaluation.metrics import Curve
from zslcore.evaluation.protocol import Task, fit, score, validation_figures, validation_splits, validation_task
from zslcore.methods.base import Method
from zslcore.progress import progress

LENGTHS = 10
"""How many training lengths of one run are scored unless told otherwise, evenly spaced."""


@dataclass(frozen=True)
class Trial:
    """A candidate and its mean figures over validation tasks, in percent; settings hold the best training length."""

    settings: dict[str, Any]
    calibration: float
    top1: float
    harmonic: float
    tasks: int

    @property
    def score(self) -> float:
        """What is maximised: the mean of T1 and of H at the calibration factor."""
        return (self.top1 + self.harmonic) / 2

    def summary(self) -> dict[str, Any]:
        """As a mapping, for JSON."""
        return asdict(self)


def choose(
    method: type[Method],
    seen: Seen,
    *,
    budget: int = 20,
    splits: int = 3,
    holdout: float = 0.2,
    seed: int = 0,
    lengths: int = LENGTHS,
    among: Sequence[Mapping[str, Any]] | None = None,
    store: Path | None = None,
    fixed: Mapping[str, Any] | None = None,
) -> tuple[Trial, list[Trial]]:
    """Search `method.search_space` on validation classes only: (the best trial, all trials).

    `budget` candidates (the default settings first, then random ones, none twice) are scored on the first validation
    task; the best quarter (at least one) goes on to all `splits` tasks, and the best mean there wins.
    among: candidates to try in place of the search space. lengths: of one run that are scored, evenly spaced.
    store: folder where each trial is kept, so that an interrupted search goes on; None: nowhere. fixed: settings that
    every candidate shares.
    Raises ZSLError when no candidate can be fitted.
    """
    tasks = validation_tasks(seen, splits, holdout, seed)
    names = [fingerprint(task) for task in tasks] if store is not None else []

    def tried(settings: Mapping[str, Any], count: int) -> Trial:
        if store is None:
            return assess(method, settings, tasks[:count], seed, lengths)
        full = method.Settings(**settings).model_dump(mode="json")
        key = {"trial": method.name, "settings": full, "tasks": names[:count], "seed": seed, "lengths": lengths}
        kept = cell(key, lambda: assess(method, settings, tasks[:count], seed, lengths).summary(), store)
        return Trial(**kept)

    def fitted(among: Sequence[Mapping[str, Any]], count: int) -> list[Trial]:
        found, failures = [], []
        note = f"each on {count} of {len(tasks)} tasks"
        for settings in among:
            advance(0, note)
            try:
                found.append(tried(settings, count))
            except ZSLError as error:  # a candidate may be numerically impossible (singular, diverging): not chosen
                failures.append(str(error))
            advance(1, note)
        if not found:
            raise ZSLError(f"{method.name}: no candidate could be fitted on validation classes: {failures[0]}")
        return found

    wanted = [
        {**(fixed or {}), **settings}
        for settings in islice(candidates(method.search_space, seed) if among is None else among, budget)
    ]
    finalists = min(max(1, budget // 4), len(wanted))
    steps = len(wanted) + (finalists if len(tasks) > 1 else 0)
    with progress(f"{seen.name}: choosing settings of {method.name}", steps) as advance:
        first = fitted(wanted, 1)
        best = sorted(first, key=lambda trial: -trial.score)[:finalists]
        if len(tasks) == 1:
            return best[0], first
        last = fitted([trial.settings for trial in best], len(tasks))
    return max(last, key=lambda trial: trial.score), [*first, *last]


def validation_tasks(seen: Seen, splits: int = 3, holdout: float = 0.2, seed: int = 0) -> list[Task]:
    """The pretend problems that choices are made on."""
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
    method: type[Method], settings: Mapping[str, Any], tasks: Sequence[Task], seed: int = 0, lengths: int = LENGTHS
) -> Trial:
    """Fit and score one candidate on every task; where it has `epochs`, at `lengths` training lengths of one run.

    lengths: 1 keeps the training length of the settings.
    An optimiser of another kind (Optuna's, say) can call this with the settings it suggests, on `validation_tasks`.
    """
    made = method.Settings(**settings)
    epochs: int | None = getattr(made, "epochs", None)
    stops = {round(epochs * part / lengths) for part in range(1, lengths + 1)} - {0} if epochs else set()
    runs: dict[int, list[tuple[float, Curve]]] = {}
    for task in tasks:
        fitted = method(made)

        def look(done: int, fitted: Method = fitted, task: Task = task) -> None:
            scores = score(fitted, task, seed)
            runs.setdefault(done, []).append((scores.zsl_top1, scores.curve()))

        fit(fitted, task, seed, lambda done, look=look: look(done) if done in stops else None)  # type: ignore[misc]
        if not stops:
            look(0)
    figures = {done: validation_figures(found) for done, found in runs.items()}
    best = max(figures, key=lambda done: figures[done]["score"])
    kept = {**settings, "epochs": best} if epochs else dict(settings)
    found = figures[best]
    return Trial(kept, found["calibration"], found["T1"], found["H"], len(tasks))
