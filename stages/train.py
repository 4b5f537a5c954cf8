"""Stage `train`: M, C, E and G jointly (eq. 1-4, 10, 11), on F(x)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pkgutil import resolve_name
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from zslcore.compute.cluster import ADDRESS
from zslcore.compute.jobs import EngineName, in_order
from zslcore.datasets.dataset import Dataset
from zslcore.errors import ZSLError
from zslcore.io import artifacts
from zslcore.methods.clusterable.finetune import Finetuned
from zslcore.methods.clusterable.train import train
from zslcore.progress import progress
from zslcore.settings import Finetune, Train
from zslcore.training.device import resolve_device
from zslcore.training.loop import Curve, write_curves
from zslcore.training.replica import ALONE, Replica

from .common import DatasetName, say
from .live import OfSeed, live
from .workspace import Workspace

FIT_ON_RAY = "zslcore.compute.ray_train:fit_on_ray"
"""Imported with --engine ray only; the pipeline never runs it, so that an edit of it changes no hash."""


def command(
    dataset: DatasetName,
    engine: Annotated[
        EngineName, typer.Option(help="local: seeds next to each other; ray: each seed by all workers of a cluster.")
    ] = "local",
    address: Annotated[str | None, typer.Option(help=f"With --engine ray: {ADDRESS}")] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="With --engine ray: processes that share every batch; default: all there is room for."
        ),
    ] = None,
) -> None:
    """Train the projection, its classifier and the CVAE on trainval, once a seed; writes them, with F."""
    of_ray = {"--address": address, "--workers": workers}
    if engine == "local" and (unused := [option for option, value in of_ray.items() if value is not None]):
        raise ZSLError(f"zsl train {', '.join(unused)}: only for --engine ray; add it (fits at once here: --jobs)")
    workspace = Workspace(dataset)
    settings, data = workspace.filled.train, workspace.data
    device = resolve_device(workspace.device)
    if engine == "ray":  # a worker computes on the GPU it is given
        device = torch.device(device.type)
    inputs = workspace.inputs("dataset.h5", "features.h5", "finetuned.safetensors")
    of_f, f = artifacts.read_tensors(inputs["finetuned"], artifacts.FINETUNED)
    about = {**of_f, "train": settings.model_dump(), "seeds": workspace.seeds}
    features = workspace.rows(data.trainval)
    weights: dict[str, NDArray[Any]] = {}
    curves = {}
    with live(dataset, "train") as of_seed:
        shared = features, data, Finetune(**of_f["finetune"]), f, settings, device
        if engine == "ray":
            rows, fit = min(settings.batch_size, len(features)), partial(_seed, *shared, nullcontext)
            fits = _on_ray(f"{dataset}: train", fit, workspace.seeds, rows, workers, address, device)
        else:
            fit = partial(_seed, *shared, of_seed)
            fits = in_order(f"{dataset}: train", fit, [(seed,) for seed in workspace.seeds], device)
        for seed, (state, curve, warnings) in zip(workspace.seeds, fits, strict=True):
            for warning in warnings:
                say(f"{dataset}, seed {seed}: warning: {warning}")
            weights |= {f"seed={seed}/{name}": value for name, value in state.items()}
            curves[seed] = curve
    artifacts.save_tensors(workspace.artifact("trained.safetensors"), artifacts.TRAINED, weights, about, inputs)
    write_curves(workspace.result("train.csv"), curves)


def _on_ray(
    what: str,
    fit: partial[Any],
    seeds: Sequence[int],
    rows: int,
    workers: int | None,
    address: str | None,
    device: torch.device,
) -> Iterator[Any]:
    """fit(seed, replica) of one seed after another."""
    with progress(what, len(seeds)) as advance:
        for seed in seeds:
            yield resolve_name(FIT_ON_RAY)(partial(fit, seed), rows, workers, address, gpus=int(device.type == "cuda"))
            advance()


def _seed(
    features: NDArray[np.float32],
    data: Dataset,
    of_f: Finetune,
    f: Mapping[str, NDArray[Any]],
    settings: Train,
    device: torch.device,
    of_seed: OfSeed,
    seed: int,
    replica: Replica = ALONE,
) -> tuple[dict[str, NDArray[Any]], Curve, list[str]]:
    """Of one seed: the weights, F's among them, the curve of training, and what to warn of."""
    finetuned = Finetuned.from_state(of_f, artifacts.under(f, f"seed={seed}/"), device)
    signatures = data.signatures[data.seen]
    with of_seed(seed):
        trained = train(finetuned(features), data.train_labels, signatures, settings, seed, device, replica=replica)
    return {**finetuned.state(), **trained.state()}, trained.curve, trained.warnings
