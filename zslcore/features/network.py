"""A backbone made ready to run on whole batches of pixels, with everything that was resolved for the run."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zslcore.features import backbones
from zslcore.features.backbones import Backbone

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Run:
    """Everything a feature depends on besides the image: equal runs give equal bytes on equal machines.

    precision: fp32, bf16 or fp16; batch_size: images (the last batch is padded); compiled: by torch.compile.
    """

    backbone: str
    weights: str
    image_size: int | None
    device: str
    precision: str
    batch_size: int
    compiled: bool
    fingerprint: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values, to be stored."""
        return asdict(self)


class Network:
    """Pixels to features, always in batches of the run's size."""

    def __init__(self, run: Run, backbone: Backbone | None = None) -> None:
        self.run = run
        self.backbone = backbone or backbones.load(run.backbone, run.weights, run.image_size)
        self.device, self.dtype = torch.device(run.device), DTYPES[run.precision]
        module: Any = self.backbone.module.to(self.device, self.dtype)
        module = module.to(memory_format=torch.channels_last)
        self.module: Any = torch.compile(module) if run.compiled else module
        mean, std = (torch.tensor(self.backbone.preprocessing[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
        self.mean, self.std = mean.to(self.device), std.to(self.device)

    @torch.inference_mode()
    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features (n, d) float32 of pixels (n, height, width, 3); n is at most the batch size."""
        count = len(pixels)
        if count < self.run.batch_size:
            pixels = np.concatenate([pixels, np.zeros((self.run.batch_size - count, *pixels.shape[1:]), np.uint8)])
        batch = torch.from_numpy(pixels).to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        normalised = (batch.float() / 255 - self.mean) / self.std
        features = self.module(normalised.to(self.dtype, memory_format=torch.channels_last))
        return features[:count].float().cpu().numpy()
