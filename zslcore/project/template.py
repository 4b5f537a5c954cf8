"""The files of a project of one's own: this repository's, changed where the project runs the installed package.

The template is a line of commits in the project's git: `zsl init` makes the first, `zsl upgrade` adds one for a newer
version and merges it, so that git keeps what was edited here, as in any merge.
"""

import os
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from zslcore.errors import ZSLError

PACKAGE = Path(__file__).resolve().parents[1]
IN_WHEEL = PACKAGE / "template"
MADE = {"README.md": "README.md", "requirements.txt": "requirements.txt", ".github/workflows/zsl.yml": "zsl.yml"}
"""Files that only a project of one's own has -> their names in zslcore/template."""
COPIED = (
    ".dvc/.gitignore",
    ".dvc/config",
    ".dvc/plots",
    ".dvcignore",
    ".gitignore",
    "data/awa1.yaml",
    "data/awa2.yaml",
    "data/birds",
    "data/birds.yaml",
    "data/cub.yaml",
    "data/flo.yaml",
    "data/sun.yaml",
    "dvc.yaml",
    "experiments/dvc.yaml",
    "experiments/methods.yaml",
    "experiments/paper.yaml",
    "experiments/params.yaml",
    "experiments/variants.yaml",
    "params.yaml",
    "presets",
)
"""Files and folders of this repository that pyproject.toml puts into the wheel, below zslcore/template."""
CHANGED = {
    "dvc.yaml": (
        ("cmd: python -m stages.cli", "cmd: zsl"),
        (
            "presets, zslcore, stages]\n",
            "presets]\n    always_changed: true # it reads the installed package, of which DVC knows nothing\n",
        ),
    ),
    "experiments/dvc.yaml": (("cmd: python -m stages.cli", "cmd: zsl"),),
}
"""File -> (text here, text there)."""
TRAILER = "zsl-template"


def texts() -> dict[str, str]:
    """Path in a project -> the file's text, in this version of the package."""
    made = {path: (IN_WHEEL / name).read_text(encoding="utf-8") for path, name in MADE.items()}
    made["requirements.txt"] = made["requirements.txt"].replace("VERSION", version("zslcore"))
    root = IN_WHEEL if (IN_WHEEL / "dvc.yaml").exists() else PACKAGE.parent
    copied = {path: (root / path).read_text(encoding="utf-8") for path in _files(root)}
    for path, changes in CHANGED.items():
        for old, new in changes:
            assert old in copied[path], (path, old)
            copied[path] = copied[path].replace(old, new)
    return dict(sorted({**copied, **made}.items()))


def _files(root: Path) -> list[str]:
    """The files of COPIED, folders taken apart."""
    found = [root / name for name in COPIED]
    files = [file for path in found for file in (path.iterdir() if path.is_dir() else [path])]
    return [file.relative_to(root).as_posix() for file in files]


def check_empty(folder: Path) -> None:
    """Whether a project can begin there: a new folder, an empty one, or a git repository without files and commits.

    Raises ZSLError where something lies there already, or git is missing or knows no author.
    """
    if folder.exists() and (not folder.is_dir() or {path.name for path in folder.iterdir()} - {".git"}):
        raise ZSLError(f"{folder}: something lies there already; give a new or an empty folder")
    if not _succeeds("git", "var", "GIT_COMMITTER_IDENT"):
        raise ZSLError("git is missing or has no author's name; git config --global user.name NAME, and user.email")
    if (folder / ".git").exists() and _succeeds("git", "-C", str(folder), "rev-parse", "--verify", "-q", "HEAD"):
        raise ZSLError(f"{folder}: a git repository with commits; give a new or an empty folder")


def write(folder: Path) -> None:
    """Make a git repository of such a folder; the template is its first commit. Raises ZSLError where git fails."""
    for path, text in texts().items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    if not (folder / ".git").exists():
        _git(folder, "init", "-q", "-b", "main")
    commit(folder, f"zsl init\n\n{TRAILER}: {version('zslcore')}")


def commit(folder: Path, message: str) -> None:
    """Commit everything in a project's folder."""
    _git(folder, "add", "-A")
    _git(folder, "commit", "-q", "-m", message)


def forget(folder: Path) -> None:
    """Take back the commits of a repository that had none before."""
    _run(folder, "update-ref", "-d", "HEAD")
    _run(folder, "read-tree", "--empty")


def newer(folder: Path = Path()) -> tuple[str, str] | None:
    """Commits of the template this project has and of the one of this package; None where they are the same.

    The second is a child of the first and on no branch. Raises ZSLError where `zsl init` did not make the project.
    """
    found = _git(folder, "log", "-1", "--format=%H", "--extended-regexp", f"--grep=^{TRAILER}: ")
    if not found:
        raise ZSLError(
            f"{folder}: no commit of a template in this branch's history; `zsl init` makes a project with one"
        )
    old, tree = found, _tree(folder, texts())
    if tree == _git(folder, "rev-parse", f"{old}^{{tree}}"):
        return None
    message = f"Template of zslcore {version('zslcore')}\n\n{TRAILER}: {version('zslcore')}"
    return old, _git(folder, "commit-tree", tree, "-p", old, "-m", message)


def difference(old: str, new: str, folder: Path = Path()) -> str:
    """What the newer template changes, as `git diff` shows it."""
    return _git(folder, "diff", old, new)


def merge(new: str, folder: Path = Path()) -> None:
    """Merge a commit of the template. Raises ZSLError for uncommitted changes, and where both sides edited a line."""
    if _git(folder, "status", "--porcelain", "--untracked-files=no"):
        raise ZSLError("there are uncommitted changes; commit them first, so that the upgrade can be undone")
    done = _run(folder, "merge", "--no-edit", "--no-ff", "-m", f"zslcore {version('zslcore')}: its template", new)
    if done.returncode:
        conflicts = [name for name in _git(folder, "diff", "--name-only", "--diff-filter=U").split("\n") if name]
        if not conflicts:
            raise ZSLError(f"git merge failed: {done.stderr.strip()}")
        raise ZSLError(
            f"edited here and in the template: {', '.join(conflicts)}; settle the marked lines and `git commit`, or go "
            "back by `git merge --abort`"
        )


def _tree(folder: Path, files: Mapping[str, str]) -> str:
    """A tree of these files in git's store; the project's index and files stay as they are."""
    with tempfile.TemporaryDirectory() as place:
        index = {"GIT_INDEX_FILE": str(Path(place) / "index")}
        lines = [f"100644 {_git(folder, 'hash-object', '-w', '--stdin', text=files[path])}\t{path}" for path in files]
        _git(folder, "update-index", "--index-info", text="\n".join(lines) + "\n", environment=index)
        return _git(folder, "write-tree", environment=index)


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _run(
    folder: Path, *arguments: str, text: str | None = None, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["git", "-C", str(folder), *arguments],
        input=text,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def _git(folder: Path, *arguments: str, text: str | None = None, environment: Mapping[str, str] | None = None) -> str:
    """What git printed. Raises ZSLError with what it complained of."""
    done = _run(folder, *arguments, text=text, environment=environment)
    if done.returncode:
        raise ZSLError(f"git {arguments[0]} failed in {folder}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()
