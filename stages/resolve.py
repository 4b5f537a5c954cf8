"""Stage `resolve`: every setting of a data set as it runs, and a hash of each stage's code."""

from zslcore.datasets import registry as kinds
from zslcore.errors import ZSLError
from zslcore.io.artifacts import write_text
from zslcore.project.params import Params, data_file
from zslcore.project.resolved import settings_file, text_of

from .code import code_of
from .commands import STAGES
from .common import DatasetName, say


def command(dataset: DatasetName) -> None:
    """Write results/<name>/settings.yaml, unless it says all this already."""
    resolved = Params().resolve(dataset)
    kinds.source(resolved.source, f"{data_file(dataset)}: source")  # a mistake in it is named before anything runs
    if resolved.device.startswith("cuda"):
        from zslcore.training.device import resolve_device  # takes seconds

        try:
            resolve_device(resolved.device)
        except ZSLError as error:
            say(f"{dataset}: note: {error}; only --engine ray, on machines that have it, can go on")
    text = text_of(resolved, {name: code_of(name, resolved) for name in STAGES})
    path = settings_file(dataset)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    write_text(path, text)
    say(f"{dataset}: settings resolved to {path}")
