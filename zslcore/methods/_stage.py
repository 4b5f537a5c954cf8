"""A backbone's last stage, which learns together with a method on the maps that it takes."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from zslcore.errors import ZSLError
from zslcore.features import backbones
from zslcore.features.halves import known_stage, upper
from zslcore.features.regions import as_map
from zslcore.nn.state import numpy_state, put_state


class Stage(nn.Module):
    """What a timm network's last stage takes (n, h, w, c) -> its last feature map (n, h′, w′, c′).

    A weight is where it was loaded plus `rate` times what Adam moves, so that the stage learns at that share of the
    method's rate. Batch normalisations keep their statistics. moved: of the weights that lead to the map.
    """

    def __init__(self, name: str, network: nn.Module, rate: float) -> None:
        super().__init__()
        stage = known_stage(network)
        assert stage is not None  # else there would be no maps
        self.name, self.rate = name, rate
        self.channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
        self.last = _Last(upper(network, stage))
        self.moving: list[str] = []
        self.moved = nn.ParameterList()

    @classmethod
    def of_maps(cls, made_by: Mapping[str, Any], image: tuple[int, int, int], rate: float) -> Self:
        """The stage that follows maps (h, w, c), as it was loaded. made_by: `datasets.maps.Maps.before`.

        Raises ZSLError where the network is none of timm's, has other weights by now, or none that could learn.
        """
        name = made_by["backbone"]
        if ":" in name:
            raise ZSLError(f"{name}: only backbones of timm have a last stage that learns; set extract.output to both")
        backbone = backbones.load(name, made_by["weights"], made_by["image_size"])
        if backbone.fingerprint != made_by["fingerprint"]:
            raise ZSLError(
                f"{name}: its weights ({made_by['weights']}) changed since the maps were made; extract again"
            )
        stage = cls(name, backbone.module, rate)
        stage.begin(image)
        return stage

    def begin(self, image: tuple[int, int, int]) -> None:
        """Let the weights move that lead to the map. Raises ZSLError where none does."""
        loaded = {name: value.clone().requires_grad_() for name, value in self.last.named_parameters()}
        made = functional_call(self.last, loaded, self._given(torch.ones(1, *image))).sum()
        if made.requires_grad:
            reached = torch.autograd.grad(made, list(loaded.values()), allow_unused=True)
            self.moving = [name for name, gradient in zip(loaded, reached, strict=True) if gradient is not None]
            self.moved.extend(torch.zeros_like(loaded[name]) for name in self.moving)
        if not self.moving:
            raise ZSLError(f"{self.name}: its last stage has no weights that could learn; set extract.output to both")

    def forward(self, maps: Tensor) -> Tensor:
        """As the class says."""
        found: Tensor = functional_call(self.last, self._weights(), self._given(maps))
        return found

    def _given(self, maps: Tensor) -> Tensor:
        return maps if self.channels_last else maps.permute(0, 3, 1, 2)

    def _weights(self) -> dict[str, Tensor]:
        loaded = dict(self.last.named_parameters())
        return {name: loaded[name] + self.rate * moved for name, moved in zip(self.moving, self.moved, strict=True)}

    def train(self, mode: bool = True) -> Self:
        """Only the weights learn: neither statistics nor dropout change."""
        return super().train(False)

    def state(self) -> dict[str, NDArray[Any]]:
        """The network's name, and its last stage as it learned, under `stage.`."""
        learned = {f"stage.{name}": value.detach().cpu().numpy() for name, value in self._weights().items()}
        name = np.frombuffer(self.name.encode(), np.uint8)
        return {"stage": name, **numpy_state(self.last, "stage."), **learned}

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> Self | None:
        """What `state` described; None where there is no stage. Raises ZSLError for a name that timm has not."""
        if "stage" not in state:
            return None
        name = state["stage"].tobytes().decode()
        stage = cls(name, backbones.untrained(name), 0.0)
        put_state(stage.last, state, "stage.")
        return stage


class _Last(nn.Module):
    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module

    def forward(self, taken: Tensor) -> Tensor:
        return as_map(self.module, self.module.forward_features(taken))
