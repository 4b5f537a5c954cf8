"""Encoded pictures to predictions: decoded side by side, then through the network and scored in batches."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from zslcore.errors import ZSLError
from zslcore.evaluation.explain import worded
from zslcore.features.network import Network
from zslcore.model.model import Model
from zslcore.model.prediction import Prediction
from zslcore.serving.batches import Batches
from zslcore.serving.limits import Limits, busy, check_pixels

LARGEST_BATCH = {"cpu": 8, "cuda": 64}
"""More gains little on a CPU, and makes the last one in wait."""


class Question(NamedTuple):
    """The arguments of `Model.predict`."""

    top: int = 5
    among: str | tuple[str, ...] = "all"
    none: float = 0.05
    explain: bool = False


class Task(NamedTuple):
    """A decoded picture (height, width, 3) uint8, and what is asked of which model."""

    pixels: NDArray[np.uint8]
    model: Model
    question: Question


class Namer:
    """Answers questions about pictures. network: None loads the model's.

    Raises ZSLError for a model of features that were given: it has no network to look at a picture with.
    """

    def __init__(self, model: Model, limits: Limits, network: Network | None = None) -> None:
        self.network, self.limits, self.pending = network or _network(model), limits, 0
        plan = self.network.plan
        self.prepare = plan.transform(self.network.backbone)
        device = torch.device(plan.device).type
        cores = torch.get_num_threads()
        self.decoding = ThreadPoolExecutor(cores)
        self.batches = Batches(self._compute, 1 if device == "cuda" else cores, LARGEST_BATCH.get(device, 64))

    async def __call__(self, content: bytes, model: Model, question: Question) -> Prediction:
        """What a model says of an encoded picture. model: this one, or one that knows other classes.

        Raises BadImage, ZSLError for a question that the model does not understand, and HTTPException for a picture
        that is too large (413) and a server that is too busy (503).
        """
        if self.pending >= self.limits.waiting:
            raise busy(f"{self.pending} pictures are waiting already")
        self.pending += 1
        try:
            async with asyncio.timeout(self.limits.seconds):
                pixels = await asyncio.get_running_loop().run_in_executor(self.decoding, self._decode, content)
                return await self.batches(Task(pixels, model, question))
        except TimeoutError as error:
            raise busy(f"no answer within {self.limits.seconds:g} seconds") from error
        finally:
            self.pending -= 1

    def close(self) -> None:
        """End the threads."""
        self.decoding.shutdown()
        self.batches.close()

    def warm(self, model: Model) -> None:
        """Fit what a model fits when it is first asked, so that no client waits for it."""
        features = np.zeros((1, self.network.backbone.dimensions), np.float32)
        for among in ("all", "unseen"):
            with suppress(ZSLError):  # fewer than two unseen classes
                model.probabilities(features, among)

    def explains(self, model: Model) -> bool:
        """Whether a model can say which attributes spoke, by names that tell people something."""
        if not worded(model.attributes):
            return False
        features = np.zeros((1, self.network.backbone.dimensions), np.float32)
        return not isinstance(_answers(model, features, Question(explain=True))[0], ZSLError)

    def _decode(self, content: bytes) -> NDArray[np.uint8]:
        check_pixels(content, self.limits)
        return self.prepare(content)

    def _compute(self, tasks: Sequence[Task]) -> list[Prediction | ZSLError]:
        features = self.network.unpadded([task.pixels for task in tasks])
        alike: dict[tuple[int, Question], list[int]] = {}
        for place, task in enumerate(tasks):
            alike.setdefault((id(task.model), task.question), []).append(place)
        answers: dict[int, Prediction | ZSLError] = {}
        for (_, question), places in alike.items():
            answers.update(zip(places, _answers(tasks[places[0]].model, features[places], question), strict=True))
        return [answers[place] for place in range(len(tasks))]


def _answers(
    model: Model, features: NDArray[np.float32], question: Question
) -> Sequence[Prediction] | Sequence[ZSLError]:
    """One each of (n, d) features; where the model does not understand the question, it is so for each."""
    try:
        return model.predict_features(features, *question)
    except ZSLError as error:
        return [error] * len(features)


def _network(model: Model) -> Network:
    if model.extractor is None:
        raise ZSLError(f"model '{model.name}' was trained on given features: it has no network for pictures")
    return model.extractor.network
