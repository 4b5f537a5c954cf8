"""Stage `train`: M, C, E and G jointly (eq. 1-4, 10, 11), on F(x)."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zslcore.compute.jobs import in_order
from zslcore.datasets.dataset import Dataset
from zslcore.io import artifacts
from zslcore.methods.clusterable.finetune import Finetuned
from zslcore.methods.clusterable.train import train
from zslcore.settings import Finetune, Train
from zslcore.training.device import resolve_device
from zslcore.training.loop import Curve, write_curves

from .common import DatasetName, say
from .live import OfSeed, live
from .workspace import Workspace


def command(dataset: DatasetName) -> None:
    """Train the projection, its classifier and the CVAE on trainval, once a seed; writes them, with F."""
    workspace = Workspace(dataset)
    settings, data = workspace.filled.train, workspace.data
    device = resolve_device(workspace.device)
    inputs = workspace.inputs("dataset.h5", "features.h5", "finetuned.safetensors")
    of_f, f = artifacts.read_tensors(inputs["finetuned"], artifacts.FINETUNED)
    about = {**of_f, "train": settings.model_dump(), "seeds": workspace.seeds}
    features = workspace.rows(data.trainval)
    weights: dict[str, NDArray[Any]] = {}
    curves = {}
    with live(dataset, "train") as of_seed:
        fit = partial(_seed, features, data, Finetune(**of_f["finetune"]), f, settings, device, of_seed)
        fits = in_order(f"{dataset}: train", fit, [(seed,) for seed in workspace.seeds], device)
        for seed, (state, curve, warnings) in zip(workspace.seeds, fits, strict=True):
            for warning in warnings:
                say(f"{dataset}, seed {seed}: warning: {warning}")
            weights |= {f"seed={seed}/{name}": value for name, value in state.items()}
            curves[seed] = curve
    artifacts.save_tensors(workspace.artifact("trained.safetensors"), artifacts.TRAINED, weights, about, inputs)
    write_curves(workspace.result("train.csv"), curves)


def _seed(
    features: NDArray[np.float32],
    data: Dataset,
    of_f: Finetune,
    f: Mapping[str, NDArray[Any]],
    settings: Train,
    device: torch.device,
    of_seed: OfSeed,
    seed: int,
) -> tuple[dict[str, NDArray[Any]], Curve, list[str]]:
    """Of one seed: the weights, F's among them, the curve of training, and what to warn of."""
    finetuned = Finetuned.from_state(of_f, artifacts.under(f, f"seed={seed}/"), device)
    signatures = data.signatures[data.seen]
    with of_seed(seed):
        trained = train(finetuned(features), data.train_labels, signatures, settings, seed, device)
    return {**finetuned.state(), **trained.state()}, trained.curve, trained.warnings
