"""The settings of a data set, out of four layers; params.yaml says at its top which of them wins."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from zslcore.errors import ZSLError, unknown
from zslcore.experiments import settings as experiments
from zslcore.io.layers import flat, merge, validate
from zslcore.io.yaml import read_yaml
from zslcore.settings import Section, Settings

PARAMS_FILE = Path("params.yaml")
EXPERIMENTS_FILE = Path("experiments/params.yaml")
PRESETS = Path("presets")
DATA = Path("data")
AS_LOADED = "as loaded"
"""What stands for a backbone that is not fine-tuned."""
BEST = "best"
"""The preset that has no file: params.yaml as it stands."""

PIPELINE: dict[str, type[BaseModel]] = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}
SECTIONS: dict[str, type[BaseModel]] = {**PIPELINE, **experiments.SECTIONS}
"""Every section that a data set's settings have."""


TOP_LEVEL = ("datasets", "seeds", "device", "preset", *PIPELINE, "gate", "override")


@dataclass(frozen=True)
class Layer:
    """Values of some sections, and the file they stand in."""

    where: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Resolved:
    """The settings of one data set, as they run.

    source: where the data set comes from. pipeline: of the main run. experiments: section of an experiment by name.
    """

    dataset: str
    preset: str
    device: str
    seeds: tuple[int, ...]
    source: Mapping[str, Any]
    pipeline: Settings
    experiments: Mapping[str, Section]

    def plain(self) -> dict[str, Any]:
        """All of it as plain data."""
        sections = {
            name: json.loads(section.model_dump_json(exclude_none=True)) for name, section in self.experiments.items()
        }
        top = {"preset": self.preset, "device": self.device, "seeds": list(self.seeds), "source": dict(self.source)}
        return {**top, **_plain(self.pipeline), **sections}

    def stored(self) -> dict[str, Any]:
        """What the file holds of it, and so what DVC compares: the seeds in one line, and the hashes of settings."""
        seeds = ", ".join(map(str, self.seeds))  # a list takes a line a seed in dvc.lock
        return {**self.plain(), "seeds": seeds, "fit": self.fit, "backbone": self.backbone}

    @property
    def fit(self) -> str:
        """A hash of all settings that shape a fit of the main method, for stages that make fits of their own."""
        shaping = self.pipeline.model_dump_json(include={"finetune", "train", "generate", "classify"})
        return hashlib.sha256(f"{self.device} {shaping}".encode()).hexdigest()[:16]

    @property
    def backbone(self) -> str:
        """A hash of all settings that shape a fine-tuned backbone; a word where there is none."""
        if self.pipeline.finetune.level == "features":
            return AS_LOADED
        shaping = self.pipeline.model_dump_json(
            include={"finetune": True, "signatures": True, "select": {"splits": True, "seed": True}}
        )
        return hashlib.sha256(shaping.encode()).hexdigest()[:16]

    @classmethod
    def of(cls, dataset: str, values: Mapping[str, Any], where: Callable[[str], str]) -> "Resolved":
        """What `plain` gave. where: dotted name -> the file to name in messages. Raises ZSLError for bad values."""
        of_pipeline = {name: values[name] for name in PIPELINE if name in values}
        return cls(
            dataset,
            str(values["preset"]),
            str(values["device"]),
            tuple(values["seeds"]),
            values["source"],
            validate(Settings, of_pipeline, where),
            {
                name: validate(model, values[name], _inside(name, where))
                for name, model in experiments.SECTIONS.items()
                if name in values
            },
        )


