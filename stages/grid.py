"""Experiment `grid`: which backbone, which signatures, which method suits a data set?"""

from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer

from zslcore.datasets import dataset as datasets
from zslcore.datasets.dataset import sources_of
from zslcore.errors import ZSLError
from zslcore.evaluation.result_cache import CACHE, cached_result
from zslcore.experiments.grid import Cell, best, cells, describe, measure, short_labels
from zslcore.experiments.settings import MethodGrid
from zslcore.features.extract import extract
from zslcore.io.artifacts import atomic, sha256, write_json
from zslcore.methods import registry
from zslcore.report.figures import accuracy_against_time
from zslcore.report.numbers import spread

from .common import DatasetName, listed, print_table, say
from .compare import code
from .lines import headline
from .workspace import Workspace

FOLDER = Path(".zsl/grid")
"""Features of other backbones, and the figure, which shows times: no output of DVC."""


def command(
    dataset: DatasetName,
    backbones: Annotated[str | None, typer.Option(help="Names of timm models, by commas.")] = None,
    signatures: Annotated[
        str | None, typer.Option(help="Sources of signatures, by commas; several joined by +: att,text,att+text.")
    ] = None,
    methods: Annotated[str | None, typer.Option(help="Names of methods, by commas.")] = None,
) -> None:
    """Choose and measure every combination; print a table, and draw honest H and its test-selected twin over the time.

    What is not named here is as the section `grid` of experiments/params.yaml says. A cell that is done is read back.
    """
    workspace = Workspace(dataset)
    settings: MethodGrid = workspace.section("grid")
    present = workspace.settings.extract.backbone
    sources = list(sources_of(workspace.seen_sources()))
    all_of_them = sources if len(sources) == 1 else [*sources, "+".join(sources)]
    asked = cells(
        listed(backbones) if backbones else settings.backbones or (present,),
        listed(signatures) if signatures else settings.signatures or all_of_them,
        listed(methods) if methods else settings.methods,
    )
    found, seconds = {}, {}
    for cell in asked:
        took = _measured(workspace, cell, _features(workspace, cell.backbone))
        found[cell.label], seconds[cell.label] = took["result"], took["seconds"]
        say(f"{dataset}: {cell.label}: {headline(took['result'])}")
    about = {**workspace.about(workspace.data), "best": best(found)}
    write_json(workspace.experiment("grid.json"), {"about": about, "cells": found})
    _show(workspace, asked, found, seconds)


def _features(workspace: Workspace, backbone: str) -> Path:
    """The features of a backbone: the data set's own, or made now, through the store of features."""
    if backbone == workspace.settings.extract.backbone:
        return workspace.artifact("features.h5")
    path = workspace.artifact("dataset.h5")
    if datasets.has_features(path):
        raise ZSLError(f"{path}: its features are given, so it has no images for backbone {backbone}; leave that away")
    out = FOLDER / workspace.dataset / f"{backbone.replace(':', '.')}.h5"
    weights = "random" if workspace.settings.extract.weights == "random" else "pretrained"
    update = {"backbone": backbone, "weights": weights, "output": "pooled"}
    extract(path, out, workspace.settings.extract.model_copy(update=update), workspace.device)
    return out


def _measured(workspace: Workspace, cell: Cell, features: Path) -> dict[str, Any]:
    """`result`, and the `seconds` that choosing and measuring took when it was made."""
    method, settings, choice = registry.get(cell.method), workspace.settings, workspace.section("compare")
    if cell.backbone != settings.extract.backbone:  # one that is fine-tuned is the data set's
        settings = settings.override({"finetune": {"level": "features"}})
    path = workspace.artifact("dataset.h5")

    def measured() -> dict[str, Any]:
        data, seen = datasets.load(path, features=features), datasets.load_seen(path, features)
        values = datasets.load_features(features, None)
        started = perf_counter()
        parts = describe(method, data, seen, cell.signatures, settings, choice)
        result = measure(method, *parts, values, settings, choice, workspace.seeds, workspace.device)
        return {"result": result, "seconds": perf_counter() - started}

    sections = settings.model_dump(mode="json", exclude={"package"})
    key = {
        "grid": registry.target(cell.method),
        "signatures": cell.signatures,
        "data": [sha256(path), sha256(features)],
        "settings": [sections, choice.model_dump(), workspace.seeds, workspace.device],
        "code": code(cell.method, "zslcore.experiments.grid"),
    }
    return dict(cached_result(key, measured, CACHE))


def _show(workspace: Workspace, asked: list[Cell], found: dict[str, Any], seconds: dict[str, float]) -> None:
    from rich.table import Table

    first = best(found)
    table = Table("backbone, signatures, method", "taken", "validation T1 / H", "T1", "H", "H, test-selected", "s here")
    for label, cell in found.items():
        reached = cell["about"]["validation"]
        table.add_row(
            f"{label} *" if label == first else label,
            cell["about"]["signatures"]["label"],
            f"{reached['T1']:.1f} / {reached['H']:.1f}",
            *(spread(cell[group][name]) for group, name in (("zsl", "T1"), ("gzsl", "H"))),
            spread(cell["diagnostic"]["test_selected_H"]),
            f"{seconds[label]:.1f}",
        )
    print_table(table)
    points = [
        (name, seconds[label], cell["gzsl"]["H"]["mean"], cell["diagnostic"]["test_selected_H"]["mean"])
        for name, (label, cell) in zip(short_labels(asked), found.items(), strict=True)
    ]
    figure = FOLDER / f"{workspace.dataset}.png"
    with atomic(figure) as temporary:
        temporary.write_bytes(
            accuracy_against_time(
                points, "H, percent", "choosing and measuring here, s", "calibration chosen on the test set: no result"
            )
        )
    say(f"{workspace.dataset}: the best on validation classes (*): {first}; the figure: {figure}")
