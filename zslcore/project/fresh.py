"""Whether results are still true: what dvc.lock recorded of them, against what lies here now.

Nothing large is read. A result is compared with dvc.lock's MD5 of it; what each stage ran with, with the settings and
hashes of code as they are now; what it read, with what the stage before it wrote; imported files, with data/<name>.dvc.
Where there is no dvc.lock nothing is known, and nothing is refused.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from zslcore.errors import ZSLError
from zslcore.io.layers import flat
from zslcore.project.params import DATA, Resolved
from zslcore.project.resolved import RESULTS, settings_file

LOCK = Path("dvc.lock")
OF_EXPERIMENTS = Path("experiments/dvc.lock")
Stages = Mapping[str, Mapping[str, Any]]


def check_results(
    resolved: Resolved,
    code: Callable[[str], str],
    of: str | None = None,
    root: Path = Path(),
    experiments: bool = False,
) -> None:
    """Raise ZSLError, which names what is wrong, unless a data set's results are what `dvc repro` would leave.

    code: name of a stage -> hash of its code now. of: a stage, so that only those it comes after count, and itself;
    None: those that write results, and what they come after. experiments: the results of experiments, too, which need
    not be new, but as DVC left them.
    """
    name, stages = resolved.dataset, _stages(root / LOCK)
    if stages:
        ran = {key.partition("@")[0]: entry for key, entry in stages.items() if key.partition("@")[2] == name}
        written = f"{(RESULTS / name).as_posix()}/"
        writers = [
            key for key, entry in ran.items() if any(path.startswith(written) for path, _ in _files(entry, "outs"))
        ]
        wanted = {key: entry for last in (writers if of is None else [of]) for key, entry in _up_to(last, ran).items()}
        if of is not None and of not in ran:
            raise _old(name, f"{LOCK} has no {of}@{name}", "were not made by `dvc repro`")
        for stage, entry in wanted.items():
            _check_stage(resolved, stage, entry, ran, code, root)
        _check_files(name, wanted, RESULTS, root)
    if experiments:
        _check_files(name, _stages(root / OF_EXPERIMENTS), OF_EXPERIMENTS.parent / RESULTS, root)


def _stages(lock: Path) -> Stages:
    if not lock.exists():
        return {}
    try:
        raw = YAML(typ="safe").load(lock.read_text(encoding="utf-8"))
        return dict(raw["stages"])
    except (YAMLError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ZSLError(f"{lock}: damaged; bring it back by `git checkout {lock}`, or delete it") from error


def _files(entry: Mapping[str, Any], side: str) -> Iterator[tuple[str, str]]:
    """Path and MD5 of what a stage read ("deps") or wrote ("outs")."""
    return ((file["path"], file["md5"]) for file in entry.get(side, ()) if file.get("hash") == "md5")


def _up_to(stage: str, stages: Stages) -> dict[str, Mapping[str, Any]]:
    """A stage and those it comes after, directly or not, the first one first."""
    writers = {path: name for name, entry in stages.items() for path, _ in _files(entry, "outs")}
    before: dict[str, Mapping[str, Any]] = {}
    for path, _ in _files(stages.get(stage, {}), "deps"):
        if path in writers and writers[path] != stage:
            before |= _up_to(writers[path], stages)
    return before | ({stage: stages[stage]} if stage in stages else {})


def _check_stage(
    resolved: Resolved, stage: str, entry: Mapping[str, Any], stages: Stages, code: Callable[[str], str], root: Path
) -> None:
    name = resolved.dataset
    now = flat(resolved.stored())
    for key, was in flat(entry.get("params", {}).get(settings_file(name).as_posix(), {})).items():
        if key == f"code.{stage}":
            if was != code(stage):
                raise _old(name, f"the code of {stage} was edited since it ran")
        elif was != now.get(key):
            raise _old(name, f"{stage} ran with {key} {was!r}, now it is {now.get(key)!r}")
    written = {path: (md5, writer) for writer, other in stages.items() for path, md5 in _files(other, "outs")}
    imported = root / DATA / f"{name}.dvc"
    if imported.exists():
        written[f"{DATA}/{name}"] = (YAML(typ="safe").load(imported.read_text())["outs"][0]["md5"], "import")
    for path, md5 in _files(entry, "deps"):
        if path in written and written[path][0] != md5:
            raise _old(name, f"{path} was rebuilt, by {written[path][1]}, after {stage} had read it")


def _check_files(dataset: str, stages: Stages, folder: Path, root: Path) -> None:
    """Raise ZSLError for a file below `folder` that is not the one DVC recorded. settings.yaml is compared as such."""
    for entry in stages.values():
        for path, md5 in _files(entry, "outs"):
            file = root / path
            below = path.startswith(f"{folder.as_posix()}/{dataset}/") and path != settings_file(dataset).as_posix()
            if below and file.is_file() and hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest() != md5:
                raise ZSLError(
                    f"{path}: not the file that `dvc repro` wrote ({LOCK}): edited, or of another run; {REPRO}"
                )


REPRO = "run `dvc repro`"


def _old(dataset: str, why: str, what: str = "are older than that") -> ZSLError:
    return ZSLError(f"{RESULTS / dataset}: {why}: the results {what}; {REPRO}")
