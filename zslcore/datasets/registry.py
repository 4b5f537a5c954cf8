"""Every way to get a data set, by kind. Adding one is its file and one line here."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from zslcore.datasets.source import Source
from zslcore.errors import ZSLError, unknown
from zslcore.io.layers import validate

SOURCES: dict[str, str] = {
    "birds": "zslcore.datasets.birds.source:BirdsSource",
    "xlsa17": "zslcore.datasets.xlsa17:XLSA17Source",
    "folder": "zslcore.datasets.folder:FolderSource",
    "features": "zslcore.datasets.features:FeaturesSource",
    "imagenet": "zslcore.datasets.imagenet:ImageNetSource",
}


def target(kind: str) -> str:
    """The "module:class" of a kind. Raises ZSLError for an unknown one, with the nearest known one."""
    if kind not in SOURCES:
        raise unknown("kind of data set", kind, SOURCES)
    return SOURCES[kind]


def get(kind: str) -> type[Source]:
    """The settings class of a kind. Raises ZSLError for an unknown one, with the nearest known one."""
    module, _, attribute = target(kind).partition(":")
    source_class: type[Source] = getattr(import_module(module), attribute)
    return source_class


def source(raw: Mapping[str, Any], where: str = "source") -> Source:
    """Settings from a plain mapping with a `kind`.

    where: the name of the mapping in error messages. Raises ZSLError naming every setting that is unknown, missing or
    wrong.
    """
    if not isinstance(raw.get("kind"), str):
        raise ZSLError(f"{where}: a data set needs a 'kind', one of {', '.join(SOURCES)}")
    if raw["kind"] not in SOURCES:
        raise ZSLError(f"{where}: {unknown('kind of data set', raw['kind'], SOURCES)}")
    source_class = get(raw["kind"])
    values = {name: value for name, value in raw.items() if name != "kind"}
    built: Source = validate(source_class, values, where)
    return built
