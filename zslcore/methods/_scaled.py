"""What methods with scaled inputs and a few learned arrays share: scaling, checks, saving. They add the maths."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from zslcore.errors import ZSLError
from zslcore.io.rows import Rows
from zslcore.methods._linalg import Array
from zslcore.methods.base import Method, MethodSettings, Observe, Scorer, TrainData, check_classes, check_distinct
from zslcore.nn.blocks import apply_in_blocks
from zslcore.scaling import Scaler, Scaling

Score = Callable[[NDArray[np.float32]], Array]
"""Scaled features (n, d) -> scores (n, classes)."""
FeatureScaling = Annotated[Scaling, Field(description="of the features, fitted on the training images; not stated")]
SignatureScaling = Annotated[Scaling, Field(description="of the signatures, fitted on the seen classes; not stated")]


class ScaledSettings(MethodSettings):
    """How inputs are scaled."""

    scaling: FeatureScaling = "standard"
    signature_scaling: SignatureScaling = "l2"


MAPS_AT_ONCE = 64
"""Images whose maps are scored together."""
ScaledS = TypeVar("ScaledS", bound=ScaledSettings)


@dataclass(frozen=True)
class ScaledScorer:
    """Scores scaled features, a block of rows at a time, so that memory does not grow with the test set."""

    scaler: Scaler
    score: Score
    dimensions: int | None
    block: int = 4096

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, d) unscaled features -> (n, classes) float32. Raises ZSLError for another d than in `fit`, or NaN."""
        if features.ndim != 2 or self.dimensions not in (None, features.shape[1]):
            raise ZSLError(f"features of shape {features.shape}; the method was fitted on {self.dimensions} dimensions")
        if not np.isfinite(features).all():
            raise ZSLError("features hold NaN or infinity; remove or recompute those rows")
        return apply_in_blocks(lambda x: self.score(self.scaler(x)).astype(np.float32), features, self.block)


@dataclass(frozen=True)
class ExplainedScorer(ScaledScorer):
    """One that says what each attribute adds; a class's score must depend on no other class.

    signatures, scaled: (classes, a), as given and after scaling. classifier: makes the scores of scaled signatures.
    """

    signatures: NDArray[np.float32] = field(kw_only=True)
    scaled: NDArray[np.float32] = field(kw_only=True)
    classifier: Callable[[NDArray[np.float32]], Score] = field(kw_only=True)

    def contributions(self, features: NDArray[np.float32], winner: int, runner_up: int) -> Array:
        """(n, d) unscaled features -> (n, a): what each attribute adds to the lead of one class over another.

        The runner-up's scaled signature becomes the winner's, one attribute after another, and the score moves with
        it; mean of the first-to-last and the last-to-first order. So rows sum to the lead, and where the score is
        bilinear, xᵀ W s, an attribute adds (xᵀ W)_m (s_m − s′_m), in any order.
        """
        start, end = self.scaled[runner_up], self.scaled[winner]
        count = len(end)
        done = np.tri(count + 1, count, -1, dtype=bool)  # row j: the first j attributes are the winner's
        path = np.where(np.concatenate([done, done[:, ::-1]]), end, start)
        scores = self.classifier(path)(self.scaler(features)).astype(np.float64)
        forth, back = np.diff(scores[:, : count + 1]), np.diff(scores[:, count + 1 :])[:, ::-1]
        return np.asarray((forth + back) / 2)


