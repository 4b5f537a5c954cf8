"""The code each DVC stage runs, as the closure of its imports: `python -m stages.code_deps` writes it into dvc.yaml.

An edited loss then re-runs what it touches, and nothing else. A test holds dvc.yaml against this closure.
"""

from typing import Any

from ruamel.yaml import YAML

from stages.compare import GIVEN
from zslcore.closure import ROOT, closure
from zslcore.datasets.registry import SOURCES
from zslcore.methods.registry import METHODS
from zslcore.params import read_yaml

_SOURCES = tuple(target.partition(":")[0] for target in SOURCES.values())
BY_HAND: dict[str, tuple[str, ...]] = {
    "stages.prepare": _SOURCES,
    "stages.report": _SOURCES,
    "stages.compare": tuple(METHODS[name].partition(":")[0] for name in read_yaml(ROOT / GIVEN)),
    "stages.metric_learning": ("zslcore.methods.metric_learning", "zslcore.methods.eszsl"),
    "stages.mining": ("zslcore.methods.metric_learning", "zslcore.methods.eszsl"),
}
"""Modules a stage reaches through a registry, by stage module: their closures are dependencies too."""


def code(module: str) -> list[str]:
    """What a stage's dependencies must list: its closure, and the closures of what it reaches through a registry."""
    return closure(module, *BY_HAND.get(module, ()))


def module_of(stage: dict[str, Any]) -> str:
    """The module a stage's command runs: `python -m stages.cli train ...` is stages.train."""
    return "stages." + stage["cmd"].partition(" stages.cli ")[2].split()[0].replace("-", "_")


def main() -> None:
    """Rewrite the code dependencies in each dvc.yaml; everything else in it stays as it is."""
    yaml = YAML()
    yaml.width = 1000
    for file in (ROOT / "dvc.yaml", *ROOT.glob("*/dvc.yaml")):
        pipeline = yaml.load(file.read_text(encoding="utf-8"))
        for stage in pipeline["stages"].values():
            kept = [dep for dep in stage["deps"] if not str(dep).endswith(".py")]
            stage["deps"] = [*kept, *code(module_of(stage))]
        with file.open("w", encoding="utf-8") as out:
            yaml.dump(pipeline, out)


if __name__ == "__main__":
    main()
