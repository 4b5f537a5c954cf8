"""Features by a backbone fine-tuned on trainval images, its training length chosen on validation classes.

Each validation split has another backbone, which saw the images that its validation task learns from and no others. The
file of features also holds what these make of the trainval images, and every choice on validation classes, of any
method, is made on them (`Seen.split_features`).
"""

import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from zslcore.compute.jobs import in_order
from zslcore.datasets import dataset as datasets
from zslcore.datasets.dataset import Seen, SplitFeatures
from zslcore.errors import ZSLError
from zslcore.evaluation.protocol import HOLDOUT, validation_rows, validation_splits
from zslcore.evaluation.signatures import judge
from zslcore.features import backbones, image_sources
from zslcore.features.backbones import Backbone
from zslcore.features.batches import Engine, local
from zslcore.features.extract import Summary, digest_of, extract, extract_images, plan_of
from zslcore.features.halves import can_be_cut, last_stage
from zslcore.features.image_sources import Chosen, ImageSource
from zslcore.features.trunk import over_trunk
from zslcore.features.views import Views, store_views
from zslcore.io import artifacts
from zslcore.methods.clusterable.backbone import Inputs, Weights, finetune_backbone
from zslcore.settings import Extract, Finetune, Settings, number_or
from zslcore.signatures.compose import Composition, fixed
from zslcore.training.checkpoint import Checkpoint
from zslcore.training.device import resolve_device

logger = logging.getLogger(__name__)

FOLDER = Path(".zsl/backbones")
"""Where weights and checkpoints stand; what a killed run has computed is there for the next."""
WEIGHTS_VERSION = 1
"""Raised when a change of this program changes the weights, so that none of before are taken for those of now."""


@dataclass(frozen=True)
class _Work:
    """What all steps share.

    folder: of this data set at these settings. rows: those of `images` that `seen` has, whose `views` these are. cut:
    the stage that takes what the file `stored` has of them; None: there is no such file, views are drawn as needed.
    """

    folder: Path
    images: ImageSource
    rows: NDArray[np.int64]
    seen: Seen
    backbone: Backbone
    settings: Settings
    device: str
    views: Views
    cut: str | None
    stored: Path


def extract_tuned(
    dataset: Path,
    out: Path,
    settings: Settings,
    device: str = "auto",
    engine: Engine | None = None,
    folder: Path = FOLDER,
    shared: Path | None = None,
) -> Summary:
    """As `extract`, by a backbone fine-tuned on the trainval images, whose weights the file holds, too.

    Its parameter `finetune` has the training length, and the validation figures of each length tried. engine: None:
    this machine's, and what the part that does not learn makes of a picture is computed once for all fits; of another
    engine each fit computes whole passes. shared: a folder where that, and what it makes of views, stays for other
    calls, of another loss or length; None: it is deleted at the end.
    Raises ZSLError where features are given, the backbone is none of timm's, or too few classes are seen to choose on.
    """
    if datasets.has_features(dataset):
        raise ZSLError(f"{dataset}: its features are given, not its images; set finetune.level to features")
    if ":" in settings.extract.backbone:
        raise ZSLError(
            f"{settings.extract.backbone}: only backbones of timm are fine-tuned; set finetune.level to features"
        )
    backbone = _load(settings.extract)
    shaping = settings.model_dump(include={"extract": True, "finetune": True, "select": {"splits", "seed"}})
    versions, kind = artifacts.library_versions(), resolve_device(device).type
    of_images = [WEIGHTS_VERSION, artifacts.identity(dataset), backbone.fingerprint, kind, versions]
    work_folder = folder / f"{dataset.parent.name}-{digest_of([of_images, shaping])}"
    loaded = work_folder / "loaded.h5"
    summary = extract(dataset, loaded, settings.extract, device, engine)
    seen = datasets.load_seen(dataset, loaded).composed(fixed(settings.signatures) or Composition())
    rows = datasets.load(dataset, features=loaded).trainval
    images = image_sources.of_dataset(dataset)
    of = settings.finetune.images
    views = Views(list(Chosen(images, rows)), backbone.preprocessing, of.crop, of.flip)
    cut = _cut(backbone, settings.finetune)
    place = shared or work_folder / "shared"
    drawn = [of.views, of.crop, of.flip, settings.finetune.backbone.seed, cut, rows.tolist()]
    stored = place / f"views-{digest_of([of_images, backbone.preprocessing, drawn])}.npy"
    if engine is None and cut is not None and not settings.extract.compile:  # which cannot compile half a pass
        engine = over_trunk(local(number_or(settings.extract.workers, None)), cut, place)
    work = _Work(work_folder, images, rows, seen, backbone, settings, device, views, cut, stored)
    epochs, splits, tried = _choose(work, engine)
    _train(work, [("final", np.arange(len(rows)), [epochs])])
    _, about = _features(work, engine, "final", epochs, work.images, {"dataset": dataset})
    about["extract"]["weights"] = f"file:{out}"
    about["finetune"] = {**settings.finetune.model_dump(), "chosen": epochs, "tried": tried}
    made = work.folder / "final.h5"
    weights = safetensors.numpy.load_file(_weights(work.folder, "final", epochs))
    with (
        artifacts.open_artifact(made, artifacts.FEATURES) as source,
        artifacts.create(out, artifacts.FEATURES, about, {"dataset": dataset}) as file,
    ):
        for name in source:
            source.copy(name, file)
        datasets.put_split_features(file, splits)
        for name, value in sorted(weights.items()):
            file[f"backbone/{name}"] = value
    if shared is None:
        shutil.rmtree(place, ignore_errors=True)  # large, and the weights are there
    return summary


