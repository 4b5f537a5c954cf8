"""Every command by name: its file and one line here; a DVC stage stands in dvc.yaml too.

The wheel has this folder as `zslcore.stages`: files here import each other by `from .other import`, and `imported`
imports a name of the tables in either place.
"""

from importlib import import_module
from types import ModuleType

STAGES = {
    "prepare": "stages.prepare",
    "extract": "stages.extract",
    "select": "stages.select",
    "finetune": "stages.finetune",
    "train": "stages.train",
    "generate": "stages.generate",
    "classify": "stages.classify",
    "evaluate": "stages.evaluate",
    "package": "stages.package",
    "report": "stages.report",
    "ablation": "stages.ablation",
    "clusterability": "stages.clusterability",
    "tsne": "stages.tsne",
    "fewshot": "stages.fewshot",
    "compare": "stages.compare",
    "grid": "stages.grid",
    "metric-learning": "stages.metric_learning",
    "mining": "stages.mining",
}
"""DVC stages whose code `resolve` hashes: name -> module with a `command`."""
TUNED_BACKBONE = "zslcore.evaluation.tuned_backbone:extract_tuned"
"""What `extract` calls where `finetune.level` is `backbone`, by name, so that training is no part of its code else."""
TOOLS = {
    "init": "stages.init",
    "upgrade": "stages.upgrade",
    "import": "stages.import_data",
    "download": "stages.download",
    "doctor": "stages.doctor",
    "remove": "stages.remove",
    "rename": "stages.rename",
    "resolve": "stages.resolve",
    "params": "stages.params",
    "tune": "stages.tune",
    "sweep": "stages.sweep",
    "gate": "stages.gate",
    "inspect": "stages.inspect",
    "predict": "stages.predict",
    "clip": "stages.clip",
    "signatures": "stages.signatures",
    "serve": "stages.serve",
    "export": "stages.export",
}
"""Every other command: name -> module with a `command`, or with an `app` where there are subcommands (`import`)."""


def imported(module: str) -> ModuleType:
    """A module of the tables, `stages.train`, wherever this package stands."""
    return import_module(f".{module.removeprefix('stages.')}", __package__)
