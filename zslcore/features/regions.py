"""A feature map of a backbone, in place of its pooled vector or with it; averages over views of a picture."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zslcore.errors import ZSLError, first_line
from zslcore.features.backbones import Backbone
from zslcore.features.halves import Halved, can_be_cut, known_stage
from zslcore.settings import Output, Views


class Regions(nn.Module):
    """Normalised pictures (n, 3, height, width) -> (n, d + h·w·c): the pooled vector, the map (h, w, c), or both.

    module: a network of timm's kind, whose output is forward_head(forward_features(pictures)); any other where only
    pooled vectors are asked for. crop: (height, width) that the network takes of the larger pictures of `views: five`.
    """

    def __init__(self, module: nn.Module, output: Output, views: Views, crop: tuple[int, int]) -> None:
        super().__init__()
        self.module: Any = module
        self.output, self.views, self.crop = output, views, crop

    def forward(self, pictures: Tensor) -> Tensor:
        """The mean over the views, flat."""
        return self.averaged(self.shown(pictures))

    def shown(self, pictures: Tensor) -> Sequence[Tensor]:
        """The views of pictures, each (n, 3, height, width)."""
        if self.views == "flip":
            return pictures, pictures.flip(3)
        return five_crops(pictures, *self.crop) if self.views == "five" else (pictures,)

    def averaged(self, shown: Sequence[Tensor]) -> Tensor:
        """The mean over views, flat; each as `module` takes it."""
        if self.views == "flip":
            return (self._flat(shown[0]) + self._flat(shown[1], mirrored=True)) / 2
        return torch.stack([self._flat(view) for view in shown]).mean(0) if len(shown) > 1 else self._flat(shown[0])

    def _flat(self, pictures: Tensor, mirrored: bool = False) -> Tensor:
        """mirrored: the map is turned back, so that its places are those of the picture."""
        if self.output == "pooled":
            return self.module(pictures)
        stage = known_stage(self.module) if self.output == "before" else None
        module = self.module if stage is None else Halved(self.module, stage)
        features = module.forward_features(pictures)
        found = as_map(module, features)
        flat = (found.flip(2) if mirrored else found).flatten(1)
        return flat if self.output == "map" else torch.cat([module.forward_head(features), flat], dim=1)


def wrapped(module: nn.Module, backbone: Backbone, output: Output = "pooled", views: Views = 1) -> nn.Module:
    """`module`, a backbone's network, made to give what is wanted of pictures that are as `framed` says."""
    if output == "pooled" and views == 1:
        return module
    _, height, width = backbone.preprocessing["input_size"]
    return Regions(module, output, views, (height, width))


def as_map(module: nn.Module, features: Any) -> Tensor:
    """What `forward_features` gives, as (n, h, w, c): of feature maps, of channels-last ones, or of a grid of tokens.

    Raises ValueError for anything else.
    """
    ndim = features.ndim if isinstance(features, Tensor) else 0
    if ndim == 4:
        last = getattr(module, "output_fmt", "NCHW") == "NHWC"
        return features if last else features.permute(0, 2, 3, 1)
    if ndim != 3:
        raise ValueError(f"its last layer gives {ndim} dimensions, no map and no tokens")
    tokens = features[:, getattr(module, "num_prefix_tokens", 0) :]  # less the class token and the like
    count = tokens.shape[1]
    grid = getattr(getattr(module, "patch_embed", None), "grid_size", None)
    height, width = grid if grid and math.prod(grid) == count else (math.isqrt(count),) * 2
    if height * width != count:
        raise ValueError(f"its {count} tokens are no grid")
    return tokens.unflatten(1, (height, width))


def map_shape(backbone: Backbone, output: Output = "both") -> tuple[int, int, int]:
    """(h, w, c) of a backbone's last feature map, or of the one before its last stage. Raises ZSLError without one."""
    module: Any = backbone.module
    why = "it has no forward_features and forward_head, as networks of timm have"
    if output == "before":
        stage, size = known_stage(module), backbone.preprocessing["input_size"]
        if stage is None or not can_be_cut(module, stage, torch.linspace(-2, 2, math.prod(size)).view(1, *size)):
            raise ZSLError(f"backbone {backbone.name} cannot be cut before its last stage; set extract.output to both")
        module = Halved(module, stage)
    if hasattr(module, "forward_features") and hasattr(module, "forward_head"):
        try:
            with torch.no_grad():
                features = module.forward_features(torch.zeros(1, *backbone.preprocessing["input_size"]))
                return tuple(as_map(module, features).shape[1:])  # type: ignore[return-value]
        except (ValueError, TypeError, RuntimeError) as error:
            why = first_line(error)
    raise ZSLError(f"backbone {backbone.name} has no feature map ({why}); set extract.output to pooled")


def pools_by_mean(backbone: Backbone) -> bool:
    """Whether a picture's vector is the mean of its map. Raises ZSLError where there is no map."""
    map_shape(backbone)
    module: Any = backbone.module
    size = backbone.preprocessing["input_size"]
    with torch.no_grad():
        features = module.forward_features(torch.linspace(-2, 2, math.prod(size)).view(1, *size))
        pooled, mean = module.forward_head(features), as_map(module, features).mean((1, 2))
    return pooled.shape == mean.shape and torch.allclose(pooled, mean, 1e-3, 1e-4 * float(mean.abs().max()))


def layout(backbone: Backbone, output: Output) -> np.dtype[Any]:
    """What is stored of an image, as one record: `features` (d,) float32, `maps` (h, w, c) float16, or both."""
    fields: list[tuple[str, str, tuple[int, ...]]] = []
    if output != "map":
        fields.append(("features", "<f4", (backbone.dimensions,)))
    if output != "pooled":
        fields.append(("maps", "<f2", map_shape(backbone, output)))
    return np.dtype(fields)


def framed(backbone: Backbone, views: Views) -> dict[str, Any]:
    """The preprocessing of the pictures that views are taken of: for `five` the whole square in which the crops lie.

    Raises ZSLError where that is no larger than a crop.
    """
    given = backbone.preprocessing
    if views != "five":
        return given
    channels, *size = given["input_size"]
    whole = [math.floor(side / given["crop_pct"]) for side in size]
    if whole == size:
        raise ZSLError(
            f"extract.views: five: {backbone.name} takes the whole picture (crop_pct 1), of which all five crops are "
            "the same; use flip"
        )
    return given | {"input_size": (channels, *whole), "crop_pct": 1.0}


def five_crops(pictures: Tensor, height: int, width: int) -> list[Tensor]:
    """The four corners and the centre of pictures (n, 3, H, W): five times (n, 3, height, width)."""
    down, right = pictures.shape[2] - height, pictures.shape[3] - width
    places = (0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)
    return [pictures[:, :, top : top + height, left : left + width] for top, left in places]
