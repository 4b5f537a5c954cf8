"""`zsl download`: a data set of the benchmark, fetched and imported in one go."""

from pathlib import Path
from typing import Annotated

import typer

from zslcore.datasets import download
from zslcore.errors import ZSLError
from zslcore.project.names import check_name
from zslcore.project.params import Params

from .common import say
from .import_data import NoDVC, Replace, add

FOLDER = Path(".zsl/downloads")


def command(
    dataset: Annotated[str, typer.Argument(help=f"One of {', '.join(download.ADDRESSES)}.")],
    url: Annotated[str | None, typer.Option(help="Another address of the archive: a mirror.")] = None,
    replace: Replace = False,
    no_dvc: NoDVC = False,
) -> None:
    """Download a data set of the benchmark, and import it; an interrupted download goes on where it was."""
    place = url or download.address(dataset)
    download.address(dataset)
    check_name(Params(), dataset, replace)  # before a gigabyte is fetched
    try:
        archive = download.fetch(place, FOLDER)
    except ZSLError as error:
        raise ZSLError(
            f"{error}; give a mirror of the archive with --url, or get its {download.FEATURES} and {download.SPLITS} "
            f"elsewhere: `zsl import xlsa17 --features {download.FEATURES} --splits {download.SPLITS} --name {dataset}`"
        ) from error
    with download.unpacked(archive, dataset) as (features, splits):
        raw = {"kind": "xlsa17", "features": features, "splits": splits}
        add(dataset, raw, None, replace, not no_dvc)
    say(f"{archive}: kept for the archive's other data sets; delete it when you need none")
