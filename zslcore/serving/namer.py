"""Encoded pictures to predictions: decoded side by side, then through the network and scored in batches."""

import asyncio
import base64
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from zslcore.errors import ZSLError
from zslcore.evaluation.explain import worded
from zslcore.features.network import Network
from zslcore.model.model import Model
from zslcore.model.overlays import overlays, png
from zslcore.model.prediction import Prediction, Question
from zslcore.serving.batches import Batches
from zslcore.serving.limits import Limits, busy, check_pixels

LARGEST_BATCH = {"cpu": 8, "cuda": 64}
"""More gains little on a CPU, and makes the last one in wait."""


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
                prediction = await self.batches(Task(pixels, model, question))
                if prediction.maps is None:
                    return prediction
                return await asyncio.get_running_loop().run_in_executor(
                    self.decoding, _drawn, prediction, model, pixels
                )
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
        features, _ = model.unpacked([self._blank()])
        for among in ("all", "unseen"):
            with suppress(ZSLError):  # fewer than two unseen classes
                model.probabilities(features, among)

    def explains(self, model: Model) -> bool:
        """Whether a model can say which attributes spoke, by names that tell people something."""
        return worded(model.attributes) and self._understands(model, Question(explain=True))

    def locates(self, model: Model) -> bool:
        """Whether it can also show where in a picture these are seen."""
        return self.explains(model) and self._understands(model, Question(explain=True, maps=True))

    def _understands(self, model: Model, question: Question) -> bool:
        return not isinstance(_answers(model, [self._blank()], question)[0], ZSLError)

    def _blank(self) -> NDArray[Any]:
        """A row as the network gives it, of nothing."""
        pooled = self.network.plan.output == "pooled"
        return np.zeros(self.network.backbone.dimensions, np.float32) if pooled else np.zeros((), self.network.layout)

    def _decode(self, content: bytes) -> NDArray[np.uint8]:
        check_pixels(content, self.limits)
        return self.prepare(content)

    def _compute(self, tasks: Sequence[Task]) -> list[Prediction | ZSLError]:
        rows = [self.network.record(row) for row in self.network.unpadded([task.pixels for task in tasks])]
        alike: dict[tuple[int, Question], list[int]] = {}
        for place, task in enumerate(tasks):
            alike.setdefault((id(task.model), task.question), []).append(place)
        answers: dict[int, Prediction | ZSLError] = {}
        for (_, question), places in alike.items():
            some = [rows[place] for place in places]
            answers.update(zip(places, _answers(tasks[places[0]].model, some, question), strict=True))
        return [answers[place] for place in range(len(tasks))]


def _answers(
    model: Model, rows: Sequence[NDArray[Any]], question: Question
) -> Sequence[Prediction] | Sequence[ZSLError]:
    """One for each row of the network; where the model does not understand the question, it is so for each."""
    try:
        return model.predict_rows(rows, question)
    except ZSLError as error:
        return [error] * len(rows)


def _drawn(prediction: Prediction, model: Model, picture: NDArray[np.uint8]) -> Prediction:
    """With the overlays as data URIs in place of files."""
    shown = {
        one.attribute: f"data:image/png;base64,{base64.b64encode(png(pixels)).decode('ascii')}"
        for one, pixels in overlays(prediction, model.attributes, picture)
    }
    return replace(prediction, maps=None, overlays=shown)


def _network(model: Model) -> Network:
    if model.extractor is None:
        raise ZSLError(f"model '{model.name}' was trained on given features: it has no network for pictures")
    try:
        return model.localiser.network
    except ZSLError:  # names without showing where
        return model.extractor.network
