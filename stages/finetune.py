"""Stage `finetune`: F with the Gaussian similarity loss (eq. 7-9)."""

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zslcore.compute.jobs import in_order
from zslcore.io import artifacts
from zslcore.methods.clusterable.finetune import finetune
from zslcore.settings import Finetune
from zslcore.training.device import resolve_device
from zslcore.training.loop import Curve, write_curves

from .common import DatasetName
from .live import OfSeed, live
from .workspace import Workspace


def command(dataset: DatasetName) -> None:
    """Train F on trainval, once a seed."""
    workspace = Workspace(dataset)
    settings, data = workspace.settings.finetune, workspace.data
    device = resolve_device(workspace.device)
    inputs = workspace.inputs("dataset.h5", "features.h5")
    about = {"finetune": settings.model_dump(), "seeds": workspace.seeds}
    weights: dict[str, NDArray[Any]] = {}
    curves: dict[int, Curve] = {}
    with live(dataset, "finetune") as of_seed:
        fit = partial(_seed, workspace.rows(data.trainval), data.train_labels, settings, device, of_seed)
        fits = in_order(f"{dataset}: finetune", fit, [(seed,) for seed in workspace.seeds], device)
        for seed, (state, curve) in zip(workspace.seeds, fits, strict=True):
            weights |= {f"seed={seed}/{name}": value for name, value in state.items()}
            curves[seed] = curve
    artifacts.save_tensors(workspace.artifact("finetuned.safetensors"), artifacts.FINETUNED, weights, about, inputs)
    write_curves(workspace.result("finetune.csv"), curves)


def _seed(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    settings: Finetune,
    device: torch.device,
    of_seed: OfSeed,
    seed: int,
) -> tuple[dict[str, NDArray[Any]], Curve]:
    """F's weights, and the curve of its training."""
    with of_seed(seed):
        tuned = finetune(features, labels, settings, seed, device)
    return tuned.state(), tuned.curve