class Params:
    """The settings in a project's folder, by data set.

    Raises ZSLError where params.yaml is missing, no YAML, or has names that nothing reads.
    """

    def __init__(self, root: Path = Path()) -> None:
        self.root = root
        self.raw = read_yaml(root / PARAMS_FILE, aliases=False)
        for name in self.raw:
            if name not in TOP_LEVEL:
                raise ZSLError(f"{PARAMS_FILE}: {unknown('parameter', str(name), TOP_LEVEL)}")

    @cached_property
    def datasets(self) -> list[str]:
        """Names of the data sets the pipeline runs on."""
        names = self._list("datasets", str)
        if len(set(names)) != len(names):
            raise ZSLError(f"{PARAMS_FILE}: datasets {names}; name each once")
        return names

    @cached_property
    def seeds(self) -> list[int]:
        """Seeds of the runs; results are means over them."""
        seeds = self._list("seeds", int)
        if min(seeds) < 0 or len(set(seeds)) != len(seeds):
            raise ZSLError(f"{PARAMS_FILE}: seeds {seeds}; give different whole numbers from 0 up")
        return seeds

    @property
    def device(self) -> str:
        """`auto`, `cpu`, `cuda` or `cuda:N`; whether it is here is for those to see who use it."""
        device = self.raw.get("device", "auto")
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(device)):
            raise ZSLError(f"{PARAMS_FILE}: device is {device!r}; use auto, cpu, cuda or cuda:N")
        return str(device)

    @property
    def preset(self) -> str:
        """`best`, or the name of a file in presets/."""
        return str(self.raw.get("preset", BEST))

    def top(self, name: str) -> Mapping[str, Any]:
        """What stands in params.yaml under `gate` or `override`; nothing where it is left out."""
        return _mapping(f"{PARAMS_FILE}: {name}", self.raw.get(name))

    @property
    def presets(self) -> list[str]:
        """Names that `preset` may have."""
        return [BEST, *sorted(path.stem for path in (self.root / PRESETS).glob("*.yaml"))]

    def known(self) -> list[str]:
        """Names of the data sets that have a file with a source."""
        files = sorted((self.root / DATA).glob("*.yaml"))
        return [path.stem for path in files if "source" in read_yaml(path, aliases=False)]

    def source(self, dataset: str) -> dict[str, Any]:
        """Where a data set comes from. Raises ZSLError for an unknown one, with the nearest known name."""
        file = data_file(dataset)
        values = self._read(file)
        if "source" not in values:
            raise ZSLError(f"{file}: {unknown('data set', dataset, self.known())}; add one with `zsl import`")
        return dict(_mapping(f"{file}: source", values["source"]))

    def layers(self, dataset: str) -> list[Layer]:
        """What stands where, from the weakest to the strongest.

        Raises ZSLError for a section that nothing reads, wherever it stands.
        """
        if self.preset not in self.presets:
            raise ZSLError(f"{PARAMS_FILE}: preset: {unknown('preset', self.preset, self.presets)}")
        layers = [
            Layer(str(PARAMS_FILE), {name: self.raw[name] for name in PIPELINE if name in self.raw}),
            Layer(str(EXPERIMENTS_FILE), self._read(EXPERIMENTS_FILE)),
        ]
        if self.preset != BEST:
            layers.append(Layer(str(preset_file(self.preset)), self._read(preset_file(self.preset))))
        file = data_file(dataset)
        values = self._read(file)
        values.pop("source", None)
        of_preset = {name: _mapping(f"{file}: {name}", values.pop(name)) for name in self.presets if name in values}
        unused = [Layer(f"{file}: {name}", of_preset[name]) for name in of_preset if name != self.preset]
        layers += [Layer(str(file), values), Layer(f"{file}: {self.preset}", of_preset.get(self.preset, {}))]
        layers.append(Layer(f"{PARAMS_FILE}: override", self.top("override")))
        for layer in (*layers, *unused):
            for name, section in layer.values.items():
                if name not in SECTIONS:
                    presets = self.presets if layer.where == str(file) else []
                    raise ZSLError(f"{layer.where}: {unknown('section', str(name), [*SECTIONS, *presets])}")
                _mapping(f"{layer.where}: {name}", section)
        return layers

    def resolve(self, dataset: str) -> Resolved:
        """Every value of every section for one data set. Raises ZSLError naming the file that holds a bad one."""
        layers = self.layers(dataset)
        empty: Mapping[str, Any] = {}
        values = reduce(merge, (layer.values for layer in layers), empty)
        origins = {name: layer.where for layer in layers for name in flat(layer.values)}

        def where(path: str) -> str:
            parts = path.split(".")  # of a list's item, the file is that of the list
            known = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
            file = next((origins[name] for name in known if name in origins), data_file(dataset))
            return f"{file} (data set '{dataset}')"

        top = {"preset": self.preset, "device": self.device, "seeds": self.seeds, "source": self.source(dataset)}
        return Resolved.of(dataset, {**values, **top}, where)

    def origins(self, dataset: str) -> dict[str, str]:
        """Dotted name of each value that stands in a file -> that file; the strongest where several do."""
        return {name: layer.where for layer in self.layers(dataset) for name in flat(layer.values)}

    def _read(self, file: Path) -> dict[str, Any]:
        """What stands in a file; nothing where there is none."""
        return read_yaml(self.root / file, aliases=False) if (self.root / file).exists() else {}

    def _list(self, name: str, kind: type) -> list[Any]:
        values = self.raw.get(name)
        if not isinstance(values, list) or not values or any(type(value) is not kind for value in values):
            one = {str: "name", int: "whole number"}[kind]
            raise ZSLError(f"{PARAMS_FILE}: {name} is {values!r}; give at least one {one}, each on a line after `- `")
        return values


def _inside(section: str, where: Callable[[str], str]) -> Callable[[str], str]:
    """The same places for names within a section."""
    return lambda path: f"{where(f'{section}.{path}')}: {section}"


def data_file(dataset: str) -> Path:
    """Where a data set's source and settings stand."""
    return DATA / f"{dataset}.yaml"


def preset_file(name: str) -> Path:
    """Where the values of a preset stand."""
    return PRESETS / f"{name}.yaml"


def _mapping(where: str, value: Any) -> Mapping[str, Any]:
    """Names and values, empty where there is none. Raises ZSLError for anything else, at any depth for other names."""
    if value is not None and not isinstance(value, Mapping):
        raise ZSLError(f"{where} is {value!r}; give names and values")
    for key in value or {}:
        if not isinstance(key, str):
            raise ZSLError(f"{where}: the name {key!r} is not text; put it in quotes")
    return value or {}


def _plain(section: BaseModel) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(section.model_dump_json(exclude_none=True))
    return values
