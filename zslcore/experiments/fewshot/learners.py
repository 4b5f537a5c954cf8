"""The rows of the few-shot table: each fits on base classes and returns features to work on and a learner."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from zslcore.experiments.fewshot.classifiers import linear, nearest_mean
from zslcore.experiments.fewshot.delta_encoder import train_delta_encoder
from zslcore.experiments.fewshot.episodes import Base, FeatureMap, Fit, Learner, draw_episodes
from zslcore.experiments.fewshot.protonet import train_protonet
from zslcore.io.layers import merge, validate
from zslcore.methods.clusterable.finetune import finetune
from zslcore.scaling import Scaler
from zslcore.settings import Finetune
from zslcore.training.device import tensor
from zslcore.training.seeding import seeded


def _same_length(mapping: FeatureMap) -> FeatureMap:
    """Rows of one length after `mapping`: on few examples every row of the table gains from it."""
    sphere = Scaler.fit(np.empty((1, 0), np.float32), "sphere")
    return lambda features: sphere(mapping(features))


def _scaled(base: Base) -> FeatureMap:
    return _same_length(Scaler.fit(base.features, base.finetune.scaling))


def _as_given(features: NDArray[np.float32]) -> NDArray[np.float32]:
    return features


def _plain(base: Base) -> tuple[FeatureMap, Learner]:
    return _same_length(_as_given), partial(linear, ridge=base.settings.ridge)


def _standardised(base: Base) -> tuple[FeatureMap, Learner]:
    """The control of the rows by F, which works on features standardised by base statistics."""
    scaler = Scaler.fit(base.features, "standard")
    return _same_length(scaler), partial(linear, ridge=base.settings.ridge)


def _prototype(base: Base) -> tuple[FeatureMap, Learner]:
    return _same_length(_as_given), nearest_mean


def _protonet(base: Base) -> tuple[FeatureMap, Learner]:
    scaler, settings = _scaled(base), base.settings.protonet
    sizes = settings.way, settings.shot, settings.query, settings.episodes
    episodes = draw_episodes(base.labels, *sizes, base.seed, "base", "fewshot.protonet")
    with seeded(base.seed, "fewshot/protonet"):
        features = tensor(scaler(base.features), base.device)
        return scaler, train_protonet(features, episodes, settings.lr, settings.scale)


def _delta_encoder(base: Base) -> tuple[FeatureMap, Learner]:
    scaler = _scaled(base)
    with seeded(base.seed, "fewshot/delta-encoder"):
        features, labels = tensor(scaler(base.features), base.device), tensor(base.labels, base.device)
        return scaler, train_delta_encoder(features, labels, base.settings)


def _finetuned(base: Base, loss: str, learner: Learner | None = None) -> tuple[FeatureMap, Learner]:
    update = {"enabled": True, "level": "features", "loss": loss, **base.settings.finetune}
    settings = validate(Finetune, merge(base.finetune.model_dump(), update), "fewshot.finetune")
    tuned = finetune(base.features, base.labels, settings, base.seed, base.device)
    return _same_length(tuned), learner or partial(linear, ridge=base.settings.ridge)


ROWS: dict[str, Fit] = {
    "plain features, linear classifier": _plain,
    "standardised features, linear classifier": _standardised,
    "plain features, nearest prototype": _prototype,
    "ProtoNet, trained": _protonet,
    "Δ-encoder": _delta_encoder,
    "F by cross-entropy, linear classifier": partial(_finetuned, loss="cce"),
    "F by Gaussian similarity, linear classifier": partial(_finetuned, loss="gaussian"),
    "F by Gaussian similarity, nearest prototype": partial(_finetuned, loss="gaussian", learner=nearest_mean),
}
"""Name in the table -> how to fit it."""
BASELINE = "plain features, linear classifier"
"""The row that the others are compared with, episode by episode."""
