"""A model out of what was trained: the pipeline's main method, or any method of the library."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zslcore.datasets.dataset import Dataset
from zslcore.io import artifacts
from zslcore.methods.base import Method
from zslcore.methods.clusterable.estimator import Clusterable, ClusterableSettings
from zslcore.methods.clusterable.finetune import Finetuned
from zslcore.methods.clusterable.train import Trained
from zslcore.model.basis import Basis
from zslcore.model.header import BackboneHeader, Confidence, Header, of_method
from zslcore.model.images import Extractor
from zslcore.model.model import Model
from zslcore.training.device import resolve_device


def package(
    data: Dataset,
    methods: Mapping[int, Method[Any]],
    *,
    calibration: float,
    confidence: Mapping[str, Any] | None = None,
    features: Path | None = None,
    about: Mapping[str, Any] | None = None,
    include_backbone: bool = False,
    basis: Basis | None = None,
) -> Model:
    """A model of a data set's classes.

    methods: the fitted method of each seed, on the seen classes in ascending order. calibration: taken off the scores
    of seen classes. confidence: as in selected.json; None: probabilities are what the scores make them. features: the
    artifact of features, which says how they were made of images. about: for people. basis: what the signatures are
    put together of (`basis_of`).
    Raises ZSLError where the backbone is to be included and cannot be had.
    """
    order = data.class_order
    first = next(iter(methods.values()))
    names = (basis.attributes if basis else data.attribute_names) or tuple(
        f"attribute {k}" for k in range(1, data.signatures.shape[1] + 1)
    )
    header = Header(
        name=data.name,
        method=first.name,
        settings=of_method(first.settings),
        seeds=tuple(methods),
        classes=tuple(data.classes[k] for k in order),
        attributes=names,
        calibration=calibration,
        confidence=Confidence.model_validate(confidence or {}),
        backbone=None if features is None else _backbone(features),
        basis=basis and basis.header,
        about={**(about or {}), "data": _about(data)},
    )
    extractor = None if header.backbone is None else Extractor(header.backbone)
    if extractor is not None and first.input == "maps":
        extractor = extractor.giving("map")
    if extractor is not None and include_backbone:
        extractor = extractor.including()
    return Model(header, data.signatures[order], seen_mask(data), tuple(methods.values()), extractor, basis=basis)


def of_pipeline(
    data: Dataset, features: NDArray[np.float32], model: Path, settings: ClusterableSettings, seeds: Sequence[int]
) -> dict[int, Clusterable]:
    """The main method of each seed as the stages fitted it, with the very classifiers that `classify` trained.

    features: (n, d) of trainval. model: what `classify` wrote. settings: with what `select` chose.
    """
    _, tensors = artifacts.read_tensors(model, artifacts.MODEL)
    device = resolve_device(settings.device)
    fitted = {}
    for seed in seeds:
        parts = artifacts.under(tensors, f"seed={seed}/")
        finetuned = Finetuned.from_state(settings.finetune, parts, device)
        train: dict[str, NDArray[Any]] = {
            "projected": Trained.from_state(settings.train, parts, device).project(finetuned(features)),
            "labels": data.train_labels,
            "seen_signatures": data.signatures[data.seen],
        }
        method = Clusterable(settings)
        method.set_state({**parts, **train})
        method.set_classifiers(parts, data.signatures[data.class_order], seen_mask(data), seed)
        fitted[seed] = method
    return fitted


def seen_mask(data: Dataset) -> NDArray[np.bool_]:
    """(classes,) bool of `data.class_order`."""
    return np.arange(len(data.class_order)) < len(data.seen)


def _backbone(features: Path) -> BackboneHeader | None:
    made = artifacts.params(features, artifacts.FEATURES)
    return None if made.get("given") else BackboneHeader(plan=made["extract"], preprocessing=made["preprocessing"])


def _about(data: Dataset) -> dict[str, Any]:
    return {
        "split": data.split_name,
        "images": {split: len(getattr(data, split)) for split in ("trainval", "test_seen", "test_unseen")},
        "classes": {"seen": len(data.seen), "unseen": len(data.unseen)},
        "signatures": {"least": float(data.signatures.min()), "most": float(data.signatures.max())},
        "notes": list(data.notes),
    }
