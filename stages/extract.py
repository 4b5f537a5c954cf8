"""Stage `extract`: images to features through a backbone; given features pass through unchanged."""

from pathlib import Path
from typing import Annotated

import typer

from stages.common import artifact, say
from zslcore.cluster import ADDRESS

PLACE = "Images to take instead: a folder, a .txt list, .tar archives (a-{00..12}.tar), local or s3:// and the like."


def command(
    dataset: Annotated[str | None, typer.Argument(help="Name of the data set, as in params.yaml.")] = None,
    images: Annotated[str | None, typer.Option(help=PLACE)] = None,
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
    from zslcore.datasets import dataset as datasets
    from zslcore.errors import ZSLError, unknown
    from zslcore.features import sources
    from zslcore.features.batches import Engine, local
    from zslcore.features.extract import extract, extract_images, forecast
    from zslcore.features.ray_engine import ray_engine
    from zslcore.features.settings import ExtractSettings
    from zslcore.params import load_params, merge, validate

    if (dataset is None) == (images is None):
        raise ZSLError("zsl extract: name a data set, or give --images PLACE with --out FILE")
    if images is not None and out is None and not dry_run:
        raise ZSLError("zsl extract --images: where to? add --out FILE.h5")
    if dataset is not None and out is not None:
        raise ZSLError(f"zsl extract --out: a data set's go to {artifact(dataset, 'features.h5')}; leave --out away")
    of_ray = {"--address": address, "--workers": workers, "--cpus": cpus}
    if engine == "local" and (given := [option for option, value in of_ray.items() if value is not None]):
        raise ZSLError(f"zsl extract {', '.join(given)}: only for --engine ray; add it (threads here: extract.workers)")
    engines = {"local": lambda: local(settings.workers), "ray": lambda: ray_engine(address, workers, cpus)}
    if engine not in engines:
        raise unknown("engine", engine, engines)
    params = load_params()
    base = params.resolve(dataset).extract.model_dump() if dataset else params.section("extract")
    where = f"{params.file}: extract"
    settings: ExtractSettings = validate(ExtractSettings, merge(base, {"on_bad_image": on_bad_image}), where)
    prepared, features = (artifact(str(dataset), name) for name in ("dataset.h5", "features.h5"))
    if dry_run and dataset and datasets.has_features(prepared):
        print(f"{dataset}: its features are given; nothing is to be computed")
        return
    if dry_run:
        place = sources.of_place(images) if images else sources.of_dataset(prepared)
        found = forecast(place, settings, params.device)
        print(f"{found.images} images, {found.pending} to compute, {found.missing} known to be missing or bad")
        print(f"{found.images_per_second:.1f} images/s here: {found.seconds:.0f} s")
        print(f"disk: {found.megabytes:.1f} MB for the store and the file of features")
        return
    chosen: Engine = engines[engine]()
    if images:
        place = sources.of_place(images)
        summary = extract_images(place, Path(str(out)), settings, params.device, chosen)
    else:
        summary = extract(prepared, features, settings, params.device, chosen)
    for name, reason in summary.skipped:
        say(f"skipped {name}: {reason}")
    computed, skipped = f"{summary.computed} computed", f"{len(summary.skipped)} skipped"
    say(f"{dataset or images}: {summary.images} images, {computed}, {skipped}")
