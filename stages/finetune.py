"""Stage `finetune`: F with the Gaussian similarity loss (eq. 7-9); writes F(x) of all images and F."""

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zslcore.compute.jobs import in_order
from zslcore.datasets.dataset import Dataset, copy_skipped
from zslcore.io import artifacts
from zslcore.methods.clusterable.finetune import finetune
from zslcore.settings import Finetune
from zslcore.training.device import resolve_device
from zslcore.training.loop import Curve, write_curves

from .common import DatasetName
from .workspace import Workspace


def command(dataset: DatasetName) -> None:
    """Train F on trainval, once a seed, and apply it to all images."""
    workspace = Workspace(dataset)
    settings, data, features = workspace.settings.finetune, workspace.data, workspace.features()
    device = resolve_device(workspace.device)
    inputs = workspace.inputs("dataset.h5", "features.h5")
    about = {"finetune": settings.model_dump(), "seeds": workspace.seeds}
    weights: dict[str, NDArray[Any]] = {}
    curves: dict[int, Curve] = {}
    fit = partial(_seed, features, data, settings, device)
    with artifacts.create(workspace.artifact("finetuned.h5"), artifacts.FINETUNED, about, inputs) as file:
        fits = in_order(f"{dataset}: finetune", fit, [(seed,) for seed in workspace.seeds], device)
        for seed, (mapped, state, curve) in zip(workspace.seeds, fits, strict=True):
            file[f"seed={seed}/features"] = mapped
            curves[seed] = curve
            weights |= {f"seed={seed}/{name}": value for name, value in state.items()}
        copy_skipped(inputs["features"], artifacts.FEATURES, file)
        file.flush()  # a full disk is noticed here, before either output is replaced
        path = workspace.artifact("finetuned.safetensors")
        artifacts.save_tensors(path, artifacts.FINETUNED, weights, about, inputs)
    write_curves(workspace.result("finetune.csv"), curves)


def _seed(
    features: NDArray[np.float32], data: Dataset, settings: Finetune, device: torch.device, seed: int
) -> tuple[NDArray[np.float32], dict[str, NDArray[Any]], Curve]:
    """F(x) of all images, F's weights, and the curve of its training."""
    tuned = finetune(features[data.trainval], data.train_labels, settings, seed, device)
    return tuned(features), tuned.state(), tuned.curve
