"""YAML files as plain names and values."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent

from zslcore.errors import ZSLError

MAX_DEPTH = 30
"""Levels of a file, several times as many as any of the project has."""


def read_yaml(path: Path, aliases: bool = True) -> dict[str, Any]:
    """The names and values in a YAML file.

    aliases: whether anchors may be referred to, which makes a short file stand for values without end. Raises ZSLError
    naming the file and the line for what is no mapping, no YAML, nested too deep, or has aliases where none may be.
    """
    try:
        text = path.read_text(encoding="utf-8")
        _check_events(path, text, aliases)
        raw = YAML(typ="safe").load(text)
    except FileNotFoundError as error:
        raise ZSLError(f"{path}: no such file; run the command in the project's folder") from error
    except (YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ZSLError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ZSLError(f"{path}: expected names and values, found {type(raw).__name__}")
    return raw


def _check_events(path: Path, text: str, aliases: bool) -> None:
    depth = 0
    for event in YAML(typ="safe").parse(text):
        line = event.start_mark.line + 1
        if isinstance(event, AliasEvent) and not aliases:
            raise ZSLError(f"{path}: line {line}: aliases (*{event.anchor}) are not read; write the value out")
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ZSLError(f"{path}: line {line}: more than {MAX_DEPTH} levels; not valid YAML for parameters")
