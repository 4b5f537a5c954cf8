"""The two classifiers of the main method: all classes jointly (GZSL), and the unseen ones alone (ZSL)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zslcore.io.artifacts import under
from zslcore.settings import Classify
from zslcore.synthesis.classifier import Classifier, FeaturesAndLabels, fit_classifier
from zslcore.synthesis.means import ClassMeans
from zslcore.synthesis.training_set import training_set


@dataclass
class LabelSpaces:
    """Each classifier is fitted when it is first asked for.

    real: projected trainval features (n, members · m), labels among the seen classes. seen, unseen: synthetic features,
    labels among the seen and among the unseen classes. seen_mask: (classes,) bool.
    """

    real: FeaturesAndLabels
    seen: FeaturesAndLabels
    unseen: FeaturesAndLabels
    seen_mask: NDArray[np.bool_]
    settings: Classify
    seed: int
    device: torch.device
    members: int

    @cached_property
    def joint(self) -> Classifier:
        """Over all classes."""
        return self._fit(self.real, self.seen_mask, "joint")

    @cached_property
    def unseen_only(self) -> Classifier:
        """Over the unseen classes: the joint one restricted to them, or one of their own (`classify.zsl`)."""
        if self.settings.zsl == "joint":
            return self.joint.restrict_to(~self.seen_mask)
        return self._fit(None, self.seen_mask[~self.seen_mask], "zsl")

    @cached_property
    def means(self) -> ClassMeans | None:
        """Of all classes; None where the real images are not at hand."""
        if not len(self.real[0]):
            return None
        return ClassMeans.of(self.real, self.seen, self.unseen, self.seen_mask)

    def evidence(
        self, projected: NDArray[np.float32], extra_logits: NDArray[np.float32] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """What joint scores do not say of images (`Evident`), from what `joint` takes."""
        distances = {} if self.means is None else self.means.distances(projected)
        return {"normaliser": self.joint.normaliser(projected, extra_logits), **distances}

    def fitted(self) -> dict[str, Classifier]:
        """The classifiers that were trained: `joint`, and `zsl` where the unseen classes have one of their own."""
        joint = {"joint": self.joint}
        return joint if self.settings.zsl == "joint" else {**joint, "zsl": self.unseen_only}

    def state(self) -> dict[str, NDArray[Any]]:
        """Named arrays of the classifiers that were trained, and of the class means."""
        spaces = self.fitted().items()
        means = {} if self.means is None else vars(self.means)
        return {
            **{f"{name}.{key}": value for name, space in spaces for key, value in space.state().items()},
            **{f"means.{key}": value for key, value in means.items()},
        }

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `state` returned; nothing is trained then."""
        kind = self.settings.kind
        self.joint = Classifier.from_state(kind, under(state, "joint."), self.device)
        self.means = ClassMeans(**under(state, "means.")) if "means.spread" in state else None
        if self.settings.zsl != "joint":
            self.unseen_only = Classifier.from_state(kind, under(state, "zsl."), self.device)

    def _fit(self, real: FeaturesAndLabels | None, seen_mask: NDArray[np.bool_], purpose: str) -> Classifier:
        features, labels = training_set(real, self.seen, self.unseen, seen_mask, self.settings)
        return fit_classifier(
            features,
            labels,
            len(seen_mask),
            self.settings,
            seed=self.seed,
            device=self.device,
            purpose=purpose,
            members=self.members,
        )
