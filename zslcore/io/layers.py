"""Nested names and values: one layer over another, validated by a model, explained."""

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from zslcore.errors import ZSLError

DELETE = "to leave it at its default, delete the line"


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` on top of `base`, key by key."""
    merged = dict(base)
    for name, value in over.items():
        below = merged.get(name)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[name] = merge(below, value) if both else value  # type: ignore[arg-type]
    return merged


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """{"train.noise.strength": 1} -> {"train": {"noise": {"strength": 1}}}."""
    tree: dict[str, Any] = {}
    for name, value in values.items():
        *sections, last = name.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = value
    return tree


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"train": {"noise": {"strength": 1}}} -> {"train.noise.strength": 1}."""
    values: dict[str, Any] = {}
    for name, value in tree.items():
        inner = flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
        values |= inner
    return values


def validate(model: type[BaseModel], values: Mapping[str, Any] | None, where: str | Callable[[str], str]) -> Any:
    """Build a settings model.

    where: what messages call the place of the values, for all or by dotted name. Raises ZSLError with every problem on
    a line of its own, and the nearest known name.
    """
    if values is None:
        raise ZSLError(f"{where if isinstance(where, str) else where('')} is null: it holds nothing; {DELETE}")
    try:
        return model(**values)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            path = ".".join(str(part) for part in problem["loc"])
            lines.append(f"{where if isinstance(where, str) else where(path)}: {_explain(model, problem)}")
        raise ZSLError("\n".join(lines)) from error


def describe(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """(dotted name, default, meaning) of every parameter of a section, nested ones too."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from describe(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", "required" if field.is_required() else field.default, field.description or ""


def _explain(model: type[BaseModel], problem: Any) -> str:
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        fields = _fields(model, problem["loc"][:-1])
        near = get_close_matches(str(problem["loc"][-1]), fields, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(fields)}"
        return f"unknown parameter '{path}'; {hint}"
    if problem["type"] == "missing":
        return f"'{path}' is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["input"] is None and path:
        return f"{path} is null: {message}; {DELETE}"
    return f"{path} is {problem['input']!r}: {message}" if path else message


def _fields(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    for name in path:
        inner = model.model_fields[str(name)].annotation if str(name) in model.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
