"""What a model's signatures are made of, where they are not simply the numbers of a table: new ones go the same way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zslcore.datasets.dataset import Dataset, sources_of
from zslcore.errors import ZSLError
from zslcore.model.classes import signature
from zslcore.model.header import BasisHeader, SourceHeader
from zslcore.signatures.compose import Composition, compose
from zslcore.signatures.describe import describe_new
from zslcore.signatures.source import Source
from zslcore.signatures.texts import ClassTexts, checked


@dataclass(frozen=True)
class Basis:
    """The sources of a model's signatures, as they stand before they are put together.

    values: (classes, a) float32, the sources side by side, of the data set's classes in its own order, on which a
    fitted encoder may rest; seen: (classes,) bool, which of these are seen.
    """

    header: BasisHeader
    values: NDArray[np.float32]
    seen: NDArray[np.bool_]

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the a columns."""
        return tuple(name for source in self.header.sources for name in source.attributes)

    def describe(self, classes: Mapping[str, Any]) -> NDArray[np.float32]:
        """Signatures (new classes, a): of texts, one or a list of them a class, or of numbers, as `signature` takes.

        Raises ZSLError for the other kind than the model's, and for texts whose encoder is not the one that made the
        model's signatures.
        """
        worded = [name for name, values in classes.items() if _is_text(values)]
        if self.header.of_texts and len(worded) < len(classes):
            strange = next(name for name in classes if name not in worded)
            raise ZSLError(f"class {strange!r}: the model's classes are described by texts; give a text, or several")
        if not self.header.of_texts and (worded or any(source.texts for source in self.header.sources)):
            named = " and ".join(f"{one.name} ({'texts' if one.texts else 'numbers'})" for one in self.header.sources)
            raise ZSLError(
                f"class {next(iter(classes))!r}: the model's signatures are of {named}: give numbers where all are of "
                "numbers; texts where all are of texts; of both nothing new can be described"
            )
        if self.header.of_texts:
            written = {name: [text] if isinstance(text, str) else text for name, text in classes.items()}
            texts = {name: checked(name, some, "new classes") for name, some in written.items()}
            added = [describe_new(source, ClassTexts("new classes", texts, {})) for source in self._sources().values()]
        else:
            rows = np.stack([signature(name, values, self.attributes) for name, values in classes.items()])
            added = np.split(rows, self._ends()[:-1], axis=1)
        joined = {
            name: Source(np.concatenate([source.values, new]))
            for (name, source), new in zip(self._sources().items(), added, strict=True)
        }
        weights = {one.name: one.weight for one in self.header.sources}
        composed = compose(joined, Composition(weights=weights, centre=self.header.centre), np.flatnonzero(self.seen))
        return composed[len(self.values) :]

    def _ends(self) -> NDArray[np.int64]:
        return np.cumsum([len(source.attributes) for source in self.header.sources])

    def _sources(self) -> dict[str, Source]:
        parts = np.split(self.values, self._ends()[:-1], axis=1)
        return {
            one.name: Source(values, one.about, one.texts)
            for one, values in zip(self.header.sources, parts, strict=True)
        }


def basis_of(data: Dataset, composition: Composition) -> Basis | None:
    """Of a data set before its sources are put together; None where its signatures are the numbers of its table."""
    sources = sources_of(data)
    if composition.is_first(sources) and next(iter(sources.values())).made == "given":
        return None
    parts, values = [], []
    for name, weight in (composition.weights or {next(iter(sources)): 1.0}).items():
        source = sources[name]
        width = source.values.shape[1]
        named = name == next(iter(sources)) and len(data.attribute_names) == width
        names = data.attribute_names if named else tuple(f"{name} {k}" for k in range(1, width + 1))
        parts.append(
            SourceHeader(name=name, weight=weight, attributes=names, about=dict(source.about), texts=source.texts)
        )
        values.append(source.values)
    header = BasisHeader(classes=data.classes, sources=tuple(parts), centre=composition.centre)
    seen = np.isin(np.arange(len(data.classes)), data.seen)
    return Basis(header, np.concatenate(values, axis=1), seen)


def _is_text(values: Any) -> bool:
    return isinstance(values, str) or (
        isinstance(values, Sequence) and bool(values) and all(isinstance(one, str) for one in values)
    )
