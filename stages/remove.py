"""`zsl remove`: a data set goes whole: its files, what was made of them, and its lines in the project's files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from zslcore.errors import ZSLError
from zslcore.project.belongings import Plan, removal
from zslcore.project.git import in_git, not_in_git
from zslcore.project.params import DATA, Params

from .common import say, say_git_add

Name = Annotated[str, typer.Argument(help="Name of the data set.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def command(name: Name, yes: Yes = False) -> None:
    """Remove a data set: from the list, its files, artifacts and results. Lists all of it and asks first."""
    plan = removal(Params(), name)
    lost, tracked = not_in_git(plan.touched), in_git(plan.touched)
    dvc_file = DATA / f"{name}.dvc"
    targets = ["dvc.yaml", *([str(dvc_file)] if dvc_file.exists() else [])]
    if lost is None:
        say("note: no git repository here; nothing brings the files back")
    elif lost:
        more = f" and {len(lost) - 10} more" if len(lost) > 10 else ""
        say(f"note: git lacks these as they are now, commit them to be able to return: {_listed(lost[:10])}{more}")
    confirm(plan, yes, f"remove {name}")
    plan.carry_out()
    say(
        f"{name}: removed; DVC's cache keeps the files it had until `dvc gc`; the report is without it after "
        "`dvc repro`"
    )
    if tracked:
        say(f"back: git checkout -- {_listed(tracked)} && dvc checkout {' '.join(targets)}")
    say_git_add()


def confirm(plan: Plan, yes: bool, what: str) -> None:
    """Show a plan and ask for consent. Raises ZSLError without it."""
    say("\n".join(plan.lines()))
    if not yes and not typer.confirm(f"{what}?", err=True):
        raise ZSLError("nothing is changed")


def _listed(paths: Sequence[Path]) -> str:
    return " ".join(map(str, paths))
