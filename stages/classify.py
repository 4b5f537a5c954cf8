"""Stage `classify`: the ZSL and GZSL classifiers; writes the scores of the test images and the whole model."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zslcore.compute.jobs import in_order
from zslcore.datasets.dataset import Dataset, copy_skipped, stream_features
from zslcore.evaluation.protocol import evidence_of, scores_of
from zslcore.io import artifacts
from zslcore.io.rows import join, map_rows, put, stored
from zslcore.methods.clusterable.estimator import ClusterableScorer
from zslcore.methods.clusterable.finetune import Finetuned
from zslcore.methods.clusterable.label_spaces import LabelSpaces
from zslcore.methods.clusterable.train import Trained
from zslcore.settings import Classify, Finetune, Train
from zslcore.synthesis.classifier import FeaturesAndLabels
from zslcore.training.device import resolve_device

from .common import DatasetName
from .workspace import Workspace

SPLITS = ("trainval", "test_seen", "test_unseen")


def command(dataset: DatasetName) -> None:
    """Train the ZSL and the joint GZSL classifier, once a seed, and score the test images."""
    workspace = Workspace(dataset)
    settings, data = workspace.filled.classify, workspace.data
    device = resolve_device(workspace.device)
    inputs = workspace.inputs("dataset.h5", "features.h5", "synthetic.h5", "trained.safetensors")
    made_with, trained = artifacts.read_tensors(inputs["trained"], artifacts.TRAINED)
    about = {"classify": settings.model_dump(), "seeds": workspace.seeds}
    model: dict[str, NDArray[Any]] = {}
    fit = partial(_seed, data, inputs, made_with, trained, settings, device)
    with artifacts.create(workspace.artifact("scores.h5"), artifacts.SCORES, about, inputs) as out:
        fits = in_order(f"{dataset}: classify", fit, [(seed,) for seed in workspace.seeds], device)
        for seed, (scores, fitted) in zip(workspace.seeds, fits, strict=True):
            prefix = f"seed={seed}"
            for name, values in scores.items():
                put(out, f"{prefix}/{name}", values)
            parts = {**artifacts.under(trained, f"{prefix}/"), **fitted}
            model |= {f"{prefix}/{name}": value for name, value in parts.items()}
        copy_skipped(inputs["features"], out)
        out.flush()  # a full disk is noticed here, before either output is replaced
        path = workspace.artifact("model.safetensors")
        artifacts.save_tensors(path, artifacts.MODEL, model, {**made_with, **about}, inputs)


def _seed(
    data: Dataset,
    inputs: Mapping[str, Path],
    made_with: Mapping[str, Any],
    trained: Mapping[str, NDArray[Any]],
    settings: Classify,
    device: torch.device,
    seed: int,
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[Any]]]:
    """Scores of the test images and what else is known of them, and the classifiers that gave them."""
    features = {name: stream_features(inputs["features"], getattr(data, name)) for name in SPLITS}
    state, train = artifacts.under(trained, f"seed={seed}/"), Train(**made_with["train"])
    f = Finetuned.from_state(Finetune(**made_with["finetune"]), state, device)
    modules = Trained.from_state(train, state, device)
    seen, unseen = (_drawn(inputs["synthetic"], f"seed={seed}/{side}") for side in ("seen", "unseen"))
    real = modules.project(f(features["trainval"])), data.train_labels
    seen_mask = np.arange(len(data.class_order)) < len(data.seen)
    spaces = LabelSpaces(real, seen, unseen, seen_mask, settings, seed, device, train.members)
    alone = ClusterableScorer(f, modules, spaces.unseen_only, data.signatures[data.unseen], settings.feedback)
    joint = ClusterableScorer(f, modules, spaces.joint, data.signatures[data.class_order], settings.feedback, spaces)
    classes = len(data.class_order)
    scores = {"zsl": scores_of(alone, features["test_unseen"], classes)}
    scores |= {f"joint_{side}": scores_of(joint, features[f"test_{side}"], classes) for side in ("seen", "unseen")}
    tested = join([features["test_seen"], features["test_unseen"]])
    scores |= {f"evidence/{kind}": values for kind, values in evidence_of(joint, tested, classes).items()}
    if train.feedback:
        scores["attributes/predicted"] = map_rows(f(tested), modules.predict_signatures)
        scores["attributes/logits"] = modules.attribute_logits(data.signatures[data.class_order])
    return scores, spaces.state()


def _drawn(synthetic: Path, group: str) -> FeaturesAndLabels:
    """Synthetic features and labels of the seen, or of the unseen classes."""
    with artifacts.open_artifact(synthetic, artifacts.SYNTHETIC) as file:
        labels = artifacts.array(file, f"{group}/labels", np.int64, ndim=1)
    return stored(synthetic, artifacts.SYNTHETIC, f"{group}/features"), labels
