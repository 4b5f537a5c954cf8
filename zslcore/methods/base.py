"""The estimator interface every zero-shot method follows: fit on seen classes, then score any set of classes.

Two steps, because generative methods train their last classifier only once the competing classes are known:
`fit(train)` learns from seen-class data; `for_classes(signatures, seen_mask)` returns a `Scorer` over those classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.spatial import KDTree

from zslcore.errors import ZSLError
from zslcore.io import artifacts


@dataclass(frozen=True)
class TrainData:
    """What a method is fitted on: images of seen classes only.

    features: (n, d) float32, or feature maps (n, h, w, c), unscaled: a method fits its own scaler here. Maps may stand
    in a file, as `datasets.maps.Maps`; features too, as `io.rows.Rows`.
    labels: (n,) int64 in 0..K-1, row numbers of `signatures`.
    signatures: (K, a) float32, one row a seen class.
    image_attributes: (n, a) float32, what is visible in each image, or None.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    signatures: NDArray[np.float32]
    image_attributes: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.features.ndim not in (2, 4) or self.labels.shape != self.features.shape[:1]:
            raise ZSLError(
                f"training features {self.features.shape} and labels {self.labels.shape} do not belong together; "
                "features are (n, d), or maps (n, h, w, c), labels (n,)"
            )
        if self.signatures.ndim != 2:
            raise ZSLError(f"signatures have shape {self.signatures.shape}; expected (classes, attributes)")
        for name, values in (("features", self.features), ("signatures", self.signatures)):
            # what stands in a file was finite when it was written
            if isinstance(values, np.ndarray) and not np.isfinite(values).all():
                raise ZSLError(f"training {name} hold NaN or infinity; remove or recompute those rows")
        present = np.unique(self.labels)
        if len(self.signatures) < 2:
            raise ZSLError("only one seen class: a zero-shot method needs at least two to learn from")
        if not np.array_equal(present, np.arange(len(self.signatures))):
            raise ZSLError(
                f"{len(self.signatures)} seen signatures but images of {len(present)} classes; "
                "labels are row numbers of the signatures, and every seen class needs an image"
            )


class Scorer(Protocol):
    """Scores images over the classes it was made for."""

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, d) unscaled features, or maps -> (n, classes) float32 comparable log-scores (up to a constant)."""
        ...


Observe = Callable[[int], None]
"""Called with the number of epochs done, after each epoch, while the method may be scored as it stands."""


class MethodSettings(BaseModel):
    """Base of each method's settings: immutable, unknown names refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S", bound=MethodSettings)

Family = Literal[
    "attribute classifiers",
    "convex combination",
    "compatibility",
    "dictionaries",
    "metric",
    "deep",
    "generative",
    "other",
]
"""How a method gets from seen to unseen classes.

attribute classifiers: by predicted attributes. convex combination: unseen classes are mixtures of seen ones.
compatibility: a learned (piecewise) bilinear score of feature and signature. dictionaries: latent codes of both, tied.
metric: distances in a learned space. deep: a network from signatures to class prototypes. generative: a model of each
class's features, whose parameters come from the signature.
"""


class NotFitted(ZSLError, AttributeError):
    """A method is asked for what `fit` learns before it was fitted. An AttributeError too, for `hasattr`."""


