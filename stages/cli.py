"""The `zsl` command: every stage and tool as a subcommand, whose module is imported only when it is called."""

import ast
import logging
import os
import sys
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from zslcore.compute.cores import at_once, one_heap

from .commands import STAGES, TOOLS, imported
from .common import run

COMMANDS = {**STAGES, **TOOLS}


class Lazy(TyperGroup):
    """Imports the module of the command that is called, and of no other."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Every command, in the order of the tables."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, name: str) -> Any:
        """What the list of commands shows of one: its name, and the first line of its docstring."""
        return TyperCommand(name, help=_help(COMMANDS[name])) if name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, whole."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and _load(COMMANDS[str(name)]), rest


def _load(module_name: str) -> Any:
    module = imported(module_name)
    if hasattr(module, "app"):
        return get_command(module.app)
    app = typer.Typer(add_completion=False)
    app.command()(module.command)
    return get_command(app)


def _help(module_name: str) -> str:
    """The docstring of a module's `command`, or else its own, read without importing it."""
    file = Path(__file__).with_name(f"{module_name.removeprefix('stages.')}.py")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "command")
    return ast.get_docstring(next(functions, tree)) or ""  # type: ignore[arg-type]


app = typer.Typer(
    cls=Lazy,
    add_completion=False,
    no_args_is_help=True,
    help="Zero-shot learning one can re-run. `dvc repro` runs the stages; each can be run by hand too.",
)


@app.callback()
def options(
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
    jobs: str | None = typer.Option(
        None, "--jobs", help="Fits that run at once; default: ZSL_JOBS, else one a core. Changes no result."
    ),
) -> None:
    """Options of every command."""
    if jobs is not None:
        os.environ["ZSL_JOBS"] = jobs
        at_once()  # refuses what is no number of jobs, whatever the command


def main() -> None:
    """Entry point of the `zsl` command."""
    one_heap()
    debug = "--debug" in sys.argv
    logging.getLogger("zslcore").setLevel(logging.INFO)
    # The handler of last resort finds the stderr that a progress bar has put in place, so that lines stand above the
    # bar; one at the root would also repeat what other libraries say by handlers of their own.
    if logging.lastResort is not None:
        logging.lastResort.setLevel(logging.INFO)
    if not (debug or sys.warnoptions):
        logging.captureWarnings(True)  # other libraries' warnings, to a log that nobody reads
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    if "--jobs" in sys.argv[2:]:  # behind the command, too
        at = sys.argv.index("--jobs")
        sys.argv[1:] = [*sys.argv[at : at + 2], *sys.argv[1:at], *sys.argv[at + 2 :]]
    run(app, debug)


if __name__ == "__main__":
    main()
