"""params.yaml as typed, validated settings.

For a data set, an explicit value of a section (`train.lr: 0.01`) wins over the data set's preset
(`presets.cub.best.train.lr`), and the preset over the built-in default; null means "as the next one says".
"""

import json
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent

from zslcore.artifacts import read_json
from zslcore.errors import ZSLError, unknown
from zslcore.features.settings import ExtractSettings
from zslcore.settings import Classify, Finetune, Generate, Section, Select, Train

PARAMS_FILE = Path("params.yaml")
MAX_DEPTH = 30
"""Levels of params.yaml, several times as many as the shipped one has."""

SECTIONS: dict[str, type[BaseModel]] = {
    "extract": ExtractSettings,
    "select": Select,
    "finetune": Finetune,
    "train": Train,
    "generate": Generate,
    "classify": Classify,
}
"""Sections a preset can hold, by name: one line a section."""

TOP_LEVEL = ("datasets", "seeds", "device", "preset", "sources", "presets")


class Settings(Section):
    """Everything resolved for one data set."""

    extract: ExtractSettings
    select: Select
    finetune: Finetune
    train: Train
    generate: Generate
    classify: Classify

    def section(self, *names: str) -> dict[str, Any]:
        """Some sections as plain data, to be stored in an artifact."""
        return {name: json.loads(getattr(self, name).model_dump_json()) for name in names}

    def candidates(self) -> dict[str, list[int]]:
        """What `select` tries of each number that is null here, and the number itself where it is given."""
        tried = self.select
        return {
            "train.epochs": [self.train.epochs] if self.train.epochs else sorted(tried.train_epochs),
            "generate.per_unseen": [self.generate.per_unseen] if self.generate.per_unseen else sorted(tried.per_unseen),
            "classify.epochs": [self.classify.epochs] if self.classify.epochs else sorted(tried.classify_epochs),
        }

    def chosen(self) -> set[str]:
        """The parameters that `select` really chooses on validation classes; what else it writes down is given."""
        calibration = {"classify.calibration"} if self.classify.calibration is None else set()
        return calibration | {name for name, values in self.candidates().items() if len(set(values)) > 1}

    def chosen_and_given(self, selected: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
        """What `select` wrote, by dotted name: the values chosen on validation classes, and those given."""
        sections = ("train", "generate", "classify")
        values = {f"{name}.{key}": value for name in sections for key, value in selected.get(name, {}).items()}
        chosen = {name: value for name, value in values.items() if name in self.chosen()}
        return chosen, {name: value for name, value in values.items() if name not in chosen}

    def with_chosen(self, path: Path) -> "Settings":
        """Fill what is null here with what `select` wrote to `path`. Raises ZSLError when that file is missing."""
        return self.filled(read_json(path))

    def filled(self, chosen: Mapping[str, Any]) -> "Settings":
        """Fill what is null here with what `select` chose."""
        filled = {}
        for name in ("train", "generate", "classify"):
            section: BaseModel = getattr(self, name)
            own = section.model_dump()
            update = {key: value for key, value in chosen[name].items() if own[key] is None}
            filled[name] = section.model_copy(update=update)
        return self.model_copy(update=filled)


class Params:
    """The parameters of a run, as read from a file."""

    def __init__(self, raw: Mapping[str, Any], file: Path = PARAMS_FILE) -> None:
        self.raw, self.file = raw, file
        for name in raw:
            if name not in TOP_LEVEL and name not in SECTIONS and name not in EXTRA_SECTIONS:
                raise ZSLError(f"{file}: {unknown('parameter', str(name), [*TOP_LEVEL, *SECTIONS, *EXTRA_SECTIONS])}")

    @cached_property
    def datasets(self) -> list[str]:
        """Names of the data sets the pipeline runs on."""
        return [str(name) for name in self._list("datasets", str)]

    @cached_property
    def seeds(self) -> list[int]:
        """Seeds of the runs; results are means over them."""
        seeds = self._list("seeds", int)
        if min(seeds) < 0 or len(set(seeds)) != len(seeds):
            raise ZSLError(f"{self.file}: seeds {seeds}; give different whole numbers from 0 up")
        return seeds

    @property
    def device(self) -> str:
        """`auto`, `cpu`, `cuda` or `cuda:N`."""
        return str(self.raw.get("device", "auto"))

    @property
    def preset(self) -> str:
        """Which preset of each data set holds: `best` or `paper`."""
        return str(self.raw.get("preset", "best"))

    def source(self, dataset: str) -> dict[str, Any]:
        """Where a data set comes from. Raises ZSLError for an unknown one."""
        sources = self.section("sources")
        if dataset not in sources:
            raise ZSLError(f"{self.file}: {unknown('data set', dataset, sources)}; add one with `zsl import`")
        return dict(self._mapping(f"sources.{dataset}", sources[dataset]))

    def resolve(self, dataset: str, over: Mapping[str, Any] | None = None) -> Settings:
        """The settings of one data set: explicit values over its preset over the defaults.

        over: sections whose values win over all of these, for a variant of the run.
        """
        presets = self.section("presets")
        if dataset not in presets:
            raise ZSLError(f"{self.file}: {unknown('preset', dataset, presets)}; presets.{dataset} is missing")
        own = self._mapping(f"presets.{dataset}", presets[dataset])
        if self.preset not in own:
            raise ZSLError(f"{self.file}: preset: {unknown('preset', self.preset, own)}")
        preset = self._mapping(f"presets.{dataset}.{self.preset}", own[self.preset])
        over = over or {}
        for where, names in ((f"presets.{dataset}.{self.preset}", preset), ("overrides", over)):
            for name in names:
                if name not in SECTIONS:
                    raise ZSLError(f"{self.file}: {where}: {unknown('section', name, SECTIONS)}")
        values = {}
        for name, model in SECTIONS.items():
            layers = (preset.get(name), self.raw.get(name), over.get(name))
            merged = reduce(merge, (self._mapping(name, layer) for layer in layers))
            values[name] = validate(model, merged, f"{self.file}: {name} (data set '{dataset}')")
        settings = Settings(**values)
        if settings.classify.feedback and not settings.train.feedback:
            raise ZSLError(
                f"{self.file}: data set '{dataset}': classify.feedback needs the mapping R that train.feedback trains; "
                "set train.feedback above 0, or classify.feedback to 0"
            )
        if settings.classify.seen != "real" and not settings.generate.per_seen:
            raise ZSLError(
                f"{self.file}: data set '{dataset}': classify.seen: {settings.classify.seen} learns seen classes from "
                "synthetic features, but generate.per_seen is 0; set it above 0, or classify.seen to real"
            )
        return settings

    def extra(self, name: str, model: type[BaseModel], dataset: str | None = None) -> Any:
        """A section that stands outside the presets (experiments, gate), validated.

        dataset: what the section's `datasets` gives for it wins over the section's other values.
        """
        values, where = dict(self.section(name)), f"{self.file}: {name}"
        own = self._mapping(f"{name}.datasets", values.pop("datasets", None)) if dataset is not None else {}
        for given in own:
            if given not in (known := self.section("presets")):
                raise ZSLError(f"{where}.datasets: {unknown('data set', given, known)}")
        found: dict[str | None, Any] = {None: validate(model, merge({}, values), where)}
        for given, over in own.items():
            over = self._mapping(f"{name}.datasets.{given}", over)
            found[given] = validate(model, merge(values, over), f"{where}.datasets.{given}")
        return found.get(dataset, found[None])

    def section(self, name: str) -> Mapping[str, Any]:
        """The values that hold for every data set in a section; none where it is left out."""
        return self._mapping(name, self.raw.get(name))

    def _mapping(self, name: str, value: Any) -> Mapping[str, Any]:
        if value is not None and not isinstance(value, Mapping):
            raise ZSLError(f"{self.file}: {name} is {value!r}; give names and values")
        for key in value or {}:
            if not isinstance(key, str):
                raise ZSLError(f"{self.file}: {name}: the name {key!r} is not text; put it in quotes")
        return value or {}

    def _list(self, name: str, kind: type) -> list[Any]:
        values = self.raw.get(name)
        if not isinstance(values, list) or not values or any(type(value) is not kind for value in values):
            raise ZSLError(f"{self.file}: {name} is {values!r}; give a list with at least one {kind.__name__}")
        return values


EXTRA_SECTIONS: dict[str, str] = {
    "tsne": "zslcore.settings:TSNESettings",
    "ablation": "zslcore.evaluation.ablation:AblationSettings",
    "clusterability": "zslcore.settings:ClusterabilitySettings",
    "fewshot": "zslcore.settings:FewshotSettings",
    "compare": "zslcore.evaluation.compare:CompareSettings",
    "tune": "zslcore.evaluation.study:TuneSettings",
    "mining": "zslcore.evaluation.mining:MiningStudy",
    "gate": "zslcore.gate:GateSettings",
}
"""Sections that stand outside the presets, each validated by the stage that reads it: name -> "module:model"."""


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Read and check a parameters file. Raises ZSLError naming the file and what is wrong in it."""
    return Params(read_yaml(path, _check_events), path)


def read_yaml(path: Path, check: Callable[[Path, str], None] | None = None) -> dict[str, Any]:
    """The names and values in a YAML file, once `check` has let its text pass. Raises ZSLError naming the file."""
    try:
        text = path.read_text(encoding="utf-8")
        if check is not None:
            check(path, text)
        raw = YAML(typ="safe", pure=True).load(text)
    except FileNotFoundError as error:
        raise ZSLError(f"{path}: no such file; run the command in the project's folder") from error
    except (YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ZSLError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ZSLError(f"{path}: expected names and values, found {type(raw).__name__}")
    return raw


def _check_events(path: Path, text: str) -> None:
    """Refuse aliases, which make a short file stand for values without end, and depth, which takes time without end."""
    depth = 0
    for event in YAML(pure=True).parse(text):
        line = event.start_mark.line + 1
        if isinstance(event, AliasEvent):
            raise ZSLError(f"{path}: line {line}: aliases (*{event.anchor}) are not read; write the value out")
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ZSLError(f"{path}: line {line}: more than {MAX_DEPTH} levels; not valid YAML for parameters")


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` on top of `base`, key by key; null in either leaves the value to the next one down."""
    merged = {name: value for name, value in base.items() if value is not None}
    for name, value in over.items():
        if isinstance(value, Mapping):
            inner = merged.get(name, {})
            merged[name] = merge(inner if isinstance(inner, Mapping) else {}, value)
        elif value is not None:
            merged[name] = value
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


def validate(model: type[BaseModel], values: Mapping[str, Any], where: str) -> Any:
    """Build a settings model; ZSLError with every problem on a line of its own, and did-you-mean for names."""
    try:
        return model(**values)
    except ValidationError as error:
        lines = [_explain(model, problem) for problem in error.errors()]
        raise ZSLError("\n".join(f"{where}: {line}" for line in lines)) from error


def explain(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """(dotted name, default, meaning) of every parameter of a section, nested ones too."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from explain(field.annotation, f"{prefix}{name}.")
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
    return f"{path} is {problem['input']!r}: {problem['msg'].removeprefix('Value error, ')}"


def _fields(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    for name in path:
        inner = model.model_fields[str(name)].annotation if str(name) in model.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
