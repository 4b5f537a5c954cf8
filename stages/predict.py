"""`zsl predict`: a trained model names images, also by classes that were described just now."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import wrap
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from zslcore.datasets.described import holds_texts
from zslcore.errors import ZSLError, printable, unknown
from zslcore.evaluation.explain import in_words, worded
from zslcore.features.batches import local
from zslcore.features.ray_engine import ray_engine
from zslcore.model import tables
from zslcore.model.classes import read_candidates, read_descriptions
from zslcore.model.model import Model
from zslcore.model.overlays import write_overlays
from zslcore.model.places import Row, pictures_of, rows_of
from zslcore.model.prediction import Prediction, Question
from zslcore.progress import progress
from zslcore.signatures.texts import read_texts

from .common import TrustedBackbone, Weights, print_table, say

CACHE = Path(".zsl/classifiers")
AT_ONCE = 256
"""Images named at a time."""
SENTENCE = 72
"""Columns of a sentence in the table: without a terminal, nothing else breaks a line."""
ENGINES = {"local": lambda: local(None), "ray": lambda: ray_engine(None, None, None)}


def command(
    model: Annotated[Path, typer.Argument(help="The model: models/<data set>.zsl, which `package` wrote.")],
    place: Annotated[
        str,
        typer.Argument(
            help="The images: one file, a folder, a .txt list, .tar archives, local or s3:// and the like; or an HDF5 "
            "file (.h5) of features."
        ),
    ],
    classes: Annotated[
        Path | None,
        typer.Option(
            help="Table of new classes: a name and the value of each of the model's attributes, in any order; or texts "
            "(class,text, JSON, a folder), for a model whose classes are described by texts."
        ),
    ] = None,
    among: Annotated[
        str, typer.Option(help="Classes to choose from: all, seen, unseen, a file of names, or that of --classes.")
    ] = "all",
    top: Annotated[int, typer.Option(min=1, help="Classes of each image.")] = 5,
    out: Annotated[
        str | None, typer.Option(help="Where to: .jsonl, .csv, .parquet, or - for JSON lines here; default: a table.")
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Say which attributes spoke for the first class, and what it is like."),
    ] = False,
    maps: Annotated[
        Path | None,
        typer.Option(
            help="Folder for pictures of where the attributes are seen that spoke most for the first class (with "
            "--explain), a PNG each."
        ),
    ] = None,
    none: Annotated[
        float, typer.Option(min=0, max=1, help="Share of images of known classes that may be called none of these.")
    ] = 0.05,
    engine: Annotated[str, typer.Option(help="Where to compute features: local or ray.")] = "local",
    weights: Weights = None,
    backbone: TrustedBackbone = None,
) -> None:
    """Name images, one row each, in their order; an image that cannot be read has a row that says why."""
    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)
    if maps is not None and not explain:
        raise ZSLError("zsl predict --maps: shows the attributes that --explain names; add it")
    if maps is not None:
        _check_empty(maps)
    named, candidates = chosen(Model.load(model, weights, backbone, CACHE), classes, among)
    named.check(candidates, explain)  # before images are looked at
    pictures = None if maps is None else pictures_of(named, place)
    rows = rows_of(named, place, ENGINES[engine](), maps=maps is not None)
    predictions = _named(named, rows, Question(top, candidates, none, explain, maps is not None))
    if maps is not None and pictures is not None:
        predictions = _drawn(predictions, pictures, named.attributes, maps)
    counts: Counter[str] = Counter()
    counted = _counted(predictions, counts)
    if out is None:
        _show(counted)
    else:
        tables.write(counted, out, f"{named.name} ({model.name})")
    images = f"{counts['images']} image{'s' * (counts['images'] != 1)}"
    say(f"{place}: {images}, {counts['none']} with none of these classes, {counts['failures']} unreadable")


def chosen(model: Model, classes: Path | None, among: str) -> tuple[Model, str | list[str]]:
    """The model with the classes of a table, and the names of those that compete, as `Model.predict` takes them."""
    described = None if classes is None else _descriptions(classes, model)
    if described is not None:
        known = len(model.classes) + len(described)
        with progress(f"{model.name}: classifiers of {known:,} classes", len(model.methods)) as advance:
            model = model.with_classes(described, advance=advance)
    if among in ("all", "seen", "unseen"):
        return model, among
    of_table = described is not None and classes is not None and Path(among).resolve() == classes.resolve()
    return model, list(described or {}) if of_table else read_candidates(Path(among), model.classes)


def _descriptions(path: Path, model: Model) -> Mapping[str, Any]:
    """Name -> texts, or numbers, whatever the file holds."""
    return read_texts(path).texts if holds_texts(path) else read_descriptions(path, model.attributes)


def _check_empty(folder: Path) -> None:
    """Raise ZSLError for a folder that cannot be made, or has files: maps of two runs would stand side by side."""
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ZSLError(f"zsl predict --maps {folder}: {there} is no folder that can be written to; give a new folder")
    if there == folder and any(folder.iterdir()):
        raise ZSLError(f"zsl predict --maps {folder}: has files in it; give a new folder, or empty this one")


def _named(model: Model, rows: Iterator[Row], question: Question) -> Iterator[Prediction]:
    """The predictions, a block of rows at a time."""
    block: list[Row] = []

    def named() -> Iterator[Prediction]:
        features = [values for _, values, _ in block if values is not None]
        found = iter(model.predict_rows(features, question) if features else [])
        for name, values, reason in block:
            if values is None:
                yield Prediction(name, failure=reason or "unknown")
            else:
                yield next(found).of(name)

    for row in rows:
        block.append(row)
        if len(block) == AT_ONCE:
            yield from named()
            block.clear()
    yield from named()


def _drawn(
    predictions: Iterator[Prediction],
    pictures: Iterator[NDArray[np.uint8] | None],
    attributes: Sequence[str],
    folder: Path,
) -> Iterator[Prediction]:
    """The predictions, with the files of what is shown of each."""
    for number, (one, picture) in enumerate(zip(predictions, pictures, strict=True)):
        shown = {} if picture is None or one.maps is None else write_overlays(one, attributes, picture, folder, number)
        yield replace(one, maps=None, overlays=shown)


def _counted(predictions: Iterator[Prediction], counts: "Counter[str]") -> Iterator[Prediction]:
    for prediction in predictions:
        counts.update(images=1, none=int(prediction.none), failures=int(prediction.failure is not None))
        yield prediction


def _show(predictions: Iterator[Prediction]) -> None:
    from rich.table import Table

    table = Table("image", "class", "probability")
    for one in predictions:
        if one.failure is not None:
            table.add_row(printable(one.file), f"unreadable: {printable(one.failure)}", "")
            continue
        lines = [printable(name) for name in one.classes]
        if one.none:
            lines[0] = f"none of these; nearest: {lines[0]}"
        said = []
        if one.against is not None and worded([each.attribute for each in one.attributes]):
            said.append(in_words(one.classes[0], one.against, one.attributes))
        if one.nearest:
            said.append(f"most like, of seen classes: {', '.join(one.nearest)}")
        for sentence in said:
            lines += wrap(printable(sentence), SENTENCE, break_long_words=False, break_on_hyphens=False)
        values = "\n".join(f"{value:.1%}" for value in one.probabilities)
        table.add_row(printable(one.file), "\n".join(lines), values)
    print_table(table)
