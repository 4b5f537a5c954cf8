"""`zsl signatures`: what describes the classes of a data set; more of it from texts or numbers; which is best."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

from zslcore.datasets import dataset as datasets
from zslcore.datasets import registry
from zslcore.datasets.dataset import Dataset, sources_of
from zslcore.datasets.described import Described
from zslcore.errors import ZSLError
from zslcore.evaluation.signatures import judge_all
from zslcore.io.layers import validate
from zslcore.io.rows import rows_at_once
from zslcore.project.edit import with_section, with_source
from zslcore.project.import_data import add_file, with_extras
from zslcore.project.params import DATA, Params, data_file
from zslcore.signatures.encoders import MINILM

from .common import DatasetName, print_table, say
from .workspace import ARTIFACTS, Workspace


def command(
    dataset: DatasetName,
    add: Annotated[
        Path | None,
        typer.Option(
            help="Add this file: texts (CSV class,text, JSON, a folder of <class>.txt) or numbers (CSV, .mat with att)."
        ),
    ] = None,
    call: Annotated[str, typer.Option(help="What to call the added signatures.")] = "text",
    encoder: Annotated[
        str, typer.Option(help="What reads texts: tfidf, clip:MODEL, a model's name or folder.")
    ] = MINILM,
    template: Annotated[
        list[str] | None,
        typer.Option(help="What it reads: {name} is the class's name, {text} a text; may be repeated."),
    ] = None,
    whole: Annotated[bool, typer.Option("--whole", help="All texts of a class are read as one.")] = False,
    without_first: Annotated[
        bool, typer.Option("--without-first", help="Take off the direction that all seen classes share most.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare sources, alone and joined, by ESZSL on validation classes.")
    ] = False,
) -> None:
    """Show the sources of a data set's signatures; with --add make one more, with --compare see which is best."""
    if add is not None:
        values = {"file": add, "encoder": encoder, "templates": tuple(template or ("{text}",))}
        values |= {"pool": "whole" if whole else "mean", "without_first": without_first}
        _add(dataset, call, validate(Described, values, "zsl signatures"))
    elif compare:
        _compare(dataset)
    else:
        _show(datasets.load(ARTIFACTS / dataset / "dataset.h5"))


def _add(dataset: str, call: str, described: Described) -> None:
    """Make the signatures once, as a check, then enter them in data/<name>.yaml and copy the file."""
    if not call.isidentifier():
        raise ZSLError(f"--call {call!r}: use letters, digits and _")
    file = data_file(dataset)
    raw = Params().source(dataset)
    further = dict(raw.get("described") or {})
    source = registry.source({**raw, "described": {**further, call: described}}, f"{file}: source")
    if call in further:
        raise ZSLError(f"{file}: signatures '{call}' are there already; give another name with --call")
    data = source.dataset(dataset, Path())
    made = data.sources[call]
    home = DATA / dataset
    target = home / (call if described.file.is_dir() else f"{call}-{described.file.name}")
    plain = described.model_dump(mode="json", exclude_defaults=True) | {"file": target.as_posix()}
    if not made.texts:
        plain = {"file": plain["file"]}
    text = with_source(file.read_text(encoding="utf-8"), {**raw, "described": {**further, call: plain}})
    text = with_section(text, "signatures", {"weights": "auto"})
    add_file(described.file, target, {file: text, **with_extras(data.sources.values())})
    for note in data.notes:
        if str(described.file) in note:
            say(f"{dataset}: note: {note}")
    say(
        f"{dataset}: signatures '{call}' ({made.made}): {made.values.shape[1]} numbers a class, entered in {file}; "
        "`signatures:` there says how they are used (auto: chosen on validation classes). Next: dvc repro"
    )


def _show(data: Dataset) -> None:
    table = Table("source", "numbers", "made by", "texts", "nearest classes (cosine, less the seen classes' mean)")
    for name, source in sources_of(data).items():
        away = source.values - source.values[data.seen].mean(axis=0)
        one, other, cosine = _nearest(away)
        near = f"{data.classes[one]}, {data.classes[other]} ({cosine:.2f})"
        texts = str(sum(map(len, source.texts)) or "")
        table.add_row(name, str(source.values.shape[1]), source.made, texts, near)
    print_table(table)


def _nearest(rows: NDArray[np.float32]) -> tuple[int, int, float]:
    units = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    nearest = (0, 1, -2.0)
    step = rows_at_once(len(units))
    for start in range(0, len(units), step):
        cosines = units[start : start + step] @ units.T
        cosines[np.arange(len(cosines)), start + np.arange(len(cosines))] = -2  # itself
        one, other = divmod(int(cosines.argmax()), len(units))
        nearest = max(nearest, (start + one, other, float(cosines[one, other])), key=lambda pair: pair[2])
    return nearest


def _compare(dataset: str) -> None:
    workspace = Workspace(dataset)
    seen, choice = workspace.seen_sources(), workspace.settings.select
    table = Table("signatures", "T1", "H", title=f"{dataset}: ESZSL on {choice.splits} splits of validation classes")
    sources = sources_of(seen)
    for one in judge_all(seen, choice.splits, choice.seed):
        table.add_row(one.composition.label(sources), f"{one.top1:.1f}", f"{one.harmonic:.1f}")
    print_table(table)
