"""The main method: clusterable visual features for zero-shot recognition (Xu, Shu and Samaras, 2020)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from zslcore.methods.base import Method, MethodSettings, Observe, Scorer, TrainData, check_classes
from zslcore.params import Settings
from zslcore.settings import Classify, Finetune, Generate, Train
from zslcore.steps.classify import Classifier, Labelled, fit_classifier
from zslcore.steps.finetune import Finetuned, finetune
from zslcore.steps.label_space import label_space
from zslcore.steps.train import Trained
from zslcore.steps.train import train as train_modules
from zslcore.training import resolve_device


class ClusterableSettings(MethodSettings):
    """The pipeline's own sections; what `select` decides there has a plain default where nothing selected."""

    finetune: Finetune = Finetune()
    train: Train = Train()
    generate: Generate = Generate()
    classify: Classify = Classify()
    device: str = "auto"

    @classmethod
    def of(cls, settings: Settings, device: str) -> Self:
        """The sections that concern the method, out of a data set's settings."""
        return cls(
            finetune=settings.finetune,
            train=settings.train,
            generate=settings.generate,
            classify=settings.classify,
            device=device,
        )


class Clusterable(Method):
    """F by eq. 9, then min over E, G, M, C of L_CVAE + λcls L_cls + λcls′ L_cls′ (eq. 4), then softmax classifiers.

    The pipeline's stages finetune, train, generate and classify call the same functions between files.
    """

    name: ClassVar[str] = "clusterable"
    citation: ClassVar[str] = "Xu, Shu and Samaras, 2020"
    Settings: ClassVar[type[MethodSettings]] = ClusterableSettings
    _tuned: Labelled
    _real: Labelled | None
    _last: tuple[Any, Classifier] | None

    def fit(self, train: TrainData, seed: int = 0, observe: Observe | None = None) -> Self:
        """Fine-tune F, then train M, C, E and G."""
        settings: ClusterableSettings = self.settings
        device = resolve_device(settings.device)
        self.signatures = train.signatures
        self.seen_classes, self.attributes = train.signatures.shape
        self.finetuned = finetune(train.features, train.labels, settings.finetune, seed, device)
        tuned = self.finetuned(train.features)

        def adopt(model: Trained) -> None:
            self.model, self._tuned, self._real, self._last = model, (tuned, train.labels), None, None

        def watch(done: int, model: Trained) -> None:
            assert observe is not None
            adopt(model)
            observe(done)

        adopt(
            train_modules(
                tuned,
                train.labels,
                train.signatures,
                settings.train,
                seed,
                device,
                watch if observe is not None else None,
            )
        )
        return self

    @property
    def real(self) -> Labelled:
        """The training images as the classifiers see them, (n, members · m), with their labels."""
        if self._real is None:
            features, labels = self._tuned
            self._real = self.model.project(features), labels
        return self._real

    def for_classes(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_], seed: int = 0) -> Scorer:
        """Generate features of the unseen classes, and train the classifier of this label space."""
        check_classes(signatures, seen_mask, self.seen_classes, self.attributes)
        if seen_mask.any() or self.settings.classify.zsl == "own":
            classifier = self._classifier(signatures, seen_mask, seed)
        else:
            everything = np.concatenate([self.signatures, signatures])
            mask = np.arange(len(everything)) < self.seen_classes
            classifier = self._classifier(everything, mask, seed).kept_to(~mask)
        return ClusterableScorer(self.finetuned, self.model, classifier, signatures, self.settings.classify.feedback)

    def _classifier(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_], seed: int) -> Classifier:
        """The classifier of one label space; the last one is kept, since ZSL and GZSL may ask for the same."""
        settings: ClusterableSettings = self.settings
        key = (signatures.tobytes(), seen_mask.tobytes(), seed, settings)
        if self._last is None or self._last[0] != key:
            real = self.real if seen_mask.any() else None
            taught = label_space(self.model, real, signatures, seen_mask, settings.generate, settings.classify, seed)
            purpose = "joint" if seen_mask.any() else "zsl"
            device, members = self.model.device, settings.train.members
            fitted = fit_classifier(*taught, len(signatures), settings.classify, seed, device, purpose, members)
            self._last = (key, fitted)
        return self._last[1]

    def state(self) -> dict[str, NDArray[Any]]:
        """Weights of F, M, C, E and G, and the projected training features that GZSL classifiers learn from."""
        features, labels = self.real
        own: dict[str, NDArray[Any]] = {"projected": features, "labels": labels, "seen_signatures": self.signatures}
        return {**self.finetuned.state(), **self.model.state(), **own}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `state` returned."""
        settings: ClusterableSettings = self.settings
        device = resolve_device(settings.device)
        self.finetuned = Finetuned.from_state(settings.finetune, state, device)
        self.model = Trained.from_state(settings.train, state, device)
        self._real = state["projected"], state["labels"]
        self.signatures, self._last = state["seen_signatures"], None
        self.seen_classes, self.attributes = self.signatures.shape


@dataclass(frozen=True)
class ClusterableScorer:
    """Scores M(F(x)) with the classifier of one label space, and `feedback` of R's cosines beside it.

    signatures: (classes, a) of the classes that compete.
    """

    finetuned: Finetuned
    model: Trained
    classifier: Classifier
    signatures: NDArray[np.float32]
    feedback: float

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, d) unscaled features -> (n, classes) log-probabilities."""
        tuned = self.finetuned(features)
        beside = None
        if self.feedback:
            beside = self.feedback * self.model.cosines(self.model.told(tuned), self.signatures)
        return self.classifier.scores(self.model.project(tuned), beside)
