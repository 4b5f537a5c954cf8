"""Stage `classify`: the ZSL and GZSL classifiers; writes the scores of the test images and the whole model."""

from typing import Any

import numpy as np
from h5py import File
from numpy.typing import NDArray

from stages.common import DatasetName
from stages.workspace import Workspace
from zslcore.datasets.dataset import copy_skipped, load_features
from zslcore.io import artifacts
from zslcore.methods.clusterable.label_spaces import LabelSpaces
from zslcore.methods.clusterable.train import Trained
from zslcore.progress import track
from zslcore.settings import Train
from zslcore.synthesis.classifier import FeaturesAndLabels
from zslcore.training.device import resolve_device


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
    train = Train(**of_train["train"])
    seen_mask = np.arange(len(data.class_order)) < len(data.seen)
    about = {"classify": settings.model_dump(), "seeds": workspace.seeds}
    model: dict[str, NDArray[Any]] = {}
    with (
        artifacts.create(workspace.artifact("scores.h5"), artifacts.SCORES, about, inputs) as out,
        artifacts.open_artifact(inputs["synthetic"], artifacts.SYNTHETIC) as synthetic,
    ):
        for seed in track(workspace.seeds, f"{dataset}: classify", len(workspace.seeds)):
            prefix = f"seed={seed}"
            modules = Trained.from_state(train, artifacts.under(trained, f"{prefix}/"), device)
            real = load_features(inputs["projected"], data.trainval, artifacts.PROJECTED, seed), data.train_labels
            seen, unseen = (_drawn(synthetic, f"{prefix}/{side}") for side in ("seen", "unseen"))
            spaces = LabelSpaces(real, seen, unseen, seen_mask, settings, seed, device, train.members)
            evidence: dict[str, list[NDArray[np.float32]]] = {}
            for name, classifier, rows, classes in (
                ("zsl", spaces.unseen_only, data.test_unseen, data.unseen),
                ("joint_seen", spaces.joint, data.test_seen, data.class_order),
                ("joint_unseen", spaces.joint, data.test_unseen, data.class_order),
            ):
                extra = None
                if settings.feedback:
                    predicted = load_features(inputs["projected"], rows, artifacts.PROJECTED, seed, "signatures")
                    extra = settings.feedback * modules.signature_logits(predicted, data.signatures[classes])
                projected = load_features(inputs["projected"], rows, artifacts.PROJECTED, seed)
                out[f"{prefix}/{name}"] = classifier.scores(projected, extra)
                for kind, values in spaces.evidence(projected, extra).items() if name != "zsl" else ():
                    evidence.setdefault(kind, []).append(values)
            for kind, parts in evidence.items():
                out[f"{prefix}/evidence/{kind}"] = np.concatenate(parts)
            if train.feedback and seed == workspace.seeds[0]:
                tested = np.concatenate([data.test_seen, data.test_unseen])
                predicted = load_features(inputs["projected"], tested, artifacts.PROJECTED, seed, "signatures")
                out["attributes/predicted"] = predicted
                out["attributes/logits"] = modules.attribute_logits(data.signatures[data.class_order])
            fitted = {
                f"{name}.{key}": value
                for name, space in spaces.fitted().items()
                for key, value in space.state().items()
            }
            tensors = {**artifacts.under(f, f"{prefix}/"), **artifacts.under(trained, f"{prefix}/"), **fitted}
            model |= {f"{prefix}/{name}": value for name, value in tensors.items()}
        copy_skipped(inputs["projected"], artifacts.PROJECTED, out)
        out.flush()  # a full disk is noticed here, before either output is replaced
        path = workspace.artifact("model.safetensors")
        artifacts.save_tensors(path, artifacts.MODEL, model, {**of_f, **of_train, **about}, inputs)


def _drawn(synthetic: File, group: str) -> FeaturesAndLabels:
    """Synthetic features and labels of the seen, or of the unseen classes."""
    features = artifacts.array(synthetic, f"{group}/features", np.float32, ndim=2)
    return features.astype(np.float32), artifacts.array(synthetic, f"{group}/labels", np.int64, ndim=1)
