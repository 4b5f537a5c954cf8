"""Where tensors are, and in which precision matrix products are taken there."""

from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zslcore.errors import ZSLError

PrecisionName = Literal["fp32", "bf16", "auto"]


def resolve_device(name: str = "auto") -> torch.device:
    """`auto`: CUDA where there is one, else the CPU. Raises ZSLError for another kind, or one that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = None
    with suppress(RuntimeError):
        device = torch.device(name)
    if device is None or device.type not in ("cpu", "cuda"):
        raise ZSLError(f"unknown device '{name}'; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ZSLError(f"device '{name}' asked for, but this machine has no CUDA; use device: auto or cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise ZSLError(f"device '{name}' asked for, but the last one here is cuda:{last}; use that, auto or cpu")
    return device


def fast_precisions(device: torch.device) -> list[str]:
    """16-bit types this device computes with, fastest first: none on a CPU without units for them."""
    if device.type == "cuda":
        return ["bf16", "fp16"] if torch.cuda.is_bf16_supported() else ["fp16"]
    instructions = {"amx_bf16": "bf16", "avx512_bf16": "bf16", "avx512_fp16": "fp16", "amx_fp16": "fp16"}
    with suppress(OSError):
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
        return list(dict.fromkeys(name for flag, name in instructions.items() if flag in flags))
    return []


def in_bf16(precision: PrecisionName, device: torch.device) -> bool:
    """Whether matrix products are taken in bfloat16: under `bf16`, and under `auto` where the device has units for it.

    Without them a product takes hundreds of times longer than in float32.
    """
    return precision == "bf16" or (precision == "auto" and "bf16" in fast_precisions(device))


def tensor(values: NDArray[np.generic], device: torch.device) -> Tensor:
    """A copy of an array on a device; floats as float32."""
    copy = torch.from_numpy(np.array(values))
    return copy.to(device, torch.float32) if copy.is_floating_point() else copy.to(device)
