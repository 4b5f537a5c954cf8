"""The `zsl` command: every stage as a subcommand. Stage modules import torch and their like only when they run."""

import logging
import sys
from importlib import import_module

import typer

from stages.common import run

COMMANDS: dict[str, str] = {
    "import": "stages.import_data",
    "prepare": "stages.prepare",
    "extract": "stages.extract",
    "select": "stages.select",
    "finetune": "stages.finetune",
    "train": "stages.train",
    "generate": "stages.generate",
    "classify": "stages.classify",
    "evaluate": "stages.evaluate",
    "tsne": "stages.tsne",
    "report": "stages.report",
    "params": "stages.params",
    "tune": "stages.tune",
    "sweep": "stages.sweep",
    "gate": "stages.gate",
    "inspect": "stages.inspect",
    "ablation": "stages.ablation",
    "clusterability": "stages.clusterability",
    "fewshot": "stages.fewshot",
    "compare": "stages.compare",
    "clip": "stages.clip",
    "new-method": "stages.new_method",
    "metric-learning": "stages.metric_learning",
    "mining": "stages.mining",
}
"""Name -> module with a `command` function, or a typer `app` where there are subcommands: one line each."""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Zero-shot learning one can re-run. `dvc repro` runs the stages; each can be run by hand too.",
)


@app.callback()
def options(debug: bool = typer.Option(False, "--debug", help="Show tracebacks.")) -> None:
    """Options of every command."""


for name, module_name in COMMANDS.items():
    module = import_module(module_name)
    if hasattr(module, "app"):
        app.add_typer(module.app, name=name)
    else:
        app.command(name)(module.command)


def main() -> None:
    """Entry point of the `zsl` command."""
    debug = "--debug" in sys.argv
    logging.getLogger("zslcore").setLevel(logging.INFO)
    # The handler of last resort finds the stderr that a progress bar has put in place, so that lines stand above the
    # bar; one at the root would also say again what other libraries say by handlers of their own.
    if logging.lastResort is not None:
        logging.lastResort.setLevel(logging.INFO)
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    run(app, debug)


if __name__ == "__main__":
    main()
