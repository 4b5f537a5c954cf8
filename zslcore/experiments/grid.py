"""Which backbone, which signatures, which method? Each combination, chosen and measured as any other run is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zslcore.datasets.dataset import Dataset, Seen, sources_of
from zslcore.errors import ZSLError, unknown
from zslcore.evaluation.select import select
from zslcore.evaluation.selected import fill
from zslcore.evaluation.signatures import choose_composition
from zslcore.experiments.compare import Given, compare
from zslcore.experiments.settings import Compare
from zslcore.methods import registry
from zslcore.methods.base import Method
from zslcore.methods.clusterable.estimator import Clusterable, ClusterableSettings
from zslcore.settings import Settings, number_or
from zslcore.signatures.compose import of_attributes

FIGURES = ("zsl", "gzsl", "diagnostic")
"""Groups of metrics that a cell has."""


@dataclass(frozen=True)
class Cell:
    """One combination. signatures: names of sources, which stand side by side where that suits validation classes."""

    backbone: str
    signatures: tuple[str, ...]
    method: str

    @property
    def parts(self) -> tuple[str, str, str]:
        """Backbone, signatures and method, as they were asked for."""
        return self.backbone, "+".join(self.signatures), self.method

    @property
    def label(self) -> str:
        """In one line."""
        return ", ".join(self.parts)


def cells(backbones: Sequence[str], signatures: Sequence[str], methods: Sequence[str]) -> list[Cell]:
    """Every combination; signatures: "att", or "att+text". Raises ZSLError for a method that is not known."""
    for method in methods:
        if registry.get(method).input == "maps":
            raise ZSLError(f"{method} learns from feature maps, which `zsl compare` measures; name methods on vectors")
    described = [tuple(part.strip() for part in one.split("+")) for one in signatures]
    return list(dict.fromkeys(Cell(b, s, m) for b in backbones for s in described for m in methods))


def short_labels(asked: Sequence[Cell]) -> list[str]:
    """What tells the cells apart: labels without what all of them share."""
    telling = [len(set(column)) > 1 for column in zip(*(cell.parts for cell in asked), strict=True)]
    return [", ".join(part for part, tells in zip(cell.parts, telling, strict=True) if tells) for cell in asked]


def describe(
    method: type[Method[Any]], data: Dataset, seen: Seen, names: Sequence[str], settings: Settings, choice: Compare
) -> tuple[Dataset, Seen]:
    """Both with signatures of these sources alone, joined where ESZSL gains by it on validation classes.

    Raises ZSLError for a source that the data set has not.
    """
    sources = sources_of(seen)
    for name in names:
        if name not in sources:
            raise unknown("source of signatures", name, sources)
    some = {name: sources[name] for name in names}
    few = replace(seen, signatures=some[names[0]].values, sources=some)
    open_weights = settings.signatures.model_copy(update={"weights": "auto"})
    composition = choose_composition(few, open_weights, choice.splits, choice.seed)
    if not composition.weights:
        composition = composition.model_copy(update={"weights": {names[0]: 1.0}})
    if method.needs_binary_attributes:
        composition = of_attributes(some, composition)
    return data.composed(composition), seen.composed(composition)


def measure(
    method: type[Method[Any]],
    data: Dataset,
    seen: Seen,
    features: NDArray[np.float32],
    settings: Settings,
    choice: Compare,
    seeds: Sequence[int],
    device: str,
) -> dict[str, Any]:
    """A cell's `about` and figures: mean and standard deviation over seeds, in percent.

    What is open is chosen on validation classes: by `select` for the main method, by `choose` for any other.
    features: (n, d) of all images. Raises ZSLError as these do.
    """
    given = validation = None
    if issubclass(method, Clusterable):
        selected, _ = select(seen, settings, device)
        filled, validation = fill(settings, selected), selected["validation"]
        of_method = ClusterableSettings.of(filled, device).model_dump()
        given = Given(settings=of_method, calibration=number_or(filled.classify.calibration, 0.0))
    found = compare(method, data, seen, features, given, choice, seeds, device)
    about = found["about"]
    validation = validation or about["validation"]
    shown = {name: about[name] for name in ("method", "signatures", "seeds", "settings", "calibration")}
    figures = {name: validation[name] for name in ("T1", "H")}
    return {"about": {**shown, "validation": figures}, **{group: found[group] for group in FIGURES}}


def best(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The cell with the largest mean of T1 and H on validation classes: no test figure counts."""
    return max(found, key=lambda name: sum(found[name]["about"]["validation"].values()))
