"""`zsl import`: a data set of one's own becomes part of the project: checked, copied, under DVC, in params.yaml."""

from pathlib import Path
from typing import Annotated, Any

import typer

from stages.common import say

DATA = Path("data")

DOWNLOADS = (
    "The benchmark's res101.mat and att_splits.mat of CUB, SUN, AWA1, AWA2 and APY, with the published validation "
    "classes, are in http://datasets.d2.mpi-inf.mpg.de/xian/xlsa17.zip (0.9 GB), those of FLO in "
    "http://datasets.d2.mpi-inf.mpg.de/xian/cvpr18xian.zip. Unpack, and give the two files of one data set."
)

app = typer.Typer(no_args_is_help=True, help=f"Add a data set to the project.\n\n{DOWNLOADS}")

Name = Annotated[str, typer.Option(help="What to call the data set: letters, digits, - and _.")]
Like = Annotated[
    str | None,
    typer.Option(help="Copy the preset of this data set; default: of the one NAME begins with, else the defaults."),
]
Replace = Annotated[bool, typer.Option("--replace", help="Replace a data set of this name.")]
NoDVC = Annotated[bool, typer.Option("--no-dvc", help="Do not put the files under DVC (no `dvc add`).")]
ImageAttributes = Annotated[
    Path | None, typer.Option(help="What is visible in each image, in the signature's entries: .csv, .npy or .mat.")
]
SplitName = Annotated[str | None, typer.Option(help="What results call the split; default: proposed split, own split.")]


@app.command("xlsa17", help=f"Add a pair of files in the benchmark's format.\n\n{DOWNLOADS}")
def xlsa17(
    features: Annotated[Path, typer.Option(help=".mat with features (d, n) and labels (n, 1): res101.mat.")],
    splits: Annotated[Path, typer.Option(help=".mat with att (a, classes) and the splits: att_splits.mat.")],
    name: Name,
    like: Like = None,
    validation_classes: Annotated[
        list[Path] | None,
        typer.Option(help="List of validation classes, up to three times; default: valclasses*.txt beside SPLITS."),
    ] = None,
    signatures: Annotated[str, typer.Option(help="att (vectors of length 1) or original_att (raw).")] = "att",
    unseen_classes: Annotated[
        Path | None, typer.Option(help="List of classes that are unseen, for another split than the file's.")
    ] = None,
    image_attributes: ImageAttributes = None,
    split_name: SplitName = None,
    strict_splits: Annotated[
        bool, typer.Option("--strict-splits", help="Refuse train_loc and val_loc that contain test images.")
    ] = False,
    replace: Replace = False,
    no_dvc: NoDVC = False,
) -> None:
    """Add a pair of files in the benchmark's format."""
    raw = {
        "kind": "xlsa17",
        "features": features,
        "splits": splits,
        "validation_classes": validation_classes or None,
        "signatures": signatures,
        "unseen_classes": unseen_classes,
        "image_attributes": image_attributes,
        "split_name": split_name,
        "strict_splits": strict_splits or None,
    }
    add(name, raw, like, replace, not no_dvc)


@app.command("folder", help="Add your own images: a folder a class, their signatures, and which are unseen.")
def folder(
    images: Annotated[Path, typer.Option(help="Folder with one folder a class, images directly in it.")],
    signatures: Annotated[Path, typer.Option(help="CSV with a header: first column the class, then its signature.")],
    unseen: Annotated[
        Path, typer.Option(help="Unseen classes, one a line, or CSV class,split (trainval, test_unseen, ignored).")
    ],
    name: Name,
    like: Like = None,
    test_share: Annotated[float, typer.Option(help="Part of each seen class's images that is test_seen.")] = 0.2,
    split_seed: Annotated[int, typer.Option(help="Seed that draws the test_seen images.")] = 0,
    image_attributes: ImageAttributes = None,
    split_name: SplitName = None,
    replace: Replace = False,
    no_dvc: NoDVC = False,
) -> None:
    """Add a folder of images."""
    raw = {
        "kind": "folder",
        "images": images,
        "signatures": signatures,
        "unseen": unseen,
        "image_attributes": image_attributes,
        "test_share": test_share,
        "split_seed": split_seed,
        "split_name": split_name,
    }
    add(name, raw, like, replace, not no_dvc)


def add(name: str, raw: dict[str, Any], like: str | None, replace: bool, dvc: bool) -> None:
    """Check a data set, copy its files to data/<name>, put them under DVC and enter it in params.yaml; all or nothing.

    raw: the source's settings with paths where the files are now; None leaves a setting at its default.
    Raises ZSLError naming what is wrong; nothing has changed then.
    """
    import re

    from zslcore.artifacts import write_text
    from zslcore.datasets import registry
    from zslcore.datasets.dataset import twins
    from zslcore.errors import ZSLError
    from zslcore.imports import installed, localised
    from zslcore.params import PARAMS_FILE, load_params
    from zslcore.params_edit import preset_for, with_dataset

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ZSLError(f"--name {name!r}: use letters, digits, - and _ only")
    params = load_params()
    home = DATA / name
    if not replace and (name in {*params.datasets, *params.section("sources")} or home.exists()):
        raise ZSLError(f"data set '{name}' exists; choose another --name, or --replace it")
    preset = preset_for(params, name, like)
    given = registry.source({key: value for key, value in raw.items() if value is not None}, "zsl import")
    data = given.load(name, Path())
    for note in (*data.notes, *twins(data)):
        say(f"{name}: note: {note}")
    settings, files = localised(given, Path(), home)
    text = with_dataset(PARAMS_FILE.read_text(encoding="utf-8"), name, settings, preset)
    with installed(home, files, dvc):
        write_text(PARAMS_FILE, text)
    say(
        f"{name}: {len(data.labels)} images, {len(data.seen)} seen and {len(data.unseen)} unseen classes; "
        f"entered in {PARAMS_FILE}. Next: dvc repro"
    )
