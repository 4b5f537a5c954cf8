"""A backbone's last stage, which learns together with a method on feature maps."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from zslcore.errors import ZSLError
from zslcore.features import backbones
from zslcore.features.halves import last_stage, upper
from zslcore.features.regions import as_map, map_shape


class Stage(nn.Module):
    """What a timm network's last stage takes (n, h, w, c) -> its last feature map (n, h, w, c).

    A weight is where it was loaded plus `rate` times what Adam moves, so that the stage learns at that share of the
    method's rate. Batch normalisations keep their statistics.
    """

    def __init__(self, name: str, weights: str, rate: float) -> None:
        super().__init__()
        backbone = backbones.load(name, weights)
        self.name, self.rate, self.channels = name, rate, map_shape(backbone, "before")[2]
        self.last = _Last(upper(backbone.module, last_stage(backbone)))
        self.moved = nn.ParameterList(torch.zeros_like(loaded) for loaded in self.last.parameters())

    def check(self, channels: int) -> None:
        """Raise ZSLError unless maps of so many channels are what the stage takes."""
        if channels != self.channels:
            raise ZSLError(
                f"maps of {channels} channels, and the last stage of {self.name} takes {self.channels}; set "
                "extract.output to before, and extract with this backbone"
            )

    def forward(self, maps: Tensor) -> Tensor:
        """As the class says."""
        loaded = self.last.named_parameters()
        weights = {name: value + self.rate * moved for (name, value), moved in zip(loaded, self.moved, strict=True)}
        found: Tensor = functional_call(self.last, weights, maps.permute(0, 3, 1, 2))
        return found

    def train(self, mode: bool = True) -> "Stage":
        """Only the weights learn: neither statistics nor dropout change."""
        return super().train(False)


class _Last(nn.Module):
    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module

    def forward(self, taken: Tensor) -> Tensor:
        return as_map(self.module, self.module.forward_features(taken))
