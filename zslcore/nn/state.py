"""Weights of torch modules as named NumPy arrays, so that nothing is ever pickled."""

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn


def numpy_state(module: nn.Module | None, prefix: str) -> dict[str, NDArray[Any]]:
    """Every parameter and buffer under `prefix`; nothing for None."""
    if module is None:
        return {}
    return {f"{prefix}{name}": value.detach().cpu().numpy() for name, value in module.state_dict().items()}


def put_state(module: nn.Module, state: Mapping[str, NDArray[Any]], prefix: str) -> None:
    """Load what `numpy_state` returned into a module of the same shape, and put it in evaluation mode."""
    values = {name: torch.from_numpy(state[f"{prefix}{name}"].copy()) for name in module.state_dict()}
    module.load_state_dict(values)
    module.eval()
