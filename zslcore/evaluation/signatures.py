"""Which sources of signatures, at which weights, centred or not: chosen on validation classes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from zslcore.datasets.dataset import Seen, choosable, sources_of
from zslcore.evaluation.search import choose
from zslcore.evaluation.select import Row, select
from zslcore.methods.eszsl import ESZSL
from zslcore.settings import Settings, Signatures
from zslcore.signatures.compose import Composition, check_weights, fixed, provenance

WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Of a source that joins others, whose weights are 1 in all."""
GRID = tuple(
    {"signature_scaling": scaling, "alpha": alpha, "gamma": gamma}
    for scaling, alpha, gamma in product(("centred",), (-1.0, 0.0, 1.0), (-1.0, 0.0, 1.0))
)
"""Settings of the judge."""


@dataclass(frozen=True)
class Judged:
    """A composition and what ESZSL reaches with it, in percent, means over validation tasks."""

    composition: Composition
    top1: float
    harmonic: float

    @property
    def score(self) -> float:
        """What is maximised: the mean of T1 and H."""
        return (self.top1 + self.harmonic) / 2


def judge(seen: Seen, composition: Composition, splits: int, seed: int) -> Judged:
    """What ESZSL, in closed form, reaches on validation classes with a composition, its ridge terms chosen there."""
    best, _ = choose(ESZSL, seen.composed(composition), among=GRID, budget=len(GRID), splits=splits, seed=seed)
    return Judged(composition, best.top1, best.harmonic)


def judge_all(seen: Seen, splits: int = 3, seed: int = 0) -> list[Judged]:
    """Each source alone, then joined, the best first: a source joins at the weight that helps most, while one helps.

    So the best is never worse than the best source alone; of equals, the one of fewer sources.
    """
    sources = sources_of(seen)
    judged = [judge(seen, Composition(weights={name: 1.0}), splits, seed) for name in sources]
    best = max(judged, key=lambda one: one.score)
    while left := [name for name in sources if name not in best.composition.weights]:
        joined = [
            judge(seen, Composition(weights=_with(best.composition.weights, name, weight)), splits, seed)
            for name, weight in product(left, WEIGHTS)
        ]
        judged += joined
        if (next_best := max(joined, key=lambda one: one.score)).score <= best.score:
            break
        best = next_best
    return sorted(judged, key=lambda one: (-one.score, len(one.composition.weights)))


def _with(weights: Mapping[str, float], name: str, weight: float) -> dict[str, float]:
    total = float(np.sqrt(sum(one**2 for one in weights.values())))
    return {other: one / total for other, one in weights.items()} | {name: weight}


def choose_composition(seen: Seen, settings: Signatures, splits: int = 3, seed: int = 0) -> Composition:
    """What the settings say, and where they leave it open, what suits ESZSL best on validation classes.

    With too few seen classes to choose on, the data set's first source as it is. Raises ZSLError for weights of sources
    that the data set has not.
    """
    check_weights(sources_of(seen), settings)
    if (given := fixed(settings)) is not None:
        return given
    centre = settings.centre is not False
    if settings.weights != "auto":
        return Composition(weights={} if settings.weights == "first" else settings.weights, centre=centre)
    if not choosable(seen) or len(sources_of(seen)) == 1:
        return Composition(centre=settings.centre is True)
    return judge_all(seen, splits, seed)[0].composition.model_copy(update={"centre": centre})


def finalists(seen: Seen, settings: Signatures, splits: int, seed: int) -> list[Composition]:
    """What the main method itself has to try: what suits ESZSL best, each of its parts where it is joined, centred
    and not where that is open. Simpler ones first."""
    best = choose_composition(seen, settings, splits, seed)
    chosen = settings.weights == "auto" and len(best.weights) > 1
    weights = [{name: 1.0} for name in best.weights] if chosen else []
    centres = (False, True) if settings.centre == "auto" and choosable(seen) else (best.centre,)
    return [Composition(weights=some, centre=centre) for some in (*weights, best.weights) for centre in centres]


def select_all(
    seen: Seen,
    settings: Settings,
    device: str,
    select: Callable[[Seen, Settings, str], tuple[dict[str, Any], Sequence[Row]]] = select,
) -> tuple[dict[str, Any], Sequence[Row]]:
    """`select` with each of the finalists, and the one whose best score on validation classes is highest.

    So joined signatures are taken only where they beat each of their parts there. The choice also has `signatures`:
    what was taken and, of several, the figures of all (`tried`).
    """
    sources, tried = sources_of(seen), []
    best: tuple[float, dict[str, Any], Sequence[Row]] | None = None
    for composition in finalists(seen, settings.signatures, settings.select.splits, settings.select.seed):
        selected, table = select(seen.composed(composition), settings, device)
        figures: Mapping[str, float] = selected["validation"]
        score = (figures["T1"] + figures["H"]) / 2 if "T1" in figures else 0.0
        tried.append({"label": composition.label(sources), **{name: figures.get(name) for name in ("T1", "H")}})
        if best is None or score > best[0]:
            best = score, {**selected, "signatures": provenance(sources, composition)}, table
    assert best is not None
    _, chosen, table = best
    if len(tried) > 1:
        chosen["signatures"]["tried"] = tried
    return chosen, table
