"""`zsl upgrade`: what the installed package's template changes in a project that `zsl init` made."""

from typing import Annotated

import typer

from zslcore.project import template

from .common import say


def command(
    apply: Annotated[bool, typer.Option("--apply", help="Merge the changes, as git does.")] = False,
) -> None:
    """Show what a newer zslcore changes in the project's files, and merge it with --apply."""
    commits = template.newer()
    if commits is None:
        say("the project's files are those of this zslcore's template, but for what was edited here")
        return
    if not apply:
        print(template.difference(*commits))
        say("nothing was changed; zsl upgrade --apply merges this")
        return
    template.merge(commits[1])
    say("merged; back: git reset --merge HEAD~1. Next: dvc repro, which runs the stages whose code or settings changed")
