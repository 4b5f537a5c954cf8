"""The rows of the few-shot table: each fits on base classes and returns features to work on and a learner."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from zslcore.evaluation.fewshot import Learner, draw_episodes
from zslcore.fewshot.classifiers import linear, nearest_mean
from zslcore.fewshot.delta_encoder import train_delta_encoder
from zslcore.fewshot.protonet import train_protonet
from zslcore.scaling import Scaler
from zslcore.settings import FewshotSettings, Finetune
from zslcore.steps.finetune import finetune
from zslcore.training import seeded, tensor

Map = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Unscaled features (n, d) -> what the learner works on (n, ·)."""


@dataclass(frozen=True)
class Base:
    """What every row is fitted on: images of base classes, and the settings.

    features: (n, d) float32 unscaled; labels: (n,) in 0..K-1.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    settings: FewshotSettings
    finetune: Finetune
    seed: int
    device: torch.device


def _same_length(mapping: Map) -> Map:
    """Rows of one length after `mapping`: on few examples every row of the table gains from it."""
    sphere = Scaler.fit(np.empty((1, 0), np.float32), "sphere")
    return lambda features: sphere(mapping(features))


def _scaled(base: Base) -> Map:
    return _same_length(Scaler.fit(base.features, base.finetune.scaling))


def _as_given(features: NDArray[np.float32]) -> NDArray[np.float32]:
    return features


def _plain(base: Base) -> tuple[Map, Learner]:
    return _same_length(_as_given), partial(linear, ridge=base.settings.ridge)


def _prototype(base: Base) -> tuple[Map, Learner]:
    return _same_length(_as_given), nearest_mean


def _protonet(base: Base) -> tuple[Map, Learner]:
    scaler, own = _scaled(base), base.settings.protonet
    drawn = own.way, own.shot, own.query, own.episodes, base.seed
    episodes = draw_episodes(base.labels, *drawn, "base", "fewshot.protonet")
    with seeded(base.seed, "fewshot/protonet"):
        return scaler, train_protonet(tensor(scaler(base.features), base.device), episodes, own.lr, own.scale)


def _delta_encoder(base: Base) -> tuple[Map, Learner]:
    scaler = _scaled(base)
    with seeded(base.seed, "fewshot/delta-encoder"):
        features, labels = tensor(scaler(base.features), base.device), tensor(base.labels, base.device)
        return scaler, train_delta_encoder(features, labels, base.settings)


def _finetuned(base: Base, loss: str, learner: Learner | None = None) -> tuple[Map, Learner]:
    wanted = {"enabled": True, "loss": loss, **base.settings.finetune.model_dump(exclude_none=True)}
    settings = base.finetune.model_copy(update=wanted)
    tuned = finetune(base.features, base.labels, settings, base.seed, base.device)
    return _same_length(tuned), learner or partial(linear, ridge=base.settings.ridge)


ROWS: dict[str, Callable[[Base], tuple[Map, Learner]]] = {
    "plain features, linear classifier": _plain,
    "plain features, nearest prototype": _prototype,
    "ProtoNet, trained": _protonet,
    "Δ-encoder": _delta_encoder,
    "F by cross-entropy, linear classifier": partial(_finetuned, loss="cce"),
    "F by Gaussian similarity, linear classifier": partial(_finetuned, loss="gaussian"),
    "F by Gaussian similarity, nearest prototype": partial(_finetuned, loss="gaussian", learner=nearest_mean),
}
"""Name in the table -> how to fit it."""
BASELINE = "plain features, linear classifier"
"""What the other rows are compared with, episode by episode."""
