"""Stage `train`: M, C, E and G jointly (eq. 1-4, 10, 11); writes M(F(x)) of all images and the weights."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common import DatasetName, say
from stages.workspace import Workspace
from zslcore.datasets.dataset import copy_skipped, load_features
from zslcore.io import artifacts
from zslcore.methods.clusterable.train import DEFAULT_EPOCHS, train
from zslcore.progress import progress
from zslcore.settings import number_or
from zslcore.training.device import resolve_device
from zslcore.training.loop import write_curves


def command(dataset: DatasetName) -> None:
    """Train the projection, its classifier and the CVAE on trainval, once a seed."""
    workspace = Workspace(dataset)
    settings, data = workspace.filled.train, workspace.data_of("finetuned.h5", artifacts.FINETUNED)
    device = resolve_device(workspace.device)
    inputs = workspace.inputs("dataset.h5", "finetuned.h5")
    everything = np.arange(len(data.labels))
    about = {"train": settings.model_dump(), "seeds": workspace.seeds}
    weights: dict[str, NDArray[Any]] = {}
    curves = {}
    epochs = len(workspace.seeds) * number_or(settings.epochs, DEFAULT_EPOCHS)
    with (
        artifacts.create(workspace.artifact("projected.h5"), artifacts.PROJECTED, about, inputs) as file,
        progress(f"{dataset}: train", epochs, "epochs") as advance,
    ):
        for seed in workspace.seeds:
            features = load_features(inputs["finetuned"], everything, artifacts.FINETUNED, seed)
            of_seen = features[data.trainval], data.train_labels, data.signatures[data.seen]
            trained = train(*of_seen, settings, seed, device, lambda done, model: advance())
            for warning in trained.warnings:
                say(f"{dataset}, seed {seed}: warning: {warning}")
            file[f"seed={seed}/features"] = trained.project(features)
            if settings.feedback:
                file[f"seed={seed}/signatures"] = trained.predict_signatures(features)
            file[f"seed={seed}"].attrs["warnings"] = "\n".join(trained.warnings)
            weights |= {f"seed={seed}/{name}": value for name, value in trained.state().items()}
            curves[seed] = trained.curve
        copy_skipped(inputs["finetuned"], artifacts.FINETUNED, file)
        file.flush()  # a full disk is noticed here, before either output is replaced
        path = workspace.artifact("trained.safetensors")
        artifacts.save_tensors(path, artifacts.PROJECTED, weights, about, inputs)
    write_curves(workspace.result("train.csv"), curves)
