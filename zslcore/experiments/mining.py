"""Bucher et al.'s tables: each strategy and ESZSL (Table 1), by number of negatives (Table 2), by epoch (Fig. 1).

λ, m, μ and the growth of D₋ are chosen for each row, each strategy with each n, by a grid search that holds out 20 % of
the training classes, several times over; then the row is fitted on all of them. Accuracies by epoch on test images are
reported and used for no choice.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zslcore.datasets.dataset import Seen
from zslcore.errors import ZSLError
from zslcore.evaluation.intervals import paired_difference
from zslcore.evaluation.metrics import per_class_top1
from zslcore.evaluation.protocol import Task, summarise, validation_task
from zslcore.evaluation.result_cache import CACHE, cached_result, fingerprint
from zslcore.experiments.settings import Grid, Mining
from zslcore.io.layers import flat, merge, nested, validate
from zslcore.methods import registry
from zslcore.methods.base import Method
from zslcore.methods.metric_learning.mining import check_correlation, check_size

STRATEGIES = ("random", "uncertainty", "uncertainty-correlation")
AccuracyByEpoch = list[float]
"""T1 in percent after each epoch (one value for methods without epochs)."""


class FitCounts(NamedTuple):
    """Fits that each table takes, at most."""

    table1: int
    table2: int


@dataclass
class Study:
    """The rows of one data set. Every fit is cached, so that an interrupted study goes on.

    task: the benchmark's; seen: trainval, where the held-out classes are drawn from. Raises ZSLError where any row
    would, before the first fit.
    """

    settings: Mining
    task: Task
    seen: Seen
    device: str = "auto"
    store: Path = CACHE
    advance: Callable[[int], None] = field(default=lambda count: None)
    chosen: dict[str, dict[str, Any]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        seen, share = self.seen, self.settings.holdout_classes
        self.validation = [
            validation_task(seen, hold_out_classes(seen.seen, share, seed), seed=seed)
            for seed in range(self.settings.holdout_draws)
        ]
        self._check()
        self._names = {id(task): fingerprint(task) for task in (self.task, *self.validation)}

    def _check(self) -> None:
        for name, base, grid in (
            ("eszsl", {}, self.settings.eszsl),
            ("metric-learning", self.settings.settings, self.settings.grid),
        ):
            for values in combinations(grid):
                self._make(name, merge(base, values))
        correlation, train = "uncertainty-correlation" in self.strategies, self.task.train
        if correlation:
            assert train.image_attributes is not None
            check_correlation(train.image_attributes, train.labels)
        candidates = train.labels if correlation else np.arange(len(train.signatures))
        check_size(max(self.settings.negatives), len(train.labels), len(candidates))

    def _make(self, name: str, settings: Mapping[str, Any]) -> Method[Any]:
        cls = registry.get(name)
        device = {"device": self.device} if "device" in cls.Settings.model_fields else {}
        return cls(validate(cls.Settings, {**settings, **device}, f"settings of {name}"))

    @property
    def strategies(self) -> tuple[str, ...]:
        """Those the data set allows: correlation needs attribute vectors of images."""
        of_classes = self.settings.settings.get("attributes") == "class" or self.seen.image_attributes is None
        return STRATEGIES[:2] if of_classes else STRATEGIES

    @property
    def fits(self) -> FitCounts:
        """Fits that Table 1 and Table 2 take, at most."""
        strategies, runs, draws = len(self.strategies), self.settings.runs, self.settings.holdout_draws
        search = draws * len(list(combinations(self.settings.grid)))
        eszsl = draws * len(list(combinations(self.settings.eszsl))) + 1
        return FitCounts(
            table1=eszsl + (strategies + 1) * (search + runs),
            table2=strategies * len(self.settings.negatives) * (search + runs),
        )

    def table1(self) -> dict[str, Any]:
        """Mean, std and seeds of T1 of each row, its chosen settings, and its lead over the parent method."""
        rows = {
            "eszsl": self.row("eszsl", {}, self.settings.eszsl),
            "parent": self.mined("random", 1),
            **{strategy: self.mined(strategy, self.settings.negatives[-1]) for strategy in self.strategies},
        }
        for name in rows.keys() - {"eszsl", "parent"}:
            rows[name]["lead over parent"] = lead(rows[name], rows["parent"])
        return rows

    def table2(self) -> dict[str, dict[str, Any]]:
        """Strategy -> n -> row; rows that mine have their leads over the random strategy with the least and most n."""
        rows = {s: {str(n): self.mined(s, n) for n in self.settings.negatives} for s in self.strategies}
        ends = dict.fromkeys((str(self.settings.negatives[0]), str(self.settings.negatives[-1])))
        for strategy in self.strategies[1:]:
            for row in rows[strategy].values():
                row["lead over random"] = {n: lead(row, rows["random"][n]) for n in ends}
        return rows

    def mined(self, strategy: str, n: int) -> dict[str, Any]:
        """One row of metric learning; random with n = 1 is the parent method."""
        base = merge(self.settings.settings, {"mining": {"strategy": strategy, "n": n}})
        return self.row("metric-learning", base, self.settings.grid)

    def row(self, name: str, base: Mapping[str, Any], grid: Grid) -> dict[str, Any]:
        """Choose, then fit once a seed."""
        return self._runs(name, self.choose(name, base, grid))

    def choose(self, name: str, base: Mapping[str, Any], grid: Grid) -> dict[str, Any]:
        """The settings with the best mean T1 over the draws of held-out classes; the first of equals."""
        row = f"{name} {base.get('mining', '')}".strip()
        if row in self.chosen:
            return dict(self.chosen[row]["settings"])
        candidates = [merge(base, values) for values in combinations(grid)]
        scored = [
            float(np.mean([self.fit(name, candidate, task, 0)[-1] for task in self.validation]))
            for candidate in candidates
        ]
        best = int(np.argmax(scored))
        self.chosen[row] = {
            "settings": candidates[best],
            "validation T1": scored[best],
            "candidates": [
                {**flat(values), "T1": score} for values, score in zip(combinations(grid), scored, strict=True)
            ],
        }
        return candidates[best]

    def fit(self, name: str, settings: Mapping[str, Any], task: Task, seed: int) -> AccuracyByEpoch:
        """T1 in percent of one fit after each epoch."""
        method = self._make(name, settings)
        key = {
            "method": name,
            "settings": method.settings.model_dump(mode="json"),
            "task": self._names[id(task)],
            "seed": seed if method.random else 0,
        }
        accuracies: AccuracyByEpoch = cached_result(key, lambda: accuracy_by_epoch(method, task, seed), self.store)
        self.advance(1)
        return accuracies

    def _runs(self, name: str, settings: dict[str, Any]) -> dict[str, Any]:
        seeds = range(self.settings.runs if registry.get(name).random else 1)
        curves = {seed: self.fit(name, settings, self.task, seed) for seed in seeds}
        summary = summarise({s: {"row": {"T1": curve[-1], "epochs": epochs_to(curve)}} for s, curve in curves.items()})
        return {
            "settings": settings,
            "T1": summary["row"]["T1"],
            "epochs to 95 %": summary["row"]["epochs"],
            "curves": {str(seed): curve for seed, curve in curves.items()},
        }


def lead(row: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, float]:
    """Mean, and 95 % interval, of a row's T1 over another's, run by run, in percent."""
    found = paired_difference(row["T1"]["seeds"], other["T1"]["seeds"])
    return {"mean": found.mean, "low": found.low, "high": found.high}


def convergence(rows: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Fig. 1: T1 by epoch, a line each of strategy, n, seed and epoch (from 1), for the least and the largest n."""
    lines = []
    for strategy, by_n in rows.items():
        for n in dict.fromkeys((next(iter(by_n)), list(by_n)[-1])):
            for seed, curve in by_n[n]["curves"].items():
                for epoch, value in enumerate(curve, 1):
                    run = {"strategy": strategy, "n": int(n), "run": f"{strategy}, n = {n}", "seed": int(seed)}
                    lines.append({**run, "epoch": epoch, "T1": value})
    return lines


