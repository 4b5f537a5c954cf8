"""A fitted model: names images, knows new classes by their description, fits in one file."""

import copy
import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from zslcore.errors import ZSLError, unknown
from zslcore.evaluation.explain import Contribution, nearest_seen, ranked
from zslcore.evaluation.strangers import STRANGERS, Known, fit_share
from zslcore.features.regions import map_shape, pools_by_mean
from zslcore.io import artifacts
from zslcore.io.layers import validate
from zslcore.methods import registry
from zslcore.methods.base import Evident, Explained, Localised, Method, Scorer, TrainsClassifiers, check_distinct
from zslcore.model.basis import Basis
from zslcore.model.classes import check_names, signature
from zslcore.model.classifier_cache import cached_classifiers
from zslcore.model.header import Header
from zslcore.model.images import Extractor, Picture
from zslcore.model.prediction import Prediction, Question
from zslcore.progress import Advance, no_progress

AT_ONCE = 2**22
"""Scores that are in memory at a time."""
Side = Literal["joint", "unseen"]


@dataclass(frozen=True)
class Model:
    """A fitted model and the classes it chooses from.

    signatures: (classes, a) float32; seen: (classes,) bool, seen classes first, in the order of `fit`, or none of them.
    methods: the fitted method of each seed; their probabilities are averaged. extractor: from images to features, None
    where the model was trained on given features. cache: folder where the classifiers of new label spaces are kept;
    None: nowhere. basis: what signatures are put together of, None where they are the numbers of a table.
    """

    header: Header
    signatures: NDArray[np.float32]
    seen: NDArray[np.bool_]
    methods: tuple[Method[Any], ...]
    extractor: Extractor | None = None
    cache: Path | None = None
    basis: Basis | None = None

    @property
    def name(self) -> str:
        """Of the data set it was trained on."""
        return self.header.name

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes it chooses from."""
        return self.header.classes

    @property
    def described(self) -> NDArray[np.float32]:
        """(classes, a): what describes each class, as `with_classes` takes it, of a model as it was packaged."""
        if self.basis is None or not set(self.classes) <= set(self.basis.header.classes):
            return self.signatures
        place = {name: row for row, name in enumerate(self.basis.header.classes)}
        return self.basis.values[[place[name] for name in self.classes]]

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the a entries of a signature."""
        return self.header.attributes

    def predict(
        self,
        images: Iterable[Picture],
        top: int = 5,
        among: str | Collection[str] = "all",
        none: float = 0.05,
        explain: bool = False,
        maps: bool = False,
    ) -> list[Prediction]:
        """Name images: paths, bytes of image files, Pillow images, or pixels (height, width, 3) uint8.

        An image that cannot be read has a prediction that says why. maps: say where each attribute is seen. Otherwise
        as `predict_features`.
        Raises ZSLError where the model has no backbone, its weights cannot be had, or it has no maps.
        """
        if isinstance(images, str | Path | bytes) or not isinstance(images, Iterable):
            raise ZSLError("one image; give a list of images: [image]")
        if self.extractor is None:
            raise ZSLError(f"the model '{self.name}' was trained on given features; use predict_features")
        extractor = self.localiser if maps else self.extractor
        pictures = list(images)
        files = [str(picture) if isinstance(picture, str | Path) else None for picture in pictures]
        outcomes = list(extractor(pictures))
        rows = [outcome.features for outcome in outcomes if outcome.features is not None]
        named = iter(self.predict_rows(rows, Question(top, among, none, explain, maps)) if rows else [])
        return [
            Prediction(file, failure=outcome.reason) if outcome.features is None else next(named).of(file)
            for file, outcome in zip(files, outcomes, strict=True)
        ]

    @cached_property
    def localiser(self) -> Extractor:
        """The extractor, made to give what `attribute_maps` takes, too.

        Raises ZSLError where the model has none, its method or its backbone has no maps, or where these say nothing of
        the vectors that the method takes.
        """
        if self.extractor is None:
            raise ZSLError(f"the model '{self.name}' was trained on given features: there is no picture to look at")
        self._check_localised()
        if self.on_maps:
            return self.extractor
        extractor = self.extractor.giving("both")
        if not pools_by_mean(extractor.backbone):
            raise ZSLError(
                f"backbone {extractor.backbone.name}: its vectors are no means of its maps, so that these do not say "
                f"where '{self.header.method}' looks; package a method on maps"
            )
        self.attribute_maps(np.zeros((1, *map_shape(extractor.backbone)), np.float32))
        return extractor

    @property
    def on_maps(self) -> bool:
        """Whether its method takes feature maps (n, h, w, c) in place of vectors (n, d)."""
        return self.methods[0].input == "maps"

    def attribute_maps(self, maps: NDArray[Any]) -> NDArray[np.float32]:
        """Feature maps (n, h, w, c), unscaled -> (n, a, h, w): how much of each attribute is seen at each place.

        The mean over seeds. Of a method on vectors: what each place adds to them (class activation maps).
        Raises ZSLError for a method that cannot say, and maps of another size than those of `fit`.
        """
        self._check_localised()
        each = [method.attribute_maps(maps) for method in self.methods if isinstance(method, Localised)]
        return np.asarray(np.mean(each, axis=0))

    def _check_localised(self) -> None:
        if not _localised(type(self.methods[0])):
            able = ", ".join(name for name in registry.METHODS if _localised(registry.get(name)))
            raise ZSLError(
                f"'{self.header.method}' cannot say where in a picture an attribute is seen; these can: {able}"
            )

    def predict_rows(self, rows: Sequence[NDArray[Any]], question: Question) -> list[Prediction]:
        """`predict` of what the extractor gave of each image: a vector, or a record with its map. At least one."""
        features, places = self.unpacked(rows)
        if question.maps and places is None:
            _ = self.localiser  # says why, where it cannot
            raise ZSLError("features without maps: nothing says where an attribute is seen; set extract.output to both")
        found = self.predict_features(features, question.top, question.among, question.none, question.explain)
        if places is None or not question.maps:
            return found
        located = self.attribute_maps(places)
        return [dataclasses.replace(one, maps=each) for one, each in zip(found, located, strict=True)]

    def unpacked(self, rows: Sequence[NDArray[Any]]) -> tuple[NDArray[np.float32], NDArray[Any] | None]:
        """Rows of images as `predict_features` and, where they hold maps, `attribute_maps` take them."""
        stacked = np.stack(rows)
        maps = stacked["maps"] if "maps" in (stacked.dtype.names or ()) else None
        if self.on_maps and maps is not None:
            return maps, maps
        return (stacked if maps is None else stacked["features"]), maps

    def check(self, among: str | Collection[str] = "all", explain: bool = False) -> None:
        """Raise ZSLError for names the model does not know, and for an explanation that it cannot give."""
        self._choose(among, explain)

    def predict_features(
        self,
        features: NDArray[np.float32],
        top: int = 5,
        among: str | Collection[str] = "all",
        none: float = 0.05,
        explain: bool = False,
    ) -> list[Prediction]:
        """Name images by their features (n, d) float32, unscaled, or feature maps (n, h, w, c) where it is `on_maps`.

        top: classes of each prediction. among: all, seen, unseen, or names of the classes to choose from. none: the
        share of images of known classes that may be called strangers, in [0, 1]. explain: say which attributes spoke.
        Raises ZSLError for features the model does not take, and as `check` does.
        """
        columns, side = self._choose(among, explain)
        found: list[Prediction] = []
        for block in self._blocks(features):
            scores = self._scores(block, columns, side)
            chances = self._chances(scores, side)
            best = _largest(chances, min(top, len(columns)))
            fits = self._fits(block, scores, columns, side)
            for chance, order, fit in zip(chances, best, fits, strict=True):
                names = tuple(self.classes[columns[k]] for k in order)
                stranger = fit is not None and fit < none
                found.append(Prediction(None, names, tuple(chance[order].tolist()), fit, stranger))
            if explain:
                named = found[-len(block) :]
                found[-len(block) :] = self._explained(block, columns, side, _largest(chances, 2), named)
        return found

    def _explained(
        self,
        block: NDArray[np.float32],
        columns: NDArray[np.int64],
        side: Side,
        first: NDArray[np.int64],
        predictions: Sequence[Prediction],
    ) -> list[Prediction]:
        """Predictions with what spoke for the first of `first` (n, 2) against the second, and what they are like."""
        reasons, near = self._reasons(block, columns, side, first), self._nearest(block)
        against = [self.classes[columns[other]] for other in first[:, 1]]
        return [
            dataclasses.replace(one, attributes=reason, against=other, nearest=like)
            for one, reason, other, like in zip(predictions, reasons, against, near, strict=True)
        ]

    def _nearest(self, block: NDArray[np.float32]) -> list[tuple[str, ...]]:
        """The seen classes that each image is most like, whatever classes it is to be named by."""
        columns, side = self._choose("all")
        scores = np.mean(self._scores(block, columns, side), axis=0)
        return [tuple(self.classes[columns[k]] for k in row) for row in nearest_seen(scores, self.seen[columns])]

    def probabilities(self, features: NDArray[np.float32], among: str | Collection[str] = "all") -> NDArray[np.float32]:
        """(n, d) features -> (n, classes) in [0, 1]; rows sum to 1. Classes that do not compete have 0."""
        columns, side = self._choose(among)
        out = np.zeros((len(features), len(self.classes)), np.float32)
        done = 0
        for block in self._blocks(features):
            out[done : done + len(block), columns] = self._chances(self._scores(block, columns, side), side)
            done += len(block)
        return out

    def with_classes(
        self, classes: Mapping[str, Any], replace: bool = False, advance: Advance = no_progress
    ) -> "Model":
        """A model that knows these classes too, of which it has seen no image.

        classes: name -> the value of each attribute by its name, or all of them in order; or a text, or several, where
        the model's classes are described by texts. replace: it knows no others. advance: called once a seed is done.
        A generative method trains the classifier of the new label space here, unless `cache` has it.
        Raises ZSLError for unknown and missing attributes, values that are no finite numbers, and names it has.
        """
        check_names(classes, () if replace else self.classes)
        if self.basis is not None:
            added = self.basis.describe(classes)
        else:
            added = np.stack([signature(name, values, self.attributes) for name, values in classes.items()])
        names = (*(() if replace else self.classes), *classes)
        signatures = added if replace else np.concatenate([self.signatures, added])
        seen = np.zeros(len(names), bool)
        if not replace:
            seen[: len(self.seen)] = self.seen
        check_distinct(signatures, names)
        header = self.header.model_copy(update={"classes": names})
        methods = tuple(copy.copy(method) for method in self.methods)  # each remembers one label space
        model = dataclasses.replace(self, header=header, signatures=signatures, seen=seen, methods=methods)
        for seed, method in zip(header.seeds, methods, strict=True):
            if isinstance(method, TrainsClassifiers):
                state = cached_classifiers(method, signatures, seen, seed, self.cache)
                method.set_classifiers(state, signatures, seen, seed)
            advance()
        return model

    def save(self, path: Path | str) -> None:
        """Write it as one file, atomically; the same model gives the same bytes. Raises ZSLError where that fails."""
        left_out = {"basis"} if self.basis is None else set()
        about = self.header.model_dump(mode="json", exclude=left_out)
        artifacts.save_tensors(Path(path), artifacts.PACKAGED, self._arrays(), about)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any]] = {"signatures": self.signatures, "seen": self.seen}
        if self.basis is not None:
            arrays |= {"basis/values": self.basis.values, "basis/seen": self.basis.seen}
        for seed, method in zip(self.header.seeds, self.methods, strict=True):
            parts = {"state": method.state()}
            if isinstance(method, TrainsClassifiers):
                parts["classifiers"] = method.classifiers(self.signatures, self.seen, seed)
            arrays |= {f"seed={seed}/{part}/{name}": array for part in parts for name, array in parts[part].items()}
        included = {} if self.extractor is None else self.extractor.included
        return {**arrays, **{f"backbone/{name}": array for name, array in included.items()}}

    @classmethod
    def load(
        cls,
        path: Path | str,
        weights: str | None = None,
        backbone: str | None = None,
        cache: Path | None = None,
    ) -> Self:
        """Read a model file.

        weights, backbone: as in `Extractor`, where the file alone does not do. cache: as in `Model`.
        Raises ZSLError when the file is damaged, of another version, or of an unknown method.
        """
        path = Path(path)
        about, tensors = artifacts.read_tensors(path, artifacts.PACKAGED)
        header: Header = validate(Header, about, str(path))
        try:
            signatures, seen = tensors["signatures"], tensors["seen"]
            basis = None
            if header.basis is not None:
                basis = Basis(header.basis, tensors["basis/values"], tensors["basis/seen"])
            methods = tuple(_method(header, tensors, seed, path) for seed in header.seeds)
        except (KeyError, ValueError, IndexError, RuntimeError) as error:
            raise artifacts.PACKAGED.bad(path, f"damaged ({type(error).__name__}: {error})") from error
        if signatures.shape != (len(header.classes), len(header.attributes)) or seen.shape != signatures.shape[:1]:
            raise artifacts.PACKAGED.bad(path, f"damaged (signatures {signatures.shape}, seen {seen.shape})")
        extractor = None
        if header.backbone is not None:
            included = {k.removeprefix("backbone/"): v for k, v in tensors.items() if k.startswith("backbone/")}
            extractor = Extractor(header.backbone, included, str(path), weights, backbone)
            if methods[0].input == "maps":
                extractor = extractor.giving("map")
        return cls(header, signatures, seen, methods, extractor, cache, basis)

    def _blocks(self, features: NDArray[np.float32]) -> Iterable[NDArray[np.float32]]:
        if features.ndim != (4 if self.on_maps else 2):
            wanted = "maps (images, rows, columns, channels)" if self.on_maps else "vectors (images, dimensions)"
            raise ZSLError(f"features of shape {features.shape}; '{self.header.method}' takes {wanted}")
        rows = max(1, AT_ONCE // (len(self.classes) * len(self.methods)))
        return (features[start : start + rows] for start in range(0, len(features), rows))

    def _choose(self, among: str | Collection[str], explain: bool = False) -> tuple[NDArray[np.int64], Side]:
        """Positions of the classes that compete, ascending, and the label space whose scores they have; see `check`."""
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
            raise ZSLError(
                f"{len(columns) or 'no'} class to choose from ({len(self.classes)} are known, {self.seen.sum()} of "
                "them seen); give two at least"
            )
        side: Side = "joint" if self.seen[columns].any() else "unseen"
        if explain and not all(isinstance(scorer, Explained) for scorer in self._scorers(side)):
            raise ZSLError(f"'{self.header.method}' cannot say which attributes spoke; leave the explanation away")
        return columns, side

    def _scores(
        self, features: NDArray[np.float32], columns: NDArray[np.int64], side: Side
    ) -> list[NDArray[np.float64]]:
        """Of each seed (n, columns): log-scores, the calibration factor taken off those of seen classes."""
        factor = self.header.calibration * self.seen[columns]
        own = self._own(columns, side)
        return [scorer.scores(features)[:, own].astype(np.float64) - factor for scorer in self._scorers(side)]

    def _chances(self, scores: list[NDArray[np.float64]], side: Side) -> NDArray[np.float64]:
        """Probabilities (n, columns), mean over the seeds."""
        temperature: float = getattr(self.header.confidence.temperature, side)
        return np.asarray(np.mean([softmax(each / temperature, axis=1) for each in scores], axis=0))

    def _own(self, columns: NDArray[np.int64], side: Side) -> NDArray[np.int64]:
        """Positions of the columns among the classes of a scorer of this side."""
        return columns if side == "joint" else columns - int(self.seen.sum())

    def _fits(
        self, features: NDArray[np.float32], scores: list[NDArray[np.float64]], columns: NDArray[np.int64], side: Side
    ) -> list[float | None]:
        """Share of validation images that fit worse, by the joint scores of the classes that compete; mean over seeds.

        None where nothing was chosen on validation classes, or the score needs what the scorers do not know.
        """
        chosen = self.header.confidence
        score = STRANGERS.get(chosen.stranger or "")
        if score is None or not chosen.quantiles:
            return [None] * len(features)
        if side != "joint":
            scores = self._scores(features, columns, "joint")
        found = []
        for scorer, each in zip(self._joint, scores, strict=True):
            evidence = scorer.evidence(features) if isinstance(scorer, Evident) else {}
            if score.needs is not None and score.needs not in evidence:
                return [None] * len(features)
            own = {name: values if values.ndim == 1 else values[:, columns] for name, values in evidence.items()}
            found.append(score.compute(Known(each, chosen.temperature.joint, own)))
        shares: list[float | None] = fit_share(np.mean(found, axis=0), np.array(chosen.quantiles)).tolist()
        return shares

    def _reasons(
        self, features: NDArray[np.float32], columns: NDArray[np.int64], side: Side, best: NDArray[np.int64]
    ) -> list[tuple[Contribution, ...]]:
        """What spoke for the first of `best` (n, 2) against the second, mean over the seeds.

        Of scores that are sums over attributes in units of log-probabilities: over the temperature, so that
        contributions sum to the logarithm of how much likelier the first is, but for the calibration factor.
        """
        scorers = self._scorers(side)
        summed = self.on_maps or all(method.linear_scores for method in self.methods)
        unit: float = getattr(self.header.confidence.temperature, side) if summed else 1.0
        found = []
        for row, (winner, other) in enumerate(self._own(columns, side)[best]):
            each = [scorer.contributions(features[row : row + 1], winner, other)[0] for scorer in scorers]  # type: ignore[attr-defined]
            lead = self.signatures[columns[best[row, 0]]] - self.signatures[columns[best[row, 1]]]
            found.append(tuple(ranked(np.mean(each, axis=0) / unit, lead, self.attributes)))
        return found

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


def _method(header: Header, tensors: Mapping[str, NDArray[Any]], seed: int, path: Path) -> Method[Any]:
    if ":" in header.method:
        raise ZSLError(f"{path}: method '{header.method}' is code that a file alone does not make run; register it")
    kind = registry.get(header.method)
    method = kind(validate(kind.Settings, header.settings, f"{path}: settings of '{header.method}'"))
    method.set_state(artifacts.under(tensors, f"seed={seed}/state/"))
    if isinstance(method, TrainsClassifiers):
        trained = artifacts.under(tensors, f"seed={seed}/classifiers/")
        method.set_classifiers(trained, tensors["signatures"], tensors["seen"], seed)
    return method


def _localised(kind: type[Method[Any]]) -> bool:
    """Whether a method knows where an attribute is seen: some on maps, and those on vectors whose scores are linear."""
    return issubclass(kind, Localised) and (kind.input == "maps" or kind.linear_scores)


def _largest(values: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Positions (n, count) of the largest values of each row (n, classes), the largest first; of equals the first."""
    if count < values.shape[1]:
        some = np.sort(np.argpartition(-values, count - 1, axis=1)[:, :count], axis=1)
    else:
        some = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    order = np.argsort(-np.take_along_axis(values, some, axis=1), axis=1, kind="stable")
    return np.take_along_axis(some, order, axis=1)
