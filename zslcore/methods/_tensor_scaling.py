"""What a `Scaler` does, on tensors: with a gradient, and as a part of a graph."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from zslcore.scaling import Scaler


class TensorScaling(nn.Module):
    """`Scaler` of the last axis of (..., d); at 0 the gradient of `root` and `power` is infinite."""

    shift: Tensor
    factor: Tensor

    def __init__(self, scaler: Scaler) -> None:
        super().__init__()
        self.scaling, self.length = scaler.scaling, scaler.length
        self.fitted = len(scaler.factor) > 0
        self.register_buffer("shift", torch.from_numpy(scaler.shift))
        self.register_buffer("factor", torch.from_numpy(scaler.factor))

    def forward(self, x: Tensor) -> Tensor:
        """As the class says."""
        if self.scaling in ("root", "power"):
            x = x.sign() * x.abs().sqrt()
        if self.scaling == "power":
            x = functional.normalize(x, dim=-1)
        if self.fitted:
            x = (x - self.shift) * self.factor
        length = self.length(x.shape[-1])
        return x if length is None else x * (float(length) / x.norm(dim=-1, keepdim=True).clamp_min(1e-12))