class Method(ABC, Generic[S]):
    """A zero-shot method. Subclasses say in their docstring what they optimise and whose paper it is.

    Deterministic given `seed`. `state` and `set_state` are all that saving needs: plain arrays, nothing pickled.
    A subclass sets `name` and `Settings`, and whichever of the other attributes is not as here; the tables of methods
    are made of them.
    """

    name: str
    """As on the command line and in file names: small letters, digits, hyphens."""
    Settings: type[S]
    search_space: Mapping[str, tuple[Any, ...]] = {}
    """Setting -> values worth trying, for `zslcore.evaluation.search` (validation classes only)."""
    quick: Mapping[str, Any] = {}
    """Settings with which tests and examples run in a second, for those that differ from the defaults."""

    title: str = ""
    """As the papers print the name."""
    citation: str = ""
    """Authors, venue and year."""
    summary: str = ""
    """The idea, in a sentence or two."""
    family: Family = "other"
    input: Literal["vectors", "maps"] = "vectors"
    """What it learns from: pooled feature vectors (n, d), or feature maps (n, h, w, c)."""
    random: bool = True
    """False where the seed changes nothing, so that one run is enough."""
    generates: bool = False
    """Draws features of unseen classes and trains a classifier on them."""
    transductive: bool = False
    """Learns from unlabelled test images too (`Transductive`): its figures stand apart from the others."""
    needs_binary_attributes: bool = False
    """Sees only whether a class has each attribute: other signatures are made binary."""
    needs_image_attributes: bool = False
    """Some of its settings need the attributes of each image, which not all data sets have."""
    streams: bool = False
    """Learns from `Rows`, which are not in memory; other methods get all of them in memory."""
    linear_scores: bool = False
    """Scores are affine in the scaled features, exactly."""

    def __init__(self, settings: S | None = None) -> None:
        self.settings: S = settings or self.Settings()

    if not TYPE_CHECKING:  # a checker would take every attribute as given

        def __getattr__(self, name: str) -> Any:
            """Raise NotFitted: attributes that are not there yet are those that `fit` and `set_state` set."""
            kind = type(self).__name__
            raise NotFitted(f"{kind} has no '{name}' before it is fitted; fit first, or load a fitted one: {kind}.load")

    @abstractmethod
    def fit(self, train: TrainData, seed: int = 0, observe: Observe | None = None) -> Self:
        """Learn from seen classes. Methods trained in epochs call `observe(epochs_done)` after each.

        Raises ZSLError for data the method cannot use.
        """

    @abstractmethod
    def for_classes(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_], seed: int = 0) -> Scorer:
        """Make a scorer over the classes described by `signatures` (classes, a).

        seen_mask: (classes,) bool. It has either no True, or one for each class of `fit`, in `fit`'s order.
        Raises ZSLError when signatures have another length than in `fit`.
        """

    @abstractmethod
    def state(self) -> dict[str, NDArray[Any]]:
        """What `fit` learned, as named arrays."""

    @abstractmethod
    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `state` returned."""

    def save(self, path: Path) -> None:
        """Write settings and state as safetensors, atomically."""
        about = {"method": self.name, "settings": self.settings.model_dump(mode="json")}
        artifacts.save_tensors(path, artifacts.METHOD, self.state(), about)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote. Raises ZSLError when the file is damaged or of another method."""
        about, state = artifacts.read_tensors(path, artifacts.METHOD)
        if about.get("method") != cls.name:
            raise ZSLError(f"{path}: holds method '{about.get('method')}', expected '{cls.name}'")
        try:
            method = cls(cls.Settings(**about["settings"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ZSLError(
                f"{path}: settings that '{cls.name}' has not ({error}); {artifacts.METHOD.remedy}"
            ) from error
        method.set_state(state)
        return method


@runtime_checkable
class TrainsClassifiers(Protocol):
    """A method that trains classifiers in `for_classes`, which can be saved and put back."""

    def classifiers(
        self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_], seed: int = 0
    ) -> dict[str, NDArray[Any]]:
        """The classifiers of these classes jointly, and of the unseen ones among them alone, as named arrays.

        They are trained here, unless `set_classifiers` put them back. Arguments as in `for_classes`.
        """
        ...

    def set_classifiers(
        self,
        state: Mapping[str, NDArray[Any]],
        signatures: NDArray[np.float32],
        seen_mask: NDArray[np.bool_],
        seed: int = 0,
    ) -> None:
        """Put back what `classifiers` returned for the same classes: `for_classes` trains nothing for them then."""
        ...


@runtime_checkable
class Transductive(Protocol):
    """A method that may also look at unlabelled images of the unseen classes; its results are labelled so."""

    def fit_unlabelled(self, features: NDArray[np.float32]) -> None:
        """Take unscaled features (n, d), after `fit` and before `for_classes`."""
        ...


@runtime_checkable
class Evident(Protocol):
    """A scorer that knows more of an image than its scores say; scores of strangers may use it."""

    def evidence(self, features: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """(n, d) unscaled features -> by name, (n,) or with a column a class (n, classes).

        normaliser: the logarithm of the sum of exp(logit), where scores are log-probabilities. synthetic, real:
        distances to class means of synthetic features, and of real ones where a class has any.
        """
        ...


@runtime_checkable
class Explained(Protocol):
    """A scorer that can say which attributes speak for a class."""

    @property
    def signatures(self) -> NDArray[np.float32]:
        """(classes, a) unscaled, of the classes that compete."""
        ...

    def contributions(self, features: NDArray[np.float32], winner: int, runner_up: int) -> NDArray[np.floating[Any]]:
        """(n, d) unscaled features -> (n, a): what each attribute adds to the lead of one class over another.

        winner, runner_up: positions among the classes. Rows sum to the lead.
        """
        ...


@runtime_checkable
class Localised(Protocol):
    """A method that knows where in a picture it sees each attribute, also one on vectors that is linear in them."""

    def attribute_maps(self, maps: NDArray[Any]) -> NDArray[np.float32]:
        """(n, h, w, c) unscaled maps -> (n, a, h, w): the larger, the more of an attribute is seen at that place."""
        ...


def check_input(method: Method[Any], features: NDArray[Any]) -> None:
    """Raise ZSLError where a method on vectors is given feature maps, or the other way round."""
    if (features.ndim == 4) != (method.input == "maps"):
        given = "feature maps" if features.ndim == 4 else "vectors"
        raise ZSLError(f"{method.name} learns from {method.input}, and was given {given} of shape {features.shape}")


def check_classes(
    signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_], seen_classes: int, attributes: int
) -> None:
    """Raise ZSLError unless `for_classes` was asked something it can answer."""
    if signatures.ndim != 2 or signatures.shape[1] != attributes:
        raise ZSLError(f"signatures of shape {signatures.shape}; the method was fitted with {attributes} attributes")
    if not np.isfinite(signatures).all():
        raise ZSLError("signatures hold NaN or infinity; remove or recompute those rows")
    if seen_mask.shape != (len(signatures),):
        raise ZSLError(
            f"seen_mask of shape {seen_mask.shape} for {len(signatures)} signatures: a class lacks its signature, or "
            "has one too many"
        )
    if seen_mask.sum() not in (0, seen_classes):
        raise ZSLError(
            f"seen_mask marks {int(seen_mask.sum())} of {len(signatures)} classes; mark none, or all "
            f"{seen_classes} classes of fit in fit's order"
        )
    check_distinct(signatures)


def check_distinct(
    signatures: NDArray[Any], names: Sequence[str] | None = None, what: str = "signatures", nearer: float = 0.0
) -> None:
    """Raise ZSLError when two classes have the same signature: no method could tell them apart.

    names: of the classes, for the message; their row numbers where absent. what: of the classes is looked at, after
    scaling, say. nearer: rows at most so far apart are the same.
    """
    rows64 = np.asarray(signatures, np.float64)
    direction = np.random.default_rng(0).normal(size=rows64.shape[1])
    places = rows64 @ (direction / np.linalg.norm(direction))  # near rows have near places: one dimension to search
    rounding = 1e-9 * np.abs(places).max(initial=0.0)
    pairs = KDTree(places[:, None]).query_pairs(nearer + rounding, output_type="ndarray")
    pairs = pairs[np.linalg.norm(rows64[pairs[:, 0]] - rows64[pairs[:, 1]], axis=1) <= nearer]
    if len(pairs):
        first = pairs.min()
        rows = [first, *np.sort(pairs[pairs[:, 0] == first, 1])]
        same = ", ".join(repr(names[row]) if names else f"number {row}" for row in rows[:5])
        raise ZSLError(
            f"{what} of {len(signatures)} classes are not distinct: classes {same} coincide; "
            "give each its own signature, or merge them"
        )
