"""Features by backbones that differ from a stage on: what that stage takes of an image is computed once for all."""

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zslcore.features import backbones
from zslcore.features.backbones import Backbone
from zslcore.features.batches import Computed, Engine
from zslcore.features.extract import path_by_plan
from zslcore.features.halves import lower, trunk, upper
from zslcore.features.image_sources import ImageRef
from zslcore.features.network import ExtractionPlan, Network, folded
from zslcore.features.regions import Regions, framed
from zslcore.features.store import Outcome, Store, open_store
from zslcore.settings import Views


class Trunk(nn.Module):
    """Normalised pictures -> what a stage takes of each of their views, flat: (n, views · c · h · w)."""

    def __init__(self, module: nn.Module, stage: str, views: Views, crop: tuple[int, int]) -> None:
        super().__init__()
        self.stage, self.views = stage, Regions(trunk(module, stage), "pooled", views, crop)

    def forward(self, pictures: Tensor) -> Tensor:
        """As the class says."""
        shown = self.views.shown(pictures)
        return torch.stack([lower(self.views.module, self.stage, view) for view in shown], dim=1).flatten(1)


def over_trunk(engine: Engine, stage: str, folder: Path) -> Engine:
    """An engine that goes on from what a stage takes, which `engine` computes once for a store under `folder`.

    So a backbone whose weights differ from this stage on costs the rest of the network only. The bytes are those of
    whole passes in the plan's precision: what is stored has 32 bits, and a batch has the same images in the same parts.
    """

    def compute(plan: ExtractionPlan, backbone: Backbone, batches: Iterable[list[ImageRef]], store: Store) -> Computed:
        rest = Rest(plan, backbone, stage)
        below = replace(plan, output="pooled", views=1, fingerprint=rest.trunk.fingerprint)
        with open_store(path_by_plan(folder, below, rest.trunk)) as shared:
            for images, outcomes in engine(below, rest.trunk, batches, shared):
                shared.commit(images, outcomes)
                yield images, rest([one if one.key is None else shared.outcome(one.key) for one in outcomes])

    return compute


class Rest:
    """What comes from a stage on, of a backbone that is made ready by a plan; `trunk`: what comes before."""

    def __init__(self, plan: ExtractionPlan, backbone: Backbone, stage: str) -> None:
        channels, *crop = backbone.preprocessing["input_size"]
        size, views = (crop[0], crop[1]), plan.views
        example = torch.linspace(-2, 2, channels * math.prod(crop)).view(1, channels, *crop)
        once = folded(backbone.module, example)  # of one picture: views would call each layer several times
        before = Trunk(once, stage, views, size)
        name = f"{backbone.name}-before-{stage}"
        self.trunk = backbones.from_module(name, before, framed(backbone, views))
        self.network = Network(plan, backbone)
        whole = self.network.module
        ready = whole.module if isinstance(whole, Regions) else whole
        self.module = Regions(upper(ready, stage), plan.output, views, size)
        with torch.no_grad():
            one = lower(backbone.module, stage, example)
        self.shape = self.trunk.dimensions // one.numel(), *one.shape[1:]

    def __call__(self, outcomes: list[Outcome]) -> list[Outcome]:
        """The outcomes of a batch's images, of those of the trunk."""
        taken = np.zeros((len(outcomes), *self.shape), np.float32)
        for place, outcome in enumerate(outcomes):
            if outcome.features is not None:
                taken[place] = outcome.features.reshape(self.shape)
        return [self._outcome(outcome, row) for outcome, row in zip(outcomes, self.rows(taken), strict=True)]

    def _outcome(self, outcome: Outcome, row: NDArray[np.float32]) -> Outcome:
        reason = outcome.reason or self.network.overflows(row)
        return Outcome(outcome.key, None if reason else self.network.record(row), reason)

    def rows(self, taken: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `Network.finish`, of what the stage takes: (n, views, c, h, w)."""
        network = self.network
        size = network.split_size
        padded = np.zeros((-(-len(taken) // size) * size, *self.shape), np.float32)
        padded[: len(taken)] = taken
        parts = torch.split(torch.from_numpy(padded), size)
        return torch.cat(list(network.threads.map(self._part, parts)))[: len(taken)].cpu().numpy()

    @torch.no_grad()
    def _part(self, taken: Tensor) -> Tensor:
        network = self.network
        views = taken.to(network.device, network.dtype).unbind(1)
        if taken.ndim == 5:  # maps, as the whole network has them
            views = tuple(view.to(memory_format=torch.channels_last) for view in views)
        return self.module.averaged(views).float()
