"""DVC and its stages in processes forked from one that has imported everything: seconds less than starting each anew.

The code is the checkout's, whatever copy of it stands in the folder. `python -m tests.stages.warm repro` runs the
folder's code, in a process that imports everything anew.
"""

import importlib
import multiprocessing
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from functools import cache
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
STAGES = ("resolve", "prepare", "extract", "select", "finetune", "train", "generate", "classify", "evaluate", "package")
IMPORTED = [
    "stages.cli",
    *(f"stages.{stage}" for stage in STAGES),
    "stages.report",
    "zslcore.features.extract",
    "zslcore.datasets.birds.source",
    "zslcore.report",
    "sklearn.decomposition",
    "sklearn.feature_extraction.text",
    "timm",
    "tests.stages.hashed",
    "configobj",
    "dulwich.ignore",
    "dulwich.index",
    "dvc._debug",
    "dvc.analytics",
    "dvc.cachemgr",
    "dvc.cli",
    "dvc.cli.parser",
    "dvc.commands.repro",
    "dvc.data_cloud",
    "dvc.output",
    "dvc.repo",
    "dvc.repo.artifacts",
    "dvc.repo.datasets",
    "dvc.repo.graph",
    "dvc.repo.index",
    "dvc.repo.metrics",
    "dvc.repo.open_repo",
    "dvc.repo.params",
    "dvc.repo.plots",
    "dvc.repo.reproduce",
    "dvc.repo.stage",
    "dvc.repo.trie",
    "dvc.rwlock",
    "dvc.stage.cache",
    "dvc.utils.strictyaml",
    "dvc_data.hashfile.db.local",
    "dvc_data.hashfile.status",
    "dvc_data.index",
    "dvclive",
    "dulwich.worktree",
    "fsspec.implementations.memory",
    "networkx",
    "scmrepo.git",
]
"""What a run of the pipeline imports, but for little; a name that is gone in another version costs its seconds."""


@cache
def up() -> None:
    """Start the process that others are forked from, and wait for its imports."""
    CONTEXT.set_forkserver_preload(IMPORTED)
    first = CONTEXT.Process(target=int)
    first.start()
    first.join()


def start(run: Callable[..., None], folder: Path, *arguments: object) -> tuple[BaseProcess, Connection]:
    """Start run(folder, where to print, *arguments); the process, and where to read what it prints."""
    reader, writer = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=run, args=(folder, writer, *arguments))
    process.start()
    writer.close()
    return process, reader


def finish(process: BaseProcess, reader: Connection) -> tuple[int, str]:
    """Exit code of a process that was started, and its output, which ends when all that it started has ended."""
    said = b""
    while True:
        assert reader.poll(1800), "hangs"
        part = os.read(reader.fileno(), 2**16)
        if not part:
            break
        said += part
    process.join(60)
    assert process.exitcode is not None, "hangs"
    return process.exitcode, said.decode()


def enter(folder: Path, output: Connection, environment: Mapping[str, str] | None = None) -> None:
    """Go to the folder and print to a pipe, which no full disk harms; environment: of what starts, where it is new."""
    import torch

    os.chdir(folder)
    if environment is not None:
        os.environ.clear()
        os.environ.update(environment)
    os.environ["DVC_SITE_CACHE_DIR"] = str(folder.parent / "site")  # what DVC remembers of files, on the same disk
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    torch.set_num_threads(1)


def call_stage(command: str) -> None:
    """Run a stage's command line in this process."""
    from stages import cli

    sys.argv = shlex.split(command)[2:]  # without python -m
    cli.main()


def call_dvc(*arguments: str) -> int:
    """Run a command line of DVC in this process; its exit code."""
    from dvc import cli

    return cli.main(list(arguments))


def fork_stages(folder: Path, output: Connection, run: Callable[[Path, Connection, str], None]) -> None:
    """Let DVC, in this process, fork run(folder, output, command) where it would start a stage's shell."""
    from dvc.stage import run as running
    from dvc.stage.exceptions import StageCmdFailedError

    def fork(executable: str, command: str, **options: object) -> None:
        process = multiprocessing.get_context("fork").Process(target=run, args=(folder, output, command))
        process.start()
        process.join()
        if process.exitcode:
            raise StageCmdFailedError(command, process.exitcode)

    running._run = fork


def _stage(folder: Path, output: Connection, command: str) -> None:
    enter(folder, output)
    call_stage(command)


def main(*arguments: str) -> int:
    """A command of DVC in this process, its stages in forks of it; the exit code."""
    for name in IMPORTED:
        importlib.import_module(name)
    folder, output = Path.cwd(), Connection(os.dup(1), readable=False)
    enter(folder, output)
    fork_stages(folder, output, _stage)
    return call_dvc(*arguments)


def dvc(folder: Path, output: Connection, environment: Mapping[str, str], *arguments: str) -> None:
    """A command of DVC, for `start`."""
    enter(folder, output, environment)
    fork_stages(folder, output, _stage)
    sys.exit(call_dvc(*arguments))


def zsl(folder: Path, output: Connection, environment: Mapping[str, str], *arguments: str) -> None:
    """A command of the project, for `start`."""
    enter(folder, output, environment)
    call_stage(shlex.join(["python", "-m", "stages.cli", *arguments]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
