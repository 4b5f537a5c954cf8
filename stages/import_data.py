"""`zsl import`: a data set of one's own becomes part of the project: checked, copied, under DVC, in the settings."""

from collections.abc import Callable
from inspect import Parameter, Signature, cleandoc
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo

from zslcore.datasets import registry
from zslcore.datasets.source import Source
from zslcore.features.backbones import without_download
from zslcore.io.artifacts import write_text
from zslcore.project.edit import text_like, with_name, with_source, with_values
from zslcore.project.import_data import Planned, check_copies, check_ready, install_files, plan_copies, with_extras
from zslcore.project.names import check_name
from zslcore.project.params import DATA, PARAMS_FILE, Params, data_file

from .common import say, say_git_add
from .doctor import summary

Command = Callable[..., None]

Name = Annotated[str, typer.Option(help="What to call the data set: letters, digits, - and _.")]
Like = Annotated[
    str | None,
    typer.Option(help="Start from the settings of this data set; default: of the one NAME begins with, else none."),
]
Replace = Annotated[bool, typer.Option("--replace", help="Replace a data set of this name.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check it and say what is worth knowing; change nothing.")]
NoDVC = Annotated[bool, typer.Option("--no-dvc", help="Do not put the files under DVC (no `dvc add`).")]


def import_command(kind: str, source: type[Source]) -> Command:
    """The command that adds a data set of a kind; its options are the fields of the kind's `Source`.

    A path is an option, several paths are one that may be repeated, a bool that is off by default is a flag. Options
    that are not given leave a setting at its default.
    """
    left_out = {*source.settings_only, "described"}  # the latter is for `zsl signatures` to add
    fields = {name: field for name, field in source.model_fields.items() if name not in left_out}
    options = {name: _option(name, field) for name, field in fields.items()}
    signature = Signature(
        [
            *(option for option in options.values() if option.default is Parameter.empty),
            _parameter("name", Name),
            _parameter("like", Like, None),
            *(option for option in options.values() if option.default is not Parameter.empty),
            _parameter("replace", Replace, False),
            _parameter("no_dvc", NoDVC, False),
            _parameter("dry_run", DryRun, False),
        ]
    )

    def command(*arguments: Any, **options: Any) -> None:
        bound = signature.bind(*arguments, **options)
        bound.apply_defaults()
        given = bound.arguments
        raw = {name: None if given[name] is False or given[name] in ((), []) else given[name] for name in fields}
        raw["kind"] = kind
        add(given["name"], raw, given["like"], given["replace"], not given["no_dvc"], given["dry_run"])

    about = cleandoc(source.__doc__ or "").partition("\n")[0]
    command.__doc__ = f"Add {about[:1].lower()}{about[1:]}\n\n{source.downloads}"
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    return command


def _option(name: str, field: FieldInfo) -> Parameter:
    """The option of one field of a `Source`."""
    default = Parameter.empty if field.is_required() else field.default
    flag = [f"--{name.replace('_', '-')}"] if default is False else []  # and no --no-...
    annotation: Any = field.annotation
    if annotation == tuple[Path, ...]:
        annotation = list[Path]
    elif annotation not in (Path, Path | None, int, float, bool):
        annotation = str | None if default is None else str  # checked with the other settings, in plainer words
    return _parameter(name, Annotated[annotation, typer.Option(*flag, help=field.description)], default)


def _parameter(name: str, annotation: Any, default: Any = Parameter.empty) -> Parameter:
    return Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)


def _reads_files(source: type[Source]) -> bool:
    return any(field.annotation is Path for field in source.model_fields.values())


SOURCES = {kind: source for kind in registry.SOURCES if _reads_files(source := registry.get(kind))}
COMMANDS = {kind: import_command(kind, source) for kind, source in SOURCES.items()}
ABOUT = ["Add a data set to the project.", *(source.downloads for source in SOURCES.values() if source.downloads)]
app = typer.Typer(no_args_is_help=True, help="\n\n".join(ABOUT))
for kind, command in COMMANDS.items():
    app.command(kind)(command)


def add(name: str, raw: dict[str, Any], like: str | None, replace: bool, dvc: bool, dry_run: bool = False) -> None:
    """Check a data set, copy its files to data/<name>, put them under DVC, enter it in the settings: all or nothing.

    raw: the source's settings with paths where the files are now; None leaves a setting at its default. dry_run: check
    it only.
    Raises ZSLError naming what is wrong; nothing has changed then.
    """
    params = Params()
    notes = check_name(params, name, replace, like)
    home, file = DATA / name, data_file(name)
    start = text_like(params, name, like)
    given = registry.source({key: value for key, value in raw.items() if value is not None}, "zsl import")
    data = given.dataset(name, Path())
    for note in notes:
        say(f"{name}: note: {note}")
    settings, files = plan_copies(given, Path(), home)
    check_copies(files)
    texts = {
        **with_extras(data.sources.values()),
        file: with_source(start, settings),
        PARAMS_FILE: with_name(PARAMS_FILE.read_text(encoding="utf-8"), name),
    }
    pipeline = Planned(name, texts[file]).resolve(name).pipeline
    if data.features is None and (installed := without_download(pipeline.extract)):
        texts[file] = with_values(texts[file], "extract", {"backbone": installed})
        say(
            f"{name}: note: the weights of {pipeline.extract.backbone} are not on this machine and cannot be had now: "
            f"{file} says {installed}, whose weights are installed; take the line out where they can be downloaded"
        )
    for note in check_ready(data, pipeline):
        say(f"{name}: note: {note}")
    about = f"{name}: {summary(data)}"
    if dry_run:
        say(f"{about}; nothing was changed (--dry-run)")
        return
    with install_files(home, files, dvc, tuple(texts)):
        for path, text in texts.items():
            write_text(path, text)
    say(f"{about}; entered in {PARAMS_FILE}, its source in {file}. Next: dvc repro")
    say_git_add()
