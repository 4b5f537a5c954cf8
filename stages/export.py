"""`zsl export`: a model as ONNX, a data set as the benchmark's files."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from zslcore.errors import ZSLError

from .common import say
from .predict import chosen


def command(
    what: Annotated[str, typer.Argument(help="A model file; or xlsa17, for the files of the benchmark.")],
    dataset: Annotated[str | None, typer.Argument(help="With xlsa17: the data set, as in params.yaml.")] = None,
    onnx: Annotated[Path | None, typer.Option(help="Of a model: the ONNX file to write.")] = None,
    classes: Annotated[
        Path | None, typer.Option(help="Of a model: table of new classes, as for `zsl predict`.")
    ] = None,
    among: Annotated[
        str, typer.Option(help="Of a model: all, seen, unseen, a file of names, or that of --classes.")
    ] = "all",
    out: Annotated[
        Path | None, typer.Option(help="With xlsa17: folder for res101.mat and att_splits.mat; default: the name.")
    ] = None,
) -> None:
    """Take a model or a data set to where this program is not."""
    if what == "xlsa17":
        if dataset is None:
            raise ZSLError("which data set? zsl export xlsa17 NAME")
        _xlsa17(dataset, out or Path(dataset))
    elif onnx is None:
        raise ZSLError("where to? zsl export MODEL --onnx FILE.onnx")
    else:
        _onnx(Path(what), onnx, classes, among)


def _onnx(path: Path, onnx: Path, classes: Path | None, among: str) -> None:
    from zslcore.model.model import Model

    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ZSLError(f"export needs more packages ({error}); pip install 'zslcore[onnx]'") from error
    from zslcore.model.onnx import export

    model, candidates = chosen(Model.load(path), classes, among)
    names = export(model, onnx, candidates)
    say(f"{onnx}: pixels to probabilities of {len(names)} classes")


def _xlsa17(name: str, folder: Path) -> None:
    from dataclasses import replace

    from zslcore.datasets import dataset as datasets
    from zslcore.datasets.xlsa17_files import write

    from .workspace import Workspace

    workspace = Workspace(name)
    path, features = workspace.artifact("dataset.h5"), workspace.artifact("features.h5")
    data = datasets.load(path, features=features)
    present = np.setdiff1d(np.arange(len(data.labels)), datasets.skipped_rows(features))
    found = datasets.load_features(features, present)
    values = np.zeros((len(data.labels), found.shape[1]), np.float32)  # rows of bad images are in no split
    values[present] = found
    first, second = write(replace(data, features=values), folder)
    say(f"{first}, {second}: {len(data.labels)} images, {len(data.classes)} classes")