def _load(settings: Extract) -> Backbone:
    return backbones.load(settings.backbone, settings.weights, number_or(settings.image_size, None))


def _cut(backbone: Backbone, settings: Finetune) -> str | None:
    """The stage up to which views are computed once; None where everything learns, or views are drawn in each epoch."""
    if settings.backbone.layers == "all" or not settings.images.views:
        return None
    stage, size = last_stage(backbone), backbone.preprocessing["input_size"]
    if can_be_cut(backbone.module, stage, torch.linspace(-2, 2, math.prod(size)).view(1, *size)):
        return stage
    logger.warning("%s cannot be cut before %s: each epoch draws new views", backbone.name, stage)
    return None


def _choose(work: _Work, engine: Engine | None) -> tuple[int, list[SplitFeatures], list[dict[str, float]]]:
    """The training length that suits ESZSL best on validation classes; features of the splits at it; figures of all.

    Of equals the shortest. Raises ZSLError where too few classes are seen to hold any out.
    """
    settings, seen = work.settings, work.seen
    lengths = settings.finetune.backbone.lengths
    if len(lengths) == 1 and not datasets.choosable(seen):
        return lengths[0], [], []
    held_out = validation_splits(seen, settings.select.splits, settings.select.seed)
    rows = [validation_rows(seen, classes, HOLDOUT, settings.select.seed)[0] for classes in held_out]
    jobs = [(f"split-{position}", of_split, lengths) for position, of_split in enumerate(rows)]
    _train(work, jobs)
    found: dict[int, list[SplitFeatures]] = {}
    tried = []
    for epochs in lengths:
        found[epochs] = [
            SplitFeatures(classes, of_split, _features(work, engine, name, epochs, Chosen(work.images, work.rows))[0])
            for classes, (name, of_split, _) in zip(held_out, jobs, strict=True)
        ]
        judged = judge(
            replace(seen, split_features=tuple(found[epochs])),
            seen.composition,
            settings.select.splits,
            settings.select.seed,
        )
        tried.append({"epochs": epochs, "T1": judged.top1, "H": judged.harmonic, "score": judged.score})
        logger.info("%s: %s", seen.name, tried[-1])
    best = max(tried, key=lambda one: (one["score"], -one["epochs"]))["epochs"]
    return int(best), found[int(best)], tried


def _train(work: _Work, fits: Sequence[tuple[str, NDArray[np.int64], Sequence[int]]]) -> None:
    """Write the weights of some fits, side by side; those that are there already stay.

    fits: name, rows of `seen`, and the numbers of epochs after which weights are wanted.
    """
    left = [fit for fit in fits if not all(_weights(work.folder, fit[0], epochs).exists() for epochs in fit[2])]
    settings, device = work.settings.finetune, resolve_device(work.device)
    if left and work.cut is not None and not work.stored.exists():
        store_views(
            work.stored, work.backbone, work.cut, work.views, settings.images.views, settings.backbone.seed, device
        )
    list(in_order(f"{work.seen.name}: finetune", partial(_train_one, work), left, device))


def _train_one(work: _Work, name: str, rows: NDArray[np.int64], lengths: Sequence[int]) -> None:
    seen = work.seen
    classes = np.unique(seen.labels[rows])

    def observe(done: int, weights: Weights) -> None:
        if done in lengths:
            with artifacts.atomic(_weights(work.folder, name, done)) as temporary:
                temporary.write_bytes(safetensors.numpy.save(dict(sorted(weights.items()))))

    finetune_backbone(
        work.backbone,
        _inputs(work, rows),
        work.cut,
        seen.features[rows],
        np.searchsorted(classes, seen.labels[rows]),
        work.settings.finetune,
        max(lengths),
        resolve_device(work.device),
        observe,
        Checkpoint(work.folder / f"{name}.checkpoint.safetensors", every=1),
    )


def _inputs(work: _Work, of_fit: NDArray[np.int64]) -> Inputs:
    """Of rows of those that a fit learns from: stored views, one at random of each image, or new ones."""
    positions = torch.from_numpy(of_fit)
    if work.cut is None:
        return lambda rows: work.views(positions[rows.cpu()])
    stored = np.load(work.stored, mmap_mode="r")

    def inputs(rows: Tensor) -> Tensor:
        which = torch.randint(len(stored), rows.shape)
        return torch.from_numpy(stored[which.numpy(), positions[rows.cpu()].numpy()]).float()

    return inputs


def _features(
    work: _Work,
    engine: Engine | None,
    name: str,
    epochs: int,
    images: ImageSource,
    inputs: dict[str, Path] | None = None,
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Features (n, d) of images by fine-tuned weights, computed as those of the weights that were loaded; what by."""
    path = work.folder / f"{name}.h5"
    weights = f"file:{_weights(work.folder, name, epochs)}"
    extracting = work.settings.extract.model_copy(update={"weights": weights})
    planned = plan_of(work.folder / "loaded.h5")
    planned = replace(planned, weights=weights, fingerprint=_load(extracting).fingerprint)
    extract_images(images, path, extracting, work.device, engine, inputs=inputs, planned=planned)
    with artifacts.open_artifact(path, artifacts.FEATURES) as file:
        features = artifacts.array(file, "features", np.float32, ndim=2).astype(np.float32, copy=False)
        return features, artifacts.params_of(file)


def _weights(folder: Path, name: str, epochs: int) -> Path:
    return folder / f"{name}-{epochs}.safetensors"