def hold_out_classes(seen: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """A random share of the seen classes, at least 2. Raises ZSLError where fewer than 2 would be left."""
    count = max(2, round(share * len(seen)))
    if len(seen) - count < 2:
        raise ZSLError(
            f"{len(seen)} seen classes: holding out {count} of them to choose settings on leaves fewer than two to "
            f"learn from; use a data set with at least {count + 2}, or fit the method with settings of your own"
        )
    return np.sort(np.random.default_rng(seed).permutation(seen)[:count])


def combinations(grid: Grid) -> Iterator[dict[str, Any]]:
    """Every combination of the values of a grid, in order: {"mining.growth": ...} as {"mining": {"growth": ...}}."""
    for values in product(*grid.values()):
        yield nested(dict(zip(grid, values, strict=True)))


def accuracy_by_epoch(method: Method[Any], task: Task, seed: int) -> AccuracyByEpoch:
    """T1 in percent of a method on a task's unseen classes, after each epoch of its fit; at least after the last."""
    accuracies: AccuracyByEpoch = []
    signatures = task.signatures[~task.seen_mask]

    def measure() -> float:
        scorer = method.for_classes(signatures, np.zeros(len(signatures), dtype=bool), seed)
        predicted = task.seen_count + scorer.scores(task.unseen_features).argmax(axis=1)
        return 100 * per_class_top1(task.unseen_labels, predicted)

    method.fit(task.train, seed, lambda done: accuracies.append(measure()))
    return accuracies or [measure()]


def epochs_to(accuracies: AccuracyByEpoch, share: float = 0.95) -> int:
    """The first epoch (from 1) with at least `share` of the final accuracy."""
    return 1 + next(epoch for epoch, value in enumerate(accuracies) if value >= share * accuracies[-1])
