"""Several sources of signatures put together: each centred or not, at one length, by its weight, side by side."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from zslcore.errors import ZSLError, unknown
from zslcore.scaling import Scaler
from zslcore.settings import Section, Signatures
from zslcore.signatures.source import Source

GIVEN = "attributes"
"""What signatures are called where nothing else is said; published figures stand next to theirs alone."""
Sources = Mapping[str, Source]
"""By name, the data set's first one first."""


class Composition(Section):
    """Which sources, at which weights. weights: empty for the data set's first source."""

    weights: dict[str, float] = Field({}, description="source -> weight, above 0")
    centre: bool = False

    def is_first(self, sources: Sources) -> bool:
        """Whether nothing is done: the first source as it stands."""
        return not self.centre and list(self.weights) in ([], [next(iter(sources))])

    def label(self, sources: Sources) -> str:
        """In words: "attributes", "text (tfidf), centred", "attributes + 0.5 text (tfidf)"."""
        names = self.weights or {next(iter(sources)): 1.0}
        largest = max(names.values())
        parts = []
        for name, weight in names.items():
            made = sources[name].made
            parts.append("" if weight == largest else f"{weight / largest:.2g} ")
            parts[-1] += name if made == "given" else f"{name} ({made})"
        return " + ".join(parts) + (", centred" if self.centre else "")


def compose(sources: Sources, composition: Composition, seen: NDArray[np.int64]) -> NDArray[np.float32]:
    """The signatures (classes, a) float32 that methods get.

    One source that is not to be centred stays as it is. Otherwise rows of each are taken less the mean of the seen
    classes' (`centre`), brought to length 1 and multiplied by the source's share of the weights, and the sources stand
    side by side in the columns: all rows have length 1, and no unseen class moves another's.
    seen: (k,) int64, the seen classes. Raises ZSLError for an unknown source.
    """
    weights = composition.weights or {next(iter(sources)): 1.0}
    for name in weights:
        if name not in sources:
            raise unknown("source of signatures", name, sources)
    if len(weights) == 1 and not composition.centre:
        return sources[next(iter(weights))].values
    total = float(np.sqrt(sum(weight**2 for weight in weights.values())))
    parts = []
    for name, weight in weights.items():
        values = sources[name].values
        scaler = Scaler.fit(values[seen], "centred" if composition.centre else "l2")
        parts.append(np.float32(weight / total) * scaler(values))
    return np.concatenate(parts, axis=1)


def fixed(settings: Signatures) -> Composition | None:
    """What the settings say; None where some of it is to be chosen on validation classes."""
    if settings.weights == "auto" or settings.centre == "auto":
        return None
    return Composition(weights={} if settings.weights == "first" else settings.weights, centre=settings.centre)


def of_attributes(sources: Sources, otherwise: Composition) -> Composition:
    """The attributes, for methods that ask whether a class has one; else the first given numbers; else `otherwise`."""
    given = [name for name, source in sources.items() if source.made == "given"]
    if not given:
        return otherwise
    taken = GIVEN if GIVEN in given else given[0]
    return Composition() if taken == next(iter(sources)) else Composition(weights={taken: 1.0})


def check_weights(sources: Sources, settings: Signatures) -> None:
    """Raise ZSLError for weights of sources that the data set has not."""
    if isinstance(settings.weights, dict) and (strange := [name for name in settings.weights if name not in sources]):
        raise ZSLError(f"signatures.weights: {unknown('source of signatures', strange[0], sources)}")


def provenance(sources: Sources, composition: Composition) -> dict[str, Any]:
    """What stands in a result about its signatures."""
    names = composition.weights or {next(iter(sources)): 1.0}
    made = {
        name: {key: value for key, value in sources[name].about.items() if key not in ("names", "seen")}
        for name in names
        if sources[name].about
    }
    plain = {"label": composition.label(sources), "weights": dict(names), "centre": composition.centre}
    return plain | ({"made": made} if made else {})
