"""What code a stage runs, for one data set: its module's imports, and what it reaches through a registry."""

from collections.abc import Iterable

from zslcore.datasets import registry as kinds
from zslcore.methods import registry as methods
from zslcore.project.code import code_hash
from zslcore.project.params import Resolved

from .commands import STAGES, TUNED_BACKBONE

REACHED: dict[str, Iterable[str]] = {
    **dict.fromkeys(("compare", "grid"), methods.METHODS),
    **dict.fromkeys(("metric-learning", "mining"), ("metric-learning", "eszsl")),
}
"""Methods that the stages of experiments reach by name."""


def code_of(stage: str, resolved: Resolved) -> str:
    """A hash of all code that a stage runs, for one data set."""
    return code_hash(STAGES[stage], *reached(stage, resolved))


def reached(stage: str, resolved: Resolved) -> list[str]:
    """Modules that a stage reaches through a registry."""
    if stage in ("prepare", "report"):
        return [kinds.target(resolved.source["kind"]).partition(":")[0]]
    if stage == "extract":
        tuned = [TUNED_BACKBONE] if resolved.pipeline.finetune.level == "backbone" else []
        named = (*tuned, resolved.pipeline.extract.backbone)  # a backbone of another package has a colon, too
        return [name.partition(":")[0] for name in named if ":" in name]
    return [methods.target(name).partition(":")[0] for name in REACHED.get(stage, ())]
