"""`zsl rename`: a data set gets another name, whole: its files, what was made of them, the project's files."""

from pathlib import Path
from typing import Annotated

import typer

from zslcore.project.belongings import LOCKS, rename_study, renaming
from zslcore.project.names import check_name
from zslcore.project.params import Params

from .common import say, say_git_add
from .remove import Yes, confirm


def command(
    old: Annotated[str, typer.Argument(help="Present name of the data set.")],
    new: Annotated[str, typer.Argument(help="Its new name: letters, digits, - and _.")],
    yes: Yes = False,
) -> None:
    """Rename a data set: in the list, its files, artifacts and results. Lists all of it and asks first."""
    params = Params()
    plan = renaming(params, old, new)
    check_name(params, new, replace=False)
    confirm(plan, yes, f"rename {old} to {new}")
    plan.carry_out()
    rename_study(Path(), new)
    say(
        f"{old}: renamed to {new}. Next: dvc repro, which recomputes all of it but the features of images; "
        "those are in .zsl/features"
    )
    locks = " ".join(str(path) for path in LOCKS if path in plan.touched)
    say(f"back: zsl rename {new} {old}" + (f" && git checkout -- {locks} && dvc checkout dvc.yaml" if locks else ""))
    say_git_add()
