"""Every method in scikit-learn's manners: keyword settings, arrays in, labels out. One class for all of them.

    from zslcore import ESZSL
    ESZSL(alpha=1.0).fit(X, y, S).predict(X_new, S_new)

Two label spaces are what scikit-learn has no word for. `fit` takes the signatures of the seen classes; `predict`,
`predict_proba` and `score` take those of the classes that compete, seen or not. A class's label is its key where
signatures are a mapping, its row number where they are an array.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin

from zslcore.errors import ZSLError, unknown
from zslcore.evaluation.metrics import per_class_top1
from zslcore.io.layers import validate
from zslcore.methods import registry
from zslcore.methods.base import Method, Scorer, TrainData, check_input

Signatures = Mapping[Any, ArrayLike] | ArrayLike
"""Label -> (a,) values of its attributes, or (classes, a), where a class's label is its row number."""


class Estimator(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A zero-shot method on arrays.

    Parameters: the method's settings (`zsl params METHOD`), `seed`, and `calibration`, which is taken off the scores of
    seen classes where unseen ones compete with them (choose it on validation classes: `zslcore.choose`).

    >>> import numpy as np, zslcore as zsl
    >>> S = {"finch": [1, 0, 0.2], "crow": [0, 1, 0.4], "owl": [0.5, 0.5, 1]}  # three attributes
    >>> y = np.repeat(list(S), 20)
    >>> world = np.random.default_rng(0).normal(size=(3, 8))
    >>> X = np.array([S[name] for name in y]) @ world
    >>> model = zsl.ESZSL(alpha=-1.0).fit(X, y, S)
    >>> new = {"magpie": [0.9, 0.9, 0.1], "kiwi": [0.1, 0.2, 0.9]}  # no image of either was seen
    >>> X_new = np.array([new["kiwi"], new["magpie"]]) @ world
    >>> model.predict(X_new, new).tolist()
    ['kiwi', 'magpie']
    >>> model.predict_proba(X_new, new).shape
    (2, 2)
    """

    method: type[Method[Any]]

    def __init__(self, *, seed: int = 0, calibration: float = 0.0, **settings: Any) -> None:
        for name in settings:
            if name not in self.method.Settings.model_fields:
                raise unknown(f"setting of {type(self).__name__}", name, self._names())
        self._given = {"seed": seed, "calibration": calibration, **settings}

    @classmethod
    def _names(cls) -> list[str]:
        return ["seed", "calibration", *cls.method.Settings.model_fields]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Every setting and its value."""
        fields = self.method.Settings.model_fields.items()
        return {**{name: field.get_default(call_default_factory=True) for name, field in fields}, **self._given}

    def set_params(self, **params: Any) -> Self:
        """Change settings; returns self. Raises ZSLError for one that the method has not."""
        for name in params:
            if name not in self._names():
                raise unknown(f"setting of {type(self).__name__}", name, self._names())
        self._given = {**self._given, **params}
        return self

    def __getattr__(self, name: str) -> Any:
        given = self.__dict__.get("_given", {})
        if name in given:
            return given[name]
        raise AttributeError(f"{type(self).__name__} has no '{name}'")

    def fit(self, X: ArrayLike, y: ArrayLike, S: Signatures) -> Self:
        """Learn from images of seen classes.

        X: (n, d) features, or maps (n, h, w, c), unscaled. y: (n,) labels. S: signatures of the classes in `y`: a
        mapping, or an array with a row for each of them in ascending order of their labels. Signatures of classes
        without images are left out.
        Raises ZSLError for data the method cannot use.
        """
        labels = np.asarray(y)
        self.classes_, positions = np.unique(labels, return_inverse=True)
        signatures = _of_labels(S, self.classes_)
        settings = {name: value for name, value in self._given.items() if name not in ("seed", "calibration")}
        method = self.method(validate(self.method.Settings, settings, type(self).__name__))
        features = np.asarray(X, np.float32)
        check_input(method, features)
        self.method_ = method.fit(TrainData(features, positions.astype(np.int64), signatures), self._given["seed"])
        self.signatures_, self.n_features_in_ = signatures, features.shape[1]
        self._last: tuple[bytes, Scorer] | None = None
        return self

    def decision_function(self, X: ArrayLike, S: Signatures | None = None, seen: bool = False) -> NDArray[np.float64]:
        """(n, d) features -> (n, classes) log-scores, `calibration` taken off those of seen classes among unseen ones.

        S: signatures of unseen classes; None: none. seen: whether the classes of `fit` compete too (generalised
        zero-shot); they do where S is None. Columns are `labels(S, seen)`.
        """
        if "method_" not in self.__dict__:
            raise ZSLError(f"{type(self).__name__} is not fitted; call fit(X, y, S) first")
        parts = [self.signatures_] if seen or S is None else []
        parts += [] if S is None else [_rows(S)[1]]
        signatures = np.concatenate(parts)
        mask = np.zeros(len(signatures), bool)
        mask[: len(self.classes_)] = seen or S is None
        key = signatures.tobytes() + mask.tobytes()
        if self._last is None or self._last[0] != key:  # a generative method trains a classifier here
            self._last = key, self.method_.for_classes(signatures, mask, self._given["seed"])
        scores = self._last[1].scores(np.asarray(X, np.float32)).astype(np.float64)
        return scores - self._given["calibration"] * mask if not mask.all() else scores

    def labels(self, S: Signatures | None = None, seen: bool = False) -> NDArray[Any]:
        """(classes,) labels of the classes that compete, the seen ones first."""
        new = [] if S is None else [_rows(S)[0]]
        if seen and new and not isinstance(S, Mapping):
            raise ZSLError("seen and unseen classes compete: give signatures by name, {label: values}, for both")
        return np.concatenate([self.classes_, *new]) if seen or S is None else new[0]

    def predict(self, X: ArrayLike, S: Signatures | None = None, seen: bool = False) -> NDArray[Any]:
        """(n, d) features -> (n,) labels. Arguments as in `decision_function`."""
        best = self.decision_function(X, S, seen).argmax(axis=1)
        return self.labels(S, seen)[best]

    def predict_proba(self, X: ArrayLike, S: Signatures | None = None, seen: bool = False) -> NDArray[np.float64]:
        """(n, d) features -> (n, classes) in [0, 1], softmax of the scores: a ranking made to sum to 1, no more."""
        return np.asarray(softmax(self.decision_function(X, S, seen), axis=1))

    def score(self, X: ArrayLike, y: ArrayLike, S: Signatures | None = None, seen: bool = False) -> float:
        """Per-class mean of the top-1 accuracy, in [0, 1], as everywhere in zero-shot learning; y: (n,) labels."""
        return per_class_top1(np.asarray(y), self.predict(X, S, seen))


def _rows(S: Signatures) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Labels (classes,) and signatures (classes, a)."""
    if isinstance(S, Mapping):
        return np.array(list(S)), np.array([np.asarray(values, np.float32) for values in S.values()], np.float32)
    values = np.asarray(S, np.float32)
    return np.arange(len(values)), values


def _of_labels(S: Signatures, classes: NDArray[Any]) -> NDArray[np.float32]:
    """Signatures (K, a) of these labels."""
    if isinstance(S, Mapping):
        missing = [label for label in classes.tolist() if label not in S]
        if missing:
            raise ZSLError(f"no signature of class {missing[0]!r}; give one for every label in y")
        return np.array([np.asarray(S[label], np.float32) for label in classes.tolist()], np.float32)
    values = np.asarray(S, np.float32)
    if values.ndim != 2 or len(values) != len(classes):
        raise ZSLError(
            f"signatures of shape {values.shape} for {len(classes)} classes in y; give a row for each, in ascending "
            "order of their labels, or a mapping {label: values}"
        )
    return values


@cache
def estimator(name: str) -> type[Estimator]:
    """The estimator class of a method, by its name, or as package.module:Class. Raises ZSLError for an unknown one.

    >>> estimator("eszsl").__name__
    'ESZSL'
    """
    method = registry.get(name)
    about = f"{method.summary} {method.citation}.\n\nSettings: `zsl params {method.name}`; use: as in `Estimator`."
    return type(method.__name__, (Estimator,), {"method": method, "__doc__": about, "__module__": __name__})


def __getattr__(name: str) -> type[Estimator]:
    """Estimator classes by the name of their method's class, so that they can be pickled like any other."""
    for key, target in registry.METHODS.items():
        if target.endswith(f":{name}"):
            return estimator(key)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
