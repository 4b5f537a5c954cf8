"""Stage `classify`: the ZSL and GZSL classifiers; writes the scores of the test images and the whole model."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from h5py import File
from numpy.typing import NDArray

from zslcore.compute.jobs import in_order
from zslcore.datasets.dataset import Dataset, copy_skipped, load_features
from zslcore.io import artifacts
from zslcore.methods.clusterable.label_spaces import LabelSpaces
from zslcore.methods.clusterable.train import Trained
from zslcore.settings import Classify, Train
from zslcore.synthesis.classifier import FeaturesAndLabels
from zslcore.training.device import resolve_device

from .common import DatasetName
from .workspace import Workspace


def command(dataset: DatasetName) -> None:
    """Train the ZSL and the joint GZSL classifier, once a seed, and score the test images."""
    workspace = Workspace(dataset)
    settings, data = workspace.filled.classify, workspace.data_of("projected.h5", artifacts.PROJECTED)
    device = resolve_device(workspace.device)
    inputs = workspace.inputs(
        "dataset.h5", "projected.h5", "synthetic.h5", "finetuned.safetensors", "trained.safetensors"
    )
    of_f, f = artifacts.read_tensors(inputs["finetuned"], artifacts.FINETUNED)
    of_train, trained = artifacts.read_tensors(inputs["trained"], artifacts.PROJECTED)
    about = {"classify": settings.model_dump(), "seeds": workspace.seeds}
    model: dict[str, NDArray[Any]] = {}
    fit = partial(_seed, data, inputs, Train(**of_train["train"]), trained, settings, device)
    with artifacts.create(workspace.artifact("scores.h5"), artifacts.SCORES, about, inputs) as out:
        fits = in_order(f"{dataset}: classify", fit, [(seed,) for seed in workspace.seeds], device)
        for seed, (scores, fitted) in zip(workspace.seeds, fits, strict=True):
            prefix = f"seed={seed}"
            for name, values in scores.items():
                out[f"{prefix}/{name}"] = values
            parts = {**artifacts.under(f, f"{prefix}/"), **artifacts.under(trained, f"{prefix}/"), **fitted}
            model |= {f"{prefix}/{name}": value for name, value in parts.items()}
        copy_skipped(inputs["projected"], artifacts.PROJECTED, out)
        out.flush()  # a full disk is noticed here, before either output is replaced
        path = workspace.artifact("model.safetensors")
        artifacts.save_tensors(path, artifacts.MODEL, model, {**of_f, **of_train, **about}, inputs)


def _seed(
    data: Dataset,
    inputs: Mapping[str, Path],
    train: Train,
    trained: Mapping[str, NDArray[Any]],
    settings: Classify,
    device: torch.device,
    seed: int,
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[Any]]]:
    """Scores of the test images and what else is known of them, and the classifiers that gave them."""
    seen_mask = np.arange(len(data.class_order)) < len(data.seen)
    modules = Trained.from_state(train, artifacts.under(trained, f"seed={seed}/"), device)
    projected = partial(load_features, inputs["projected"], format=artifacts.PROJECTED, seed=seed)
    with artifacts.open_artifact(inputs["synthetic"], artifacts.SYNTHETIC) as synthetic:
        seen, unseen = (_drawn(synthetic, f"seed={seed}/{side}") for side in ("seen", "unseen"))
    real = projected(data.trainval), data.train_labels
    spaces = LabelSpaces(real, seen, unseen, seen_mask, settings, seed, device, train.members)
    scores: dict[str, NDArray[np.float32]] = {}
    evidence: dict[str, list[NDArray[np.float32]]] = {}
    for name, classifier, rows, classes in (
        ("zsl", spaces.unseen_only, data.test_unseen, data.unseen),
        ("joint_seen", spaces.joint, data.test_seen, data.class_order),
        ("joint_unseen", spaces.joint, data.test_unseen, data.class_order),
    ):
        extra = None
        if settings.feedback:
            predicted = projected(rows, name="signatures")
            extra = settings.feedback * modules.signature_logits(predicted, data.signatures[classes])
        scores[name] = classifier.scores(projected(rows), extra)
        for kind, values in spaces.evidence(projected(rows), extra).items() if name != "zsl" else ():
            evidence.setdefault(f"evidence/{kind}", []).append(values)
    scores |= {name: np.concatenate(parts) for name, parts in evidence.items()}
    if train.feedback:
        tested = np.concatenate([data.test_seen, data.test_unseen])
        scores["attributes/predicted"] = projected(tested, name="signatures")
        scores["attributes/logits"] = modules.attribute_logits(data.signatures[data.class_order])
    return scores, spaces.state()


def _drawn(synthetic: File, group: str) -> FeaturesAndLabels:
    """Synthetic features and labels of the seen, or of the unseen classes."""
    features = artifacts.array(synthetic, f"{group}/features", np.float32, ndim=2)
    return features.astype(np.float32), artifacts.array(synthetic, f"{group}/labels", np.int64, ndim=1)
