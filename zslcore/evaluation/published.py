"""Published figures, each with what it rests on, so that none is read as a measured one."""

import re
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from ruamel.yaml import YAML

from zslcore.io.layers import validate
from zslcore.settings import Section

FILE = Path(__file__).with_name("published.yaml")


class Published(Section):
    """The figures of one method on one data set, from one table of one paper; metrics: by name, in percent but MI."""

    table: str
    method: str
    by: str
    dataset: str
    metrics: dict[str, float]
    source: str
    split: str
    features: str
    signatures: str
    selected_on_test: Literal["yes", "no", "unknown"]
    flag_source: str = ""
    note: str = ""


class _Table(Section):
    title: str
    source: str
    split: str
    features: str
    selected_on_test: Literal["yes", "no", "unknown"]
    note: str = ""
    rows: list[dict[str, Any]] = Field(min_length=1)


INHERITED = ("source", "split", "features", "selected_on_test")


@cache
def load_published(file: Path = FILE) -> tuple[Published, ...]:
    """Every published figure, in the order of the file. Raises ZSLError for a row that says too little or too much."""
    raw = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    signatures = raw.pop("signatures")
    published: list[Published] = []
    for name, content in raw.items():
        table = validate(_Table, content, f"{file}: {name}")
        for row in table.rows:
            stated = {key: value for key, value in row.items() if key not in signatures}
            inherited = {key: getattr(table, key) for key in INHERITED}
            for dataset in signatures:
                if dataset in row:
                    values = {"table": name, "dataset": dataset, "signatures": signatures[dataset]}
                    complete = {**inherited, **stated, **values, "metrics": row[dataset]}
                    published.append(validate(Published, complete, f"{file}: {name}: {row.get('method')}"))
    return tuple(published)


@cache
def table_note(table: str, file: Path = FILE) -> str:
    """What a table's figures leave open, as a sentence; empty where nothing is noted."""
    raw = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    return str(raw[table].get("note", ""))


def published_name(dataset: str) -> str:
    """The name under which a data set's figures are published: `cub-fc1000` is CUB."""
    return re.split("[-_]", dataset)[0].upper()


def published_for(dataset: str, table: str) -> list[Published]:
    """The rows of a table for a data set, by its name here; none where nothing is published for it."""
    name = published_name(dataset)
    return [row for row in load_published() if row.table == table and row.dataset == name]
