"""What git has of the project's files."""

import shlex
import subprocess
from collections.abc import Iterable
from pathlib import Path

PLACES = ("params.yaml", "requirements.txt", "dvc.yaml", "dvc.lock", "data", "results", "models", "experiments")
"""Where commands and stages write what belongs in git."""


def not_in_git(paths: Iterable[Path | str], deleted: bool = False) -> list[Path] | None:
    """Those files and folders at or below `paths` that git does not have as they are, less what it ignores.

    deleted: also what git has and is no longer there. None where this is no git repository.
    """
    known = [str(path) for path in paths]
    output = _git("status", "--porcelain", "-z", "--no-renames", "--", *known)
    if output is None:
        return None
    entries = [(entry[:2], Path(entry[3:])) for entry in output.split("\0") if entry]
    return [path for status, path in entries if deleted or "D" not in status]


def in_git(paths: Iterable[Path]) -> list[Path]:
    """Those of some files and folders of which git has something."""
    return [path for path in paths if _git("ls-files", "--", str(path))]


def git_add_line(*always: str) -> str:
    """The command line that adds to git what is new in the project's folder; empty where nothing is, or no git.

    always: files that are named though nothing may have changed in them yet. A folder of files that stand neither in
    git nor under DVC is not named: it may be large.
    """
    changed = not_in_git(PLACES, deleted=True)
    if changed is None:
        return ""
    names = dict.fromkeys(always)
    for path in sorted(changed):
        if path.parts[0] == "data" and path.is_dir():
            continue
        depth = {"results": 2, "models": 1, "experiments": 3}.get(path.parts[0], len(path.parts))
        names[Path(*path.parts[:depth]).as_posix()] = None
    return f"git add {shlex.join(names)}" if changed and names else ""


def _git(*arguments: str) -> str | None:
    """What git printed; None where it failed or is not there."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
