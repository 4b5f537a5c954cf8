"""Edits to params.yaml that leave every other line, comments included, as it was."""

import re
from collections.abc import Mapping
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.representer import RoundTripRepresenter

from zslcore.errors import ZSLError, unknown
from zslcore.params import SECTIONS, Params

PRESETS = ("best", "paper")


def with_dataset(text: str, name: str, source: Mapping[str, Any], preset: Mapping[str, Any]) -> str:
    """The text of params.yaml with one more data set, or with other values for one it has.

    source: its settings with `kind`, for `sources.<name>`. preset: for `presets.<name>`, preset -> section -> values.
    The name joins `datasets`.
    """
    yaml = _yaml()
    params = yaml.load(text)
    # New entries go first: a comment below the last entry belongs to what follows, but is stored with that entry.
    for group, value in (("sources", _block(source)), ("presets", _block(preset, depth=2))):
        if params.get(group) is None:
            params[group] = CommentedMap()
        if params[group].get(name) == value:
            continue
        if name in params[group]:
            params[group][name] = value
        else:
            params[group].insert(0, name, value)
    if name not in params["datasets"]:
        params["datasets"].append(name)
    stream = StringIO()
    yaml.dump(params, stream)
    return stream.getvalue()


def preset_for(params: Params, name: str, like: str | None = None) -> dict[str, Any]:
    """Values for `presets.<name>`, with every preset and section present, as dvc.yaml asks.

    Those of the data set `like`; where it is None, those `name` has already, else those of the longest name it begins
    with (`cub-fc1000`: cub), else of `default`, else none. Raises ZSLError for an unknown `like`.
    """
    presets = params.raw.get("presets") or {}
    if like is not None and like not in presets:
        raise ZSLError(f"{params.file}: {unknown('preset', like, presets)}")
    beginnings = [known for known in presets if re.match(rf"{re.escape(known)}(?![a-z0-9])", name, re.IGNORECASE)]
    values = presets.get(like or max(beginnings, key=len, default="default")) or {}
    return {
        preset: {section: (values.get(preset) or {}).get(section) or {} for section in SECTIONS} for preset in PRESETS
    }


class _Representer(RoundTripRepresenter):
    """Writes null as `null`, not as nothing."""


_Representer.add_representer(
    type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
)


def _yaml() -> YAML:
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.preserve_quotes = True
    yaml.width = 10_000  # long lines are not folded
    return yaml


def _block(values: Mapping[str, Any], depth: int = 1) -> CommentedMap:
    """A mapping on lines of its own down to `depth` levels, on one line below."""
    block = CommentedMap(
        (name, _block(value, depth - 1) if isinstance(value, Mapping) else value) for name, value in values.items()
    )
    if depth < 1:
        block.fa.set_flow_style()
    return block
