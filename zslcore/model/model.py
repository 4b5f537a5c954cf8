"""A fitted model: names images, knows new classes by their description, fits in one file."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from zslcore.errors import ZSLError, unknown
from zslcore.io import artifacts
from zslcore.layers import validate
from zslcore.methods import registry
from zslcore.methods.base import Method, Scorer, check_distinct
from zslcore.model.header import Header
from zslcore.model.prediction import Prediction

AT_ONCE = 2**22
"""Probabilities that are in memory at a time."""
Side = Literal["joint", "unseen"]


@dataclass(frozen=True)
class Model:
    """A fitted model and the classes it chooses from.

    signatures: (classes, a) float32; seen: (classes,) bool, seen classes first, in the order of `fit`, or none of them.
    methods: the fitted method of each seed; their probabilities are averaged. cache: folder where the classifiers of
    new label spaces are kept; None: nowhere.
    """

    header: Header
    signatures: NDArray[np.float32]
    seen: NDArray[np.bool_]
    methods: tuple[Method[Any], ...]
    cache: Path | None = None

    @property
    def name(self) -> str:
        """Of the data set it was trained on."""
        return self.header.name

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes it chooses from."""
        return self.header.classes

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the a entries of a signature."""
        return self.header.attributes

    def predict_features(
        self,
        features: NDArray[np.float32],
        top: int = 5,
        among: str | Collection[str] = "all",
        none: float = 0.05,
        explain: bool = False,
    ) -> list[Prediction]:
        """Name images by their features (n, d) float32, unscaled.

        top: classes of each prediction. among: all, seen, unseen, or names of the classes to choose from. none: the
        share of images of known classes that may be called strangers, in [0, 1]. explain: say which attributes spoke.
        Raises ZSLError for features the model does not take, and for names it does not know.
        """
        columns, side = self._choose(among)
        found = []
        for start in range(0, len(features), rows := max(1, AT_ONCE // len(self.classes))):
            chances = self._chances(features[start : start + rows], columns, side)
            count = min(top, len(columns))
            best = np.argpartition(-chances, count - 1, axis=1)[:, :count] if count < len(columns) else None
            for row, chance in enumerate(chances):
                order = np.arange(len(columns)) if best is None else np.sort(best[row])
                order = order[np.argsort(-chance[order], kind="stable")]
                names = tuple(self.classes[columns[k]] for k in order)
                found.append(Prediction(None, names, tuple(chance[order].tolist())))
        return found

    def probabilities(self, features: NDArray[np.float32], among: str | Collection[str] = "all") -> NDArray[np.float32]:
        """(n, d) features -> (n, classes) in [0, 1]; rows sum to 1. Classes that do not compete have 0."""
        columns, side = self._choose(among)
        out = np.zeros((len(features), len(self.classes)), np.float32)
        for start in range(0, len(features), rows := max(1, AT_ONCE // len(self.classes))):
            out[start : start + rows, columns] = self._chances(features[start : start + rows], columns, side)
        return out

    def with_classes(self, classes: Mapping[str, Any], replace: bool = False) -> "Model":
        """A model that knows these classes too, of which it has seen no image.

        classes: name -> the value of each attribute by its name, or all of them in order. replace: it knows no others.
        Raises ZSLError for unknown and missing attributes, values that are no finite numbers, and names it has.
        """
        added = np.array([self._signature(name, values) for name, values in classes.items()], np.float32)
        if not classes:
            raise ZSLError("no new class; name at least one, and describe it")
        if known := sorted(set(self.classes) & set(classes)) if not replace else []:
            raise ZSLError(f"the model has a class '{known[0]}' already; call the new one otherwise")
        names = (*(() if replace else self.classes), *classes)
        signatures = added if replace else np.concatenate([self.signatures, added])
        seen = np.zeros(len(names), bool)
        if not replace:
            seen[: len(self.seen)] = self.seen
        check_distinct(signatures, names)
        header = self.header.model_copy(update={"classes": names})
        return Model(header, signatures, seen, self.methods, self.cache)

    def save(self, path: Path | str) -> None:
        """Write it as one file, atomically; the same model gives the same bytes."""
        tensors: dict[str, NDArray[Any]] = {"signatures": self.signatures, "seen": self.seen}
        for seed, method in zip(self.header.seeds, self.methods, strict=True):
            tensors |= {f"seed={seed}/state/{name}": value for name, value in method.state().items()}
        artifacts.save_tensors(Path(path), artifacts.PACKAGED, tensors, self.header.model_dump(mode="json"))

    @classmethod
    def load(cls, path: Path | str, cache: Path | None = None) -> Self:
        """Read a model file. Raises ZSLError when it is damaged, of another version, or of an unknown method."""
        path = Path(path)
        about, tensors = artifacts.read_tensors(path, artifacts.PACKAGED)
        header: Header = validate(Header, about, str(path))
        kind = registry.get(header.method)
        settings = validate(kind.Settings, header.settings, f"{path}: settings of '{header.method}'")
        methods = []
        for seed in header.seeds:
            method = kind(settings)
            method.set_state(artifacts.under(tensors, f"seed={seed}/state/"))
            methods.append(method)
        return cls(header, tensors["signatures"], tensors["seen"], tuple(methods), cache)

    def _signature(self, name: str, values: Any) -> list[float]:
        if isinstance(values, Mapping):
            for attribute in values:
                if attribute not in self.attributes:
                    raise ZSLError(f"class '{name}': {unknown('attribute', str(attribute), self.attributes)}")
            missing = [attribute for attribute in self.attributes if attribute not in values]
            if missing:
                raise ZSLError(f"class '{name}': {len(missing)} attributes without a value: {', '.join(missing[:10])}")
            values = [values[attribute] for attribute in self.attributes]
        numbers = np.asarray(values, float)
        if numbers.shape != (len(self.attributes),):
            raise ZSLError(f"class '{name}': {numbers.size} values for {len(self.attributes)} attributes")
        if not np.isfinite(numbers).all():
            wrong = self.attributes[int(np.flatnonzero(~np.isfinite(numbers))[0])]
            raise ZSLError(f"class '{name}': {wrong} is no finite number")
        return list(numbers)

    def _choose(self, among: str | Collection[str]) -> tuple[NDArray[np.int64], Side]:
        """Positions of the classes that compete, and the label space whose scores they have."""
        masks = {"all": np.ones(len(self.seen), bool), "seen": self.seen, "unseen": ~self.seen}
        if isinstance(among, str):
            if among not in masks:
                raise unknown("choice of classes", among, masks)
            columns = np.flatnonzero(masks[among])
        else:
            position = {name: k for k, name in enumerate(self.classes)}
            for name in among:
                if name not in position:
                    raise unknown("class", name, position, most=10)
            columns = np.array(sorted(position[name] for name in set(among)), np.int64)
        if len(columns) < 2:
            raise ZSLError(f"{len(columns)} classes to choose from; give at least two")
        return columns, "joint" if self.seen[columns].any() else "unseen"

    def _chances(self, features: NDArray[np.float32], columns: NDArray[np.int64], side: Side) -> NDArray[np.float64]:
        """Probabilities (n, columns), mean over the seeds."""
        kept, temperature = columns, getattr(self.header.confidence.temperature, side)
        if side == "unseen":
            kept = columns - int(self.seen.sum())
        factor = self.header.calibration * self.seen[columns]
        total = np.zeros((len(features), len(columns)))
        for scorer in self._scorers(side):
            logits = (scorer.scores(features)[:, kept].astype(np.float64) - factor) / temperature
            chances = np.exp(logits - logits.max(axis=1, keepdims=True))
            total += chances / chances.sum(axis=1, keepdims=True)
        return total / len(self.methods)

    def _scorers(self, side: Side) -> list[Scorer]:
        return self._joint if side == "joint" else self._unseen

    @cached_property
    def _joint(self) -> list[Scorer]:
        pairs = zip(self.header.seeds, self.methods, strict=True)
        return [method.for_classes(self.signatures, self.seen, seed) for seed, method in pairs]

    @cached_property
    def _unseen(self) -> list[Scorer]:
        signatures = self.signatures[~self.seen]
        none = np.zeros(len(signatures), bool)
        pairs = zip(self.header.seeds, self.methods, strict=True)
        return [method.for_classes(signatures, none, seed) for seed, method in pairs]
