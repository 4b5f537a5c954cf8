"""Stage `extract`: images to features through a backbone; given features pass through unchanged."""

from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated

import typer

from zslcore.compute.cluster import ADDRESS
from zslcore.datasets import dataset as datasets
from zslcore.errors import ZSLError, unknown
from zslcore.features import image_sources
from zslcore.features.batches import Engine
from zslcore.features.extract import extract, extract_images, forecast, plan_of
from zslcore.features.network import ExtractionPlan
from zslcore.features.ray_engine import ray_engine
from zslcore.io import artifacts
from zslcore.io.layers import validate
from zslcore.project.params import PARAMS_FILE, Params
from zslcore.settings import Extract

from .commands import TUNED_BACKBONE
from .common import say
from .workspace import ARTIFACTS, Workspace

PLACE = "Images to take instead: a folder, a .txt list, .tar archives (a-{00..12}.tar), local or s3:// and the like."


def command(
    dataset: Annotated[str | None, typer.Argument(help="Name of the data set, as in params.yaml.")] = None,
    images: Annotated[str | None, typer.Option(help=PLACE)] = None,
    like: Annotated[
        str | None,
        typer.Option(
            "--as", help="With --images: the data set whose backbone and settings to use; default: params.yaml's."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="With --images: the HDF5 file to write.")] = None,
    engine: Annotated[str, typer.Option(help="Where to compute: local or ray.")] = "local",
    address: Annotated[str | None, typer.Option(help=f"With --engine ray: {ADDRESS}")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="With --engine ray: actors; default: all there is room for.")
    ] = None,
    cpus: Annotated[
        float | None,
        typer.Option(min=0.1, help="With --engine ray: processors an actor asks for; default: 1, or a GPU's share."),
    ] = None,
    on_bad_image: Annotated[
        str | None, typer.Option(help="fail or skip; default: as params.yaml says (extract.on_bad_image).")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; say how many images, how long, how much disk.")
    ] = False,
) -> None:
    """Extract the features of images; computed batches are kept, so an interrupted run goes on where it was."""
    if (dataset is None) == (images is None):
        raise ZSLError("zsl extract: name a data set, or give --images PLACE with --out FILE")
    if images is not None and out is None and not dry_run:
        raise ZSLError("zsl extract --images: where to? add --out FILE.h5")
    if dataset is not None and out is not None:
        raise ZSLError(f"zsl extract --out: a data set's go to artifacts/{dataset}/features.h5; leave --out away")
    if like is not None and images is None:
        raise ZSLError("zsl extract --as: only for --images PLACE; a data set has settings of its own")
    of_ray = {"--address": address, "--workers": workers, "--cpus": cpus}
    if engine == "local" and (unused := [option for option, value in of_ray.items() if value is not None]):
        raise ZSLError(
            f"zsl extract {', '.join(unused)}: only for --engine ray; add it (threads here: extract.workers)"
        )
    engines: dict[str, Callable[[], Engine | None]] = {
        "local": lambda: None,
        "ray": lambda: ray_engine(address, workers, cpus),
    }
    if engine not in engines:
        raise unknown("engine", engine, engines)
    workspace = None if dataset is None else Workspace(dataset)
    settings, device = _of_project(like) if workspace is None else (workspace.settings.extract, workspace.device)
    if on_bad_image is not None:
        settings = validate(Extract, settings.model_dump() | {"on_bad_image": on_bad_image}, "zsl extract")
    if workspace is not None and dry_run and datasets.has_features(workspace.artifact("dataset.h5")):
        print(f"{dataset}: its features are given; nothing is to be computed")
        return
    if dry_run:
        place = (
            image_sources.of_place(str(images))
            if workspace is None
            else image_sources.of_dataset(workspace.artifact("dataset.h5"))
        )
        expected = forecast(place, settings, device)
        print(f"{expected.images} images, {expected.pending} to compute, {expected.missing} known to be missing or bad")
        print(f"{expected.images_per_second:.1f} images/s here: {expected.seconds:.0f} s")
        if workspace is not None and workspace.settings.finetune.level == "backbone":
            print("fine-tuning the backbone comes on top (docs/backbone.md)")
        print(f"disk: {expected.megabytes:.1f} MB for the store and the file of features")
        return
    chosen = engines[engine]()
    if workspace is None:
        place, planned = image_sources.of_place(str(images)), None if like is None else _planned(like)
        if planned is not None and Path(planned.weights.removeprefix("file:")) == ARTIFACTS / str(like) / "features.h5":
            settings = settings.model_copy(update={"weights": planned.weights})  # fine-tuned ones
        summary = extract_images(place, Path(str(out)), settings, device, chosen, planned=planned)
    else:
        paths = workspace.artifact("dataset.h5"), workspace.artifact("features.h5")
        if workspace.settings.finetune.level == "backbone":
            summary = resolve_name(TUNED_BACKBONE)(
                *paths, workspace.settings.model_copy(update={"extract": settings}), device, chosen
            )
            say(f"{dataset}: {tuned(paths[1])}")
        else:
            summary = extract(*paths, settings, device, chosen)
    for name, reason in summary.skipped:
        say(f"skipped {name}: {reason}")
    computed, skipped = f"{summary.computed} computed", f"{len(summary.skipped)} skipped"
    say(f"{dataset or images}: {summary.images} images, {computed}, {skipped}")


def tuned(features: Path) -> str:
    """How long the backbone of these features was fine-tuned, and what that was chosen by."""
    about = artifacts.params(features, artifacts.FEATURES)["finetune"]
    tried = ", ".join(f"{one['epochs']}: {one['score']:.1f}" for one in about["tried"])
    figures = f"mean of T1 and H on validation classes, by epochs: {tried}" if tried else "nothing to choose on"
    return f"backbone fine-tuned for {about['chosen']} epochs ({figures})"


def _of_project(like: str | None) -> tuple[Extract, str]:
    """What params.yaml says for every data set, or all files for one, and the device."""
    params = Params()
    if like is not None:
        return params.resolve(like).pipeline.extract, params.device
    settings: Extract = validate(Extract, params.raw.get("extract") or {}, f"{PARAMS_FILE}: extract")
    return settings, params.device


def _planned(like: str) -> ExtractionPlan | None:
    """What was decided for a data set's features; None where there are none yet. Raises ZSLError for given ones."""
    dataset, features = (ARTIFACTS / like / name for name in ("dataset.h5", "features.h5"))
    if features.exists():
        return plan_of(features)
    if dataset.exists() and datasets.has_features(dataset):
        raise ZSLError(f"{dataset}: its features were given, so that no backbone is known which made them")
    say(f"{like}: no features yet; what is auto is decided on these images: run `dvc repro extract@{like}` first")
    return None
