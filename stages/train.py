"""Stage `train`: M, C, E and G jointly (eq. 1-4, 10, 11); writes M(F(x)) of all images and the weights."""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from zslcore.compute.jobs import in_order
from zslcore.datasets.dataset import Dataset, copy_skipped, load_features
from zslcore.io import artifacts
from zslcore.methods.clusterable.train import train
from zslcore.settings import Train
from zslcore.training.device import resolve_device
from zslcore.training.loop import Curve, write_curves

from .common import DatasetName, say
from .workspace import Workspace


def command(dataset: DatasetName) -> None:
    """Train the projection, its classifier and the CVAE on trainval, once a seed."""
    workspace = Workspace(dataset)
    settings, data = workspace.filled.train, workspace.data_of("finetuned.h5", artifacts.FINETUNED)
    device = resolve_device(workspace.device)
    inputs = workspace.inputs("dataset.h5", "finetuned.h5")
    about = {"train": settings.model_dump(), "seeds": workspace.seeds}
    weights: dict[str, NDArray[Any]] = {}
    curves = {}
    fit = partial(_seed, inputs["finetuned"], data, settings, device)
    with artifacts.create(workspace.artifact("projected.h5"), artifacts.PROJECTED, about, inputs) as file:
        fits = in_order(f"{dataset}: train", fit, [(seed,) for seed in workspace.seeds], device)
        for seed, fitted in zip(workspace.seeds, fits, strict=True):
            for warning in fitted.warnings:
                say(f"{dataset}, seed {seed}: warning: {warning}")
            file[f"seed={seed}/features"] = fitted.projected
            if fitted.signatures is not None:
                file[f"seed={seed}/signatures"] = fitted.signatures
            file[f"seed={seed}"].attrs["warnings"] = "\n".join(fitted.warnings)
            weights |= {f"seed={seed}/{name}": value for name, value in fitted.state.items()}
            curves[seed] = fitted.curve
        copy_skipped(inputs["finetuned"], artifacts.FINETUNED, file)
        file.flush()  # a full disk is noticed here, before either output is replaced
        path = workspace.artifact("trained.safetensors")
        artifacts.save_tensors(path, artifacts.PROJECTED, weights, about, inputs)
    write_curves(workspace.result("train.csv"), curves)


class _Fitted(NamedTuple):
    """Of one seed: M(F(x)) and R's signatures of all images, the weights, and how training went."""

    projected: NDArray[np.float32]
    signatures: NDArray[np.float32] | None
    state: dict[str, NDArray[Any]]
    curve: Curve
    warnings: list[str]


def _seed(finetuned: Path, data: Dataset, settings: Train, device: torch.device, seed: int) -> _Fitted:
    features = load_features(finetuned, np.arange(len(data.labels)), artifacts.FINETUNED, seed)
    trained = train(features[data.trainval], data.train_labels, data.signatures[data.seen], settings, seed, device)
    predicted = trained.predict_signatures(features) if settings.feedback else None
    return _Fitted(trained.project(features), predicted, trained.state(), trained.curve, trained.warnings)
