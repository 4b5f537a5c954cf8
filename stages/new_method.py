"""Command `new-method`: a template for a method and its test."""

from pathlib import Path
from typing import Annotated

import typer

from stages.common import say


def command(name: Annotated[str, typer.Argument(help="Small letters, digits and hyphens, as in 'my-method'.")]) -> None:
    """Write a minimal method that already runs, its registry line and its test; run it in the project's folder."""
    from zslcore.methods.new_method import create

    files = create(name, Path())
    say("\n".join(f"wrote {file}" for file in files))
    own = name.replace("-", "_")
    say(f"next: python -m pytest tests/methods -k '{own} or {name}'; zsl compare --methods {name}")