class ScaledMethod(Method[ScaledS], Generic[ScaledS]):
    """A method that learns the arrays named in `learned` from scaled features and signatures."""

    learned: tuple[str, ...]
    """Attributes that `learn` sets, all NumPy arrays: the whole state besides the scalers."""

    @abstractmethod
    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """Set `learned` from training data whose features (n, d) and signatures (K, a) are scaled."""

    @abstractmethod
    def classifier(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_]) -> Score:
        """The function that scores scaled features over the classes of scaled `signatures` (classes, a)."""

    def unit(self, signatures: NDArray[np.float32]) -> float:
        """What scores over the classes of scaled `signatures` (classes, a) are divided by; above 0."""
        return 1.0

    def fit(self, train: TrainData, seed: int = 0, observe: Observe | None = None) -> Self:
        """Scale, then learn. Raises ZSLError when two seen classes have the same signature."""
        check_distinct(train.signatures)
        self.seen_classes, self.attributes = train.signatures.shape
        self.dimensions: int | None = train.features.shape[1]
        self.scaler, features = _scale(train.features, self.settings.scaling)
        self.signature_scaler = Scaler.fit(train.signatures, self.settings.signature_scaling)
        signatures = self._scaled(train.signatures)
        self.learn(replace(train, features=features, signatures=signatures), seed, observe)
        return self

    def for_classes(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_], seed: int = 0) -> Scorer:
        """Score with what was learned; nothing is trained here."""
        check_classes(signatures, seen_mask, self.seen_classes, self.attributes)
        scaled = self._scaled(signatures)
        unit = self.unit(scaled)

        def in_units(score: Score) -> Score:
            return score if unit == 1 else lambda x: score(x) / unit

        score = in_units(self.classifier(scaled, seen_mask))
        if not self.linear_scores:
            return ScaledScorer(self.scaler, score, self.dimensions)
        return ExplainedScorer(
            self.scaler,
            score,
            self.dimensions,
            signatures=signatures,
            scaled=scaled,
            classifier=lambda path: in_units(self.classifier(path, np.zeros(len(path), dtype=bool))),
        )

    def _scaled(self, signatures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scaled signatures. Raises ZSLError where scaling makes two the same, up to rounding."""
        scaled = self.signature_scaler(signatures)
        length = float(np.sqrt(np.square(scaled, dtype=np.float64).sum(axis=1).mean()))
        what = f"signatures scaled by '{self.settings.signature_scaling}'"
        check_distinct(scaled, what=what, nearer=1e-6 * length)
        return scaled

    def state(self) -> dict[str, NDArray[Any]]:
        """The learned arrays and both scalers."""
        return {
            **{name: getattr(self, name) for name in self.learned},
            "shape": np.array([self.seen_classes, self.attributes, self.dimensions or 0]),
            **self.scaler.state(),
            **self.signature_scaler.state("signature_scaler."),
        }

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `state` returned."""
        for name in self.learned:
            setattr(self, name, state[name])
        self.seen_classes, self.attributes, *rest = map(int, state["shape"])
        self.dimensions = rest[0] or None if rest else None  # older files do not say
        self.scaler = Scaler.from_state(self.settings.scaling, state)
        self.signature_scaler = Scaler.from_state(self.settings.signature_scaling, state, "signature_scaler.")


class LinearMethod(ScaledMethod[ScaledS], Generic[ScaledS]):
    """Compatibility F(x, y) = xᵀ W s(y) with one learned map `weights` (d, a)."""

    family = "compatibility"
    linear_scores = True
    learned: tuple[str, ...] = ("weights",)
    weights: Array

    def classifier(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_]) -> Score:
        """Scores xᵀ W s."""
        classes = self.weights @ signatures.T
        return lambda x: x @ classes

    def attribute_maps(self, maps: NDArray[Any]) -> NDArray[np.float32]:
        """Class activation maps (Zhou et al., CVPR 2016) of the attributes: (n, h, w, d) -> (n, a, h, w).

        Their mean over places is (xᵀ W)ₖ of the scaled mean x of a map, so the backbone must pool by the mean.
        Raises ZSLError for maps of another d than in `fit`, and where no scaled mean is a mean over places.
        """
        if maps.ndim != 4 or maps.shape[3] != len(self.weights):
            raise ZSLError(f"maps of shape {maps.shape}; {self.name} was fitted on {len(self.weights)} dimensions")

        def one(block: NDArray[Any]) -> NDArray[np.float32]:
            values = np.asarray(block, np.float32)
            scored = self.scaler.places(values.reshape(len(values), -1, values.shape[3])) @ self.weights
            return np.moveaxis(scored.reshape(*values.shape[:3], -1), 3, 1).astype(np.float32)

        return apply_in_blocks(one, maps, MAPS_AT_ONCE)


def _scale(features: NDArray[np.float32], scaling: Scaling) -> tuple[Scaler, NDArray[np.float32]]:
    """The scaler fitted on features (n, d), and these, scaled; of `Rows` the same objects to every fit on them."""
    if isinstance(features, Rows):
        scaler = features.once(("scaler", scaling), lambda: Scaler.fit(features, scaling))
        return scaler, features.once(("scaled", scaling), lambda: scaler(features))
    scaler = Scaler.fit(features, scaling)
    return scaler, scaler(features)


def cosine(x: NDArray[Any], prototypes: NDArray[Any]) -> Array:
    """Cosines of rows (n, k) and rows (classes, k): (n, classes) in [-1, 1]."""
    return unit_rows(x) @ unit_rows(prototypes).T


def unit_rows(x: NDArray[Any]) -> Array:
    """Each row at length 1; zero rows stay."""
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def squared_distances(x: NDArray[Any], prototypes: NDArray[Any]) -> Array:
    """Squared Euclidean distances of rows (n, k) and rows (classes, k): (n, classes), at least 0."""
    squares = (x * x).sum(axis=1)[:, None] + (prototypes * prototypes).sum(axis=1) - 2 * x @ prototypes.T
    return np.maximum(squares, 0)
