"""Edits to params.yaml and data/<name>.yaml that leave every other line, comments included, as it was."""

import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
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


def without_name(text: str, name: str) -> str:
    """The text of params.yaml with one name less in `datasets`, where it stands there."""
    yaml = _yaml()
    params = yaml.load(text)
    if name in params["datasets"]:
        params["datasets"].remove(name)
    return _dump(yaml, params)


def with_other_name(text: str, old: str, new: str) -> str:
    """The text of params.yaml with another name in the place of one in `datasets`."""
    yaml = _yaml()
    params = yaml.load(text)
    params["datasets"][:] = [new if name == old else name for name in params["datasets"]]
    return _dump(yaml, params)


def without_source(text: str) -> str:
    """The text of data/<name>.yaml without its source, everything else as it is written."""
    return re.sub(r"^source:.*\n(?:[ -].*\n|\n(?=[ -]))*", "", text, flags=re.MULTILINE)


def with_other_home(text: str, old: Path, new: Path) -> str:
    """The text of data/<name>.yaml whose source has its files in another folder, everything else as it is written."""
    rest = without_source(text)
    start = text.index("source:") if rest != text else 0
    source = text[start : start + len(text) - len(rest)]
    moved = re.sub(rf"(?<![\w./-]){re.escape(old.as_posix())}(?![\w.-])", new.as_posix(), source)
    return text[:start] + moved + text[start + len(source) :]


def with_path(text: str, path: str) -> str:
    """The text of a .dvc file whose one output has another path."""
    yaml = _yaml()
    stage = yaml.load(text)
    stage["outs"][0]["path"] = path
    return _dump(yaml, stage)


def blocks(text: str) -> list[str]:
    """A text of YAML in pieces whose concatenation it is: the names of the second level, each with its value.

    What stands before, between and after them makes pieces of its own.
    """
    return re.split(r"^(?=  [^\s#-]|\S)", text, flags=re.MULTILINE)


def with_source(text: str, source: Mapping[str, Any]) -> str:
    """The text of data/<name>.yaml with this source, on a line each, before everything else it holds."""
    yaml = _yaml()
    values = yaml.load(text) or CommentedMap()
    values.pop("source", None)
    values.insert(0, "source", CommentedMap(source))
    return _dump(yaml, values)


def with_section(text: str, name: str, values: Mapping[str, Any]) -> str:
    """The text of data/<name>.yaml with one more section at its end, unless it has it already."""
    yaml = _yaml()
    data = yaml.load(text) or CommentedMap()
    if name in data:
        return text
    data[name] = CommentedMap(values)
    return _dump(yaml, data)


def with_values(text: str, name: str, values: Mapping[str, Any]) -> str:
    """The text of data/<name>.yaml with other values in a section, or under a preset: {"train": {"lr": 0.01}}."""
    yaml = _yaml()
    data = yaml.load(text) or CommentedMap()
    _put(data, {name: values})
    return _dump(yaml, data)


def settings_of(params: Params, name: str, like: str | None = None) -> str | None:
    """The data set from whose file data/<name>.yaml starts: `like`, or None for no file.

    Where `like` is None, the data set itself if it has a file, else that of the longest name it begins with
    (`cub-fc1000`: cub). Raises ZSLError for an unknown `like`.
    """
    names = [path.stem for path in (params.root / data_file(name).parent).glob("*.yaml")]
    if like is not None and like not in names:
        raise ZSLError(f"--like: {unknown('data set', like, names)}")
    beginnings = [known for known in names if re.match(rf"{re.escape(known)}(?![a-z0-9])", name, re.IGNORECASE)]
    return like or max(beginnings, key=len, default=None)


def text_like(params: Params, name: str, like: str | None = None) -> str:
    """What data/<name>.yaml starts from: the file that `settings_of` says."""
    start = settings_of(params, name, like)
    return "" if start is None else (params.root / data_file(start)).read_text(encoding="utf-8")


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
