"""Edits to params.yaml and data/<name>.yaml that leave every other line, comments included, as it was."""

import re
from collections.abc import Mapping
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from zslcore.errors import ZSLError, unknown
from zslcore.project.params import Params, data_file


def with_name(text: str, name: str) -> str:
    """The text of params.yaml with one more name in `datasets`."""
    yaml = _yaml()
    params = yaml.load(text)
    if name not in params["datasets"]:
        params["datasets"].append(name)
    return _dump(yaml, params)


def with_source(text: str, source: Mapping[str, Any]) -> str:
    """The text of data/<name>.yaml with this source, on a line each, before everything else it holds."""
    yaml = _yaml()
    values = yaml.load(text) or CommentedMap()
    values.pop("source", None)
    values.insert(0, "source", CommentedMap(source))
    return _dump(yaml, values)


def with_values(text: str, preset: str, values: Mapping[str, Any]) -> str:
    """The text of data/<name>.yaml with other values under one preset: {"train": {"lr": 0.01}}."""
    yaml = _yaml()
    data = yaml.load(text) or CommentedMap()
    _put(data, {preset: values})
    return _dump(yaml, data)


def text_like(params: Params, name: str, like: str | None = None) -> str:
    """What data/<name>.yaml starts from: the file of the data set `like`.

    Where `like` is None, its own file if there is one, else that of the longest name it begins with (`cub-fc1000`:
    cub), else nothing. Raises ZSLError for an unknown `like`.
    """
    files = {path.stem: path for path in (params.root / data_file(name).parent).glob("*.yaml")}
    if like is not None and like not in files:
        raise ZSLError(f"--like: {unknown('data set', like, files)}")
    beginnings = [known for known in files if re.match(rf"{re.escape(known)}(?![a-z0-9])", name, re.IGNORECASE)]
    file = files.get(like or max(beginnings, key=len, default=""))
    return "" if file is None else file.read_text(encoding="utf-8")


def _put(node: CommentedMap, values: Mapping[str, Any]) -> None:
    """Put values where they stand already, key by key, so that the others keep their lines."""
    for name, value in values.items():
        if isinstance(value, Mapping) and isinstance(node.get(name), CommentedMap):
            _put(node[name], value)
        else:
            node[name] = value


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 10_000  # long lines are not folded
    return yaml


def _dump(yaml: YAML, values: Any) -> str:
    stream = StringIO()
    yaml.dump(values, stream)
    return stream.getvalue()
