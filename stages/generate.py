"""Stage `generate`: synthetic features of unseen (and, where asked, seen) classes."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zslcore.compute.jobs import in_order
from zslcore.datasets.dataset import Dataset
from zslcore.io import artifacts
from zslcore.io.rows import put
from zslcore.methods.clusterable.train import Trained
from zslcore.settings import Train, number_or
from zslcore.synthesis.classifier import FeaturesAndLabels
from zslcore.synthesis.generate import DEFAULT_PER_UNSEEN, generate
from zslcore.training.device import resolve_device

from .common import DatasetName
from .workspace import Workspace


def command(dataset: DatasetName) -> None:
    """Draw synthetic features from z ~ N(0, I) and the signatures, once a seed."""
    workspace = Workspace(dataset)
    settings, data = workspace.filled.generate, workspace.data
    device = resolve_device(workspace.device)
    inputs = workspace.inputs("dataset.h5", "trained.safetensors")
    made_with, weights = artifacts.read_tensors(inputs["trained"], artifacts.TRAINED)
    sides = {
        "unseen": (data.unseen, number_or(settings.per_unseen, DEFAULT_PER_UNSEEN)),
        "seen": (data.seen, settings.per_seen),
    }
    about = {"generate": settings.model_dump(), "train": made_with["train"], "seeds": workspace.seeds}
    draw = partial(_seed, Train(**made_with["train"]), weights, data, sides, settings.noise, device)
    with artifacts.create(workspace.artifact("synthetic.h5"), artifacts.SYNTHETIC, about, inputs) as file:
        drawn = in_order(f"{dataset}: generate", draw, [(seed,) for seed in workspace.seeds], device)
        for seed, of_seed in zip(workspace.seeds, drawn, strict=True):
            for side, (features, labels) in of_seed.items():
                put(file, f"seed={seed}/{side}/features", features)
                file[f"seed={seed}/{side}/labels"] = labels


def _seed(
    train: Train,
    weights: Mapping[str, NDArray[Any]],
    data: Dataset,
    sides: Mapping[str, tuple[NDArray[np.int64], int]],
    noise: float,
    device: torch.device,
    seed: int,
) -> dict[str, FeaturesAndLabels]:
    """Side -> features and labels. sides: unseen, seen -> the classes, and how many features of each."""
    model = Trained.from_state(train, artifacts.under(weights, f"seed={seed}/"), device)
    return {
        side: generate(model, data.signatures[classes], per_class, seed, side, noise)
        for side, (classes, per_class) in sides.items()
    }
