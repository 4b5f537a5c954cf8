"""The one training loop: batches, device, seeds, curves."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zslcore.artifacts import atomic
from zslcore.errors import ZSLError

Terms = dict[str, Tensor]
"""Named loss terms of one batch; `total` is what is minimised."""
OptimiserName = Literal["adam", "sgd"]
Curve = list[dict[str, float]]
"""Mean of each term over an epoch, one entry an epoch."""


def resolve_device(name: str = "auto") -> torch.device:
    """`auto`: CUDA where there is one, else the CPU. Raises ZSLError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ZSLError(f"unknown device '{name}'; use auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ZSLError(f"device '{name}' asked for, but this machine has no CUDA; use device: auto or cpu")
    return device


def stream(seed: int, purpose: str) -> int:
    """A seed for one purpose, so that what one step draws never shifts what another draws."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:7], "big")


@contextmanager
def seeded(seed: int, purpose: str) -> Iterator[None]:
    """Seed torch for this block only; the state from before comes back after it."""
    with torch.random.fork_rng():
        torch.manual_seed(stream(seed, purpose))
        yield


def tensor(values: NDArray[np.generic], device: torch.device) -> Tensor:
    """A copy of an array on a device; floats as float32."""
    found = torch.from_numpy(np.array(values))
    return found.to(device, torch.float32) if found.is_floating_point() else found.to(device)


def write_curves(path: Path, curves: Mapping[int, Curve]) -> None:
    """Write training curves as CSV for `dvc plots`: seed, epoch (from 1), and each term's mean."""
    import pandas as pd

    rows = [
        {"seed": seed, "epoch": epoch, **terms}
        for seed, curve in curves.items()
        for epoch, terms in enumerate(curve, 1)
    ]
    with atomic(path) as temporary:
        columns = None if rows else ["seed", "epoch", "total"]
        pd.DataFrame(rows, columns=columns).to_csv(temporary, index=False, float_format="%.6g")


def batches(count: int, batch_size: int, device: torch.device) -> Iterator[Tensor]:
    """One shuffled pass over 0..count-1, drawn on the CPU so that the order is the same on every device."""
    order = torch.randperm(count).to(device)
    for start in range(0, count, batch_size):
        yield order[start : start + batch_size]


def minimise(
    terms: Callable[[Tensor, int], Terms],
    parameters: Iterable[Tensor],
    *,
    count: int,
    epochs: int,
    batch_size: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    weight_decay: float = 0.0,
    optimiser: OptimiserName = "adam",
    momentum: float = 0.0,
    label: str = "training",
    precision: str = "fp32",
    begin: Callable[[int], None] | None = None,
    observe: Callable[[int], None] | None = None,
) -> Curve:
    """Adam, or SGD with `momentum`, on `terms(rows, epoch)["total"]`, over shuffled batches of the rows 0..count-1.

    epoch counts from 0. begin(epoch) is called before each epoch, observe(epochs done) after it. Call it inside
    `seeded`. precision: bf16 computes matrix products in bfloat16 and everything else in float32.
    Raises ZSLError when the loss stops being finite.
    """
    wanted = [parameter for parameter in parameters if parameter.requires_grad]
    stepper: torch.optim.Optimizer
    if optimiser == "sgd":
        stepper = torch.optim.SGD(wanted, lr=lr, momentum=momentum, weight_decay=weight_decay, fused=True)
    else:
        stepper = torch.optim.Adam(wanted, lr=lr, betas=betas, weight_decay=weight_decay, fused=True)
    device = wanted[0].device
    curve: Curve = []
    for epoch in range(epochs):
        if begin is not None:
            begin(epoch)
        sums: Terms = {}
        for rows in batches(count, batch_size, device):
            stepper.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                values = terms(rows, epoch)
            values["total"].backward()  # type: ignore[no-untyped-call]
            stepper.step()
            for name, value in values.items():
                sums[name] = sums.get(name, torch.zeros((), device=device)) + value.detach() * len(rows)
        means = {name: float(value) / count for name, value in sums.items()}
        if not np.isfinite(means["total"]):
            raise ZSLError(f"{label}: the loss is {means['total']} in epoch {epoch + 1}; use a smaller lr")
        curve.append(means)
        if observe is not None:
            observe(epoch + 1)
    return curve
