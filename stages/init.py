"""`zsl init`: a repository of one's own, whose stages run the installed package."""

import os
import shutil
from contextlib import chdir
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from zslcore.errors import ZSLError
from zslcore.project import template
from zslcore.project.belongings import removal
from zslcore.project.params import Params

from .common import say

BIRDS = "birds"
app = typer.Typer(add_completion=False)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def command(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="A new or an empty folder.")] = Path(),
    images: Annotated[
        Path | None,
        typer.Option(
            help="A folder of images; any option of `zsl import folder` may follow: --descriptions, --unseen, --name … "
            "Default: the drawn birds."
        ),
    ] = None,
) -> None:
    """Make a project of one's own: git, DVC, settings, a workflow of CI with the gate, and a data set."""
    if find_spec("dvc") is None:
        raise ZSLError("a project runs on DVC: pip install 'zslcore[pipeline]'")
    if str(folder).startswith("-"):
        raise ZSLError("name the folder first: zsl init FOLDER --images PHOTOS, then what `zsl import folder` takes")
    if images is None and context.args:
        raise ZSLError(f"unknown argument {context.args[0]!r}; options of `zsl import folder` need --images")
    arguments = [] if images is None else ["--images", str(images.resolve()), *_absolute(context.args)]
    template.check_empty(folder)
    there = folder.exists()
    before = set(folder.iterdir()) if there else set()
    try:
        template.write(folder)
        if images is not None:
            with chdir(folder):
                _import(arguments)
            template.commit(folder, "Data set: the images of `zsl init`")
    except BaseException:
        _clear(folder, before, there)
        raise
    say(f"{folder}: a project of zslcore, all of it committed. Next: cd {folder}, dvc repro; README.md says more")


def _import(arguments: list[str]) -> None:
    """The folder's images as the one data set."""
    from typer.main import get_command

    from . import import_data

    names = Params().datasets
    get_command(import_data.app).main(["folder", *arguments], "zsl import", standalone_mode=False)
    if Params().datasets != names:  # else it was a --dry-run, say
        removal(Params(), BIRDS).carry_out()


def _absolute(arguments: list[str]) -> list[str]:
    """Arguments with those that are paths from here as paths from anywhere; the data set's name is none."""
    found = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        option, equals, value = argument.partition("=")
        if before == "--name" or option == "--name" or not Path(value if equals else argument).exists():
            found.append(argument)
        else:
            found.append(f"{option}={Path(value).resolve()}" if equals else str(Path(argument).resolve()))
    return found


def _clear(folder: Path, before: set[Path], there: bool) -> None:
    """Leave a folder as `check_empty` found it."""
    for path in set(folder.iterdir() if folder.is_dir() else ()) - before:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if before:  # .git, without commits
        template.forget(folder)
    if not there and folder.is_dir():
        os.rmdir(folder)
