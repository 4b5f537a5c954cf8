"""What the commands share: how they speak, and how they end."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zslcore.errors import BadFile, ZSLError, printable
from zslcore.io.extras import missing
from zslcore.project.git import git_add_line
from zslcore.project.remedies import remedy

if TYPE_CHECKING:
    from rich.table import Table

INTERRUPTED = 130
"""The exit code that typer makes of Ctrl-C."""

DatasetName = Annotated[str, typer.Argument(help="Name of the data set, as in params.yaml.")]
Weights = Annotated[
    str | None, typer.Option(help="The backbone's weights, where the model's file has none: file:PATH.")
]
TrustedBackbone = Annotated[
    str | None, typer.Option(help="A backbone outside timm, package.module:function, which you trust to run.")
]


def listed(names: str) -> list[str]:
    """The names in a list by commas."""
    return [name.strip() for name in names.split(",")]


def say(message: str) -> None:
    """Lines for the person at the terminal, on standard error."""
    print("\n".join(map(printable, message.split("\n"))), file=sys.stderr, flush=True)


def say_git_add(*always: str) -> None:
    """The line that adds to git what commands and stages have written; nothing where there is nothing new."""
    if line := git_add_line(*always):
        say(f"to record it in git: {line}")


WIDE = 10_000
"""Columns where there is no terminal: more than any table has."""


def print_table(table: "Table") -> None:
    """Print a table to standard output: nothing of it is cut, and without a terminal no line is broken either."""
    from rich.console import Console  # a tenth of a second of every command's start

    for column in table.columns:
        column.overflow = "fold"
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)


def run(command: Callable[[], Any], debug: bool = False) -> None:
    """Run a command line; an error meant for people is printed without a traceback, exit code 1."""
    try:
        command()
    except ZSLError as error:
        if debug:
            raise
        say(
            f"error: {error.path}: {error.problem}; {remedy(error)}"
            if isinstance(error, BadFile)
            else f"error: {error}"
        )
        raise SystemExit(1) from error
    except ModuleNotFoundError as error:
        if debug or (needed := missing(error)) is None:
            raise
        say(f"error: {needed}")
        raise SystemExit(1) from error
    except SystemExit as end:
        if end.code == INTERRUPTED:
            say("interrupted; outputs that were complete are kept")
        raise
    except RuntimeError as error:  # torch's own, by name: importing torch takes seconds
        too_much = type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error)
        if debug or not too_much:
            raise
        say(f"error: the device has too little memory; use a smaller batch_size, or another device ({error})")
        raise SystemExit(1) from error
    except (OSError, MemoryError) as error:
        if debug:
            raise
        say(f"error: {type(error).__name__}: {error}; use --debug for the traceback")
        raise SystemExit(1) from error
