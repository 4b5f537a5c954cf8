"""Imported, it has hashed the code of every stage, each module by its text, so that a process forked then need not."""

from stages.commands import STAGES
from zslcore.datasets import registry
from zslcore.methods.registry import METHODS
from zslcore.project.code import code_hash

REACHED = (registry.target("birds"), *METHODS.values())
code_hash(*STAGES.values(), *(target.partition(":")[0] for target in REACHED))
