"""The main method: clusterable visual features for zero-shot recognition (Xu, Shu and Samaras, 2020)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from zslcore.errors import ZSLError
from zslcore.methods.base import Method, MethodSettings, Observe, Scorer, TrainData, check_classes
from zslcore.methods.clusterable.finetune import Finetuned, finetune
from zslcore.methods.clusterable.label_spaces import LabelSpaces
from zslcore.methods.clusterable.train import Trained
from zslcore.methods.clusterable.train import train as train_modules
from zslcore.settings import Classify, Finetune, Generate, Settings, Train
from zslcore.synthesis.classifier import Classifier, FeaturesAndLabels
from zslcore.synthesis.generate import draw_classes
from zslcore.synthesis.means import condensed
from zslcore.training.device import resolve_device

NO_IMAGES: FeaturesAndLabels = np.empty((0, 0), np.float32), np.empty(0, np.int64)


class ClusterableSettings(MethodSettings):
    """The pipeline's own sections; what `select` decides there has a plain default where nothing selected."""

    finetune: Finetune = Finetune()
    train: Train = Train()
    generate: Generate = Generate()
    classify: Classify = Classify()
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")

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


class Clusterable(Method[ClusterableSettings]):
    """F by eq. 9, then min over E, G, M, C of L_CVAE + λcls L_cls + λcls′ L_cls′ (eq. 4), then softmax classifiers.

    The pipeline's stages finetune, train, generate and classify call the same functions between files.
    """

    name = "clusterable"
    title = "Clusterable features"
    citation = "Xu, Shu and Samaras, 2020"
    summary = (
        "The main method: features mapped to be clusterable, then a conditional VAE on projected features, whose "
        "projection also has to classify what the VAE makes."
    )
    family = "generative"
    generates = True
    streams = True
    Settings = ClusterableSettings
    quick = {
        "train": {"hidden": 64, "projection": 32, "epochs": 40, "batch_size": 32, "lr": 3e-3},
        "generate": {"per_unseen": 40},
        "classify": {"lr": 0.03, "batch_size": 64},
    }
    _tuned: FeaturesAndLabels
    _real: FeaturesAndLabels | None
    _last: tuple[Any, LabelSpaces] | None

    def fit(self, train: TrainData, seed: int = 0, observe: Observe | None = None) -> Self:
        """Fine-tune F, then train M, C, E and G."""
        settings = self.settings
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
    def real(self) -> FeaturesAndLabels:
        """The training images as the classifiers see them, (n, members · m), with their labels."""
        if self._real is None:
            features, labels = self._tuned
            self._real = self.model.project(features), labels
        return self._real

    def for_classes(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_], seed: int = 0) -> Scorer:
        """Generate features of the unseen classes, and train the classifier of this label space."""
        check_classes(signatures, seen_mask, self.seen_classes, self.attributes)
        spaces = self._label_spaces(signatures, seen_mask, seed)
        jointly = bool(seen_mask.any())
        classifier = spaces.joint if jointly else spaces.unseen_only
        feedback = self.settings.classify.feedback
        return ClusterableScorer(
            self.finetuned, self.model, classifier, signatures, feedback, spaces if jointly else None
        )

    def classifiers(
        self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_], seed: int = 0
    ) -> dict[str, NDArray[Any]]:
        """The joint classifier, and that of the unseen classes where they have one of their own."""
        return self._label_spaces(signatures, seen_mask, seed).state()

    def set_classifiers(
        self,
        state: Mapping[str, NDArray[Any]],
        signatures: NDArray[np.float32],
        seen_mask: NDArray[np.bool_],
        seed: int = 0,
    ) -> None:
        """Put back what `classifiers` returned for these classes."""
        spaces = self._spaces((NO_IMAGES, NO_IMAGES, NO_IMAGES), self._joined(signatures, seen_mask)[1], seed)
        spaces.set_state(state)
        self._last = self._key(signatures, seen_mask, seed), spaces

    def _label_spaces(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_], seed: int) -> LabelSpaces:
        """The classifiers over these classes; the last ones are cached, since ZSL and GZSL may ask for the same."""
        key = self._key(signatures, seen_mask, seed)
        if self._last is None or self._last[0] != key:
            signatures, seen_mask = self._joined(signatures, seen_mask)
            drawn = draw_classes(self.model, signatures, seen_mask, self.settings.generate, seed)
            self._last = key, self._spaces((self.real, *drawn), seen_mask, seed)
        return self._last[1]

    def _spaces(
        self,
        examples: tuple[FeaturesAndLabels, FeaturesAndLabels, FeaturesAndLabels],
        seen_mask: NDArray[np.bool_],
        seed: int,
    ) -> LabelSpaces:
        settings = self.settings
        return LabelSpaces(*examples, seen_mask, settings.classify, seed, self.model.device, settings.train.members)

    def _joined(
        self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The same classes with the seen ones before them, where these are not among them."""
        if seen_mask.any():
            return signatures, seen_mask
        everything = np.concatenate([self.signatures, signatures])
        return everything, np.arange(len(everything)) < self.seen_classes

    def _key(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_], seed: int) -> tuple[Any, ...]:
        signatures, seen_mask = self._joined(signatures, seen_mask)
        return signatures.tobytes(), seen_mask.tobytes(), seed, self.settings

    def state(self) -> dict[str, NDArray[Any]]:
        """Weights of F, M, C, E and G, and projected training features, condensed where no classifier needs more."""
        features, labels = condensed(*self.real) if self.settings.classify.seen == "synthetic" else self.real
        projected = np.asarray(features)  # in memory, where they were not
        train: dict[str, NDArray[Any]] = {"projected": projected, "labels": labels, "seen_signatures": self.signatures}
        return {**self.finetuned.state(), **self.model.state(), **train}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `state` returned."""
        settings = self.settings
        device = resolve_device(settings.device)
        self.finetuned = Finetuned.from_state(settings.finetune, state, device)
        self.model = Trained.from_state(settings.train, state, device)
        self._real = state["projected"], state["labels"]
        self.signatures, self._last = state["seen_signatures"], None
        self.seen_classes, self.attributes = self.signatures.shape


@dataclass(frozen=True)
class ClusterableScorer:
    """Scores M(F(x)) with the classifier of one label space, plus `feedback` times R's logits.

    signatures: (classes, a) of the classes that compete. joint: where that is the joint label space, all of it.
    """

    finetuned: Finetuned
    model: Trained
    classifier: Classifier
    signatures: NDArray[np.float32]
    feedback: float
    joint: LabelSpaces | None = None

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, d) unscaled features -> (n, classes) log-probabilities."""
        return self.classifier.scores(*self._inputs(features))

    def evidence(self, features: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """(n, d) unscaled features -> what joint scores do not say (`Evident`); nothing of unseen classes alone."""
        return {} if self.joint is None else self.joint.evidence(*self._inputs(features))

    def _inputs(self, features: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """What the classifier takes: M(F(x)), and `feedback` times R's logits."""
        tuned = self.finetuned(features)
        extra = None
        if self.feedback:
            predicted = self.model.predict_signatures(tuned)
            extra = self.feedback * self.model.signature_logits(predicted, self.signatures)
        return self.model.project(tuned), extra

    def contributions(self, features: NDArray[np.float32], winner: int, runner_up: int) -> NDArray[np.float32]:
        """(n, d) unscaled features -> (n, a): what each attribute adds to the lead of one class over another, by R.

        Rows sum to the lead in R's logits, whether or not these take part in the scores. Raises ZSLError where the
        model has no R.
        """
        if not self.model.settings.feedback:
            raise ZSLError("no mapping R that says which attributes an image has; set train.feedback above 0")
        predicted = self.model.predict_signatures(self.finetuned(features))
        first, second = self.model.attribute_logits(self.signatures[[winner, runner_up]])
        return predicted * (first - second)
