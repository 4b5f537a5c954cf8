"""Killed, out of disk or shut out at any moment, a stage leaves no damaged file, and the next run mends everything.

A moment is a share of the stage's time, or one of the times it touches a file of the project, both drawn from a seed.
Stages run in processes forked from one that has imported everything: a fault costs tenths of a second.
"""

import csv
import ctypes
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from zslcore.inspection import inspect

ROOT = Path(__file__).resolve().parents[2]
DATASET = "birds"
CONTEXT = multiprocessing.get_context("forkserver")
WARM = ["stages.cli", "zslcore.features.extract", "zslcore.evaluation.select", "zslcore.evaluation.tsne"]
WARM += ["zslcore.datasets.birds", "zslcore.report"]
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.scandir", "sqlite3.connect"}
WRITTEN = ("artifacts", "results", "report", ".zsl")


# Faults: what happens to the process that runs a stage in the current folder.


def kill(chance: random.Random) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def limit_file_size(chance: random.Random) -> None:
    size = int(2 ** chance.uniform(0, 14))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def fill_disk(chance: random.Random) -> None:
    """Leave the disk, a small one of the test's own, not a byte."""
    with open("filler", "wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(2**16))
    with open("filler", "ab", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(b"0")


def forbid_writing(chance: random.Random) -> None:
    for name in WRITTEN:
        for path in [Path(name), *Path(name).rglob("*")]:
            if path.is_dir():
                path.chmod(0o555)


def forbid_reading(chance: random.Random) -> None:
    for path in Path("artifacts").rglob("*"):
        if path.is_file():
            path.chmod(0)


FAULTS: tuple[Callable[[random.Random], None], ...] = (
    kill, limit_file_size, kill, fill_disk, forbid_writing, forbid_reading,
)  # fmt: skip


def run_stage(
    folder: Path,
    stage: str,
    output: Connection,
    fault: int | None = None,
    moment: tuple[str, float] = ("", 0),
    seed: int = 0,
) -> None:
    """Run a stage in this process, with a fault at a moment: ("seconds", s), or ("event", n), the n-th touch of a file.

    output: a pipe (no disk can be too full for it); without fault, the last line tells how many events there were.
    """
    import torch

    from stages import cli

    os.chdir(folder)
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    torch.set_num_threads(1)
    obey_permissions()
    unit, when = moment
    seen = 0

    def fire() -> None:
        if fault is not None:
            FAULTS[fault](random.Random(seed))

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event in EVENTS and arguments and isinstance(arguments[0], str | os.PathLike):
            path = os.path.abspath(os.fspath(arguments[0]))
            if path.startswith(f"{folder}/") and not path.endswith("/filler"):
                seen += 1
                if unit == "event" and seen == when:
                    fire()

    sys.addaudithook(hook)
    if unit == "seconds":
        timer = threading.Timer(when, fire)
        timer.daemon = True
        timer.start()
    sys.argv = ["zsl", stage, *([] if stage == "report" else [DATASET])]
    try:
        cli.main()
    finally:
        if fault is None:
            print(seen, flush=True)


def obey_permissions() -> None:
    """Give up root's power to ignore permission bits (capset with nothing left); for others it changes nothing."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())


# The project, and an undisturbed run of it.


class Undisturbed:
    """A project in which every stage has run once: how long each took, what it wrote, how often it touched files."""

    def __init__(self, project, own_disk: bool) -> None:
        self.project, self.folder, self.own_disk = project, project.folder, own_disk
        stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
        self.outs = {name: self._outs(stage) for name, stage in stages.items()}
        self.seconds: dict[str, float] = {}
        self.events: dict[str, int] = {}
        for out in (out for outs in self.outs.values() for out in outs):
            (self.folder / out).parent.mkdir(parents=True, exist_ok=True)
        for stage in self.outs:
            started = time.monotonic()
            said = self.stage(stage)
            self.seconds[stage] = time.monotonic() - started
            self.events[stage] = int(said.split()[-1])
        self.bytes = project.bytes("artifacts", "results", "report")

    @staticmethod
    def _outs(stage: dict) -> list[str]:
        entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, ())]
        names = [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
        return [name.replace("${item.dataset}", DATASET) for name in names]

    def start(self, stage: str, *fault: object) -> tuple[BaseProcess, Connection]:
        """Start a stage; its process, and where to read what it prints."""
        reader, writer = CONTEXT.Pipe(duplex=False)
        process = CONTEXT.Process(target=run_stage, args=(self.folder, stage, writer, *fault))
        process.start()
        writer.close()
        return process, reader

    @staticmethod
    def finish(process: BaseProcess, reader: Connection) -> tuple[int, str]:
        """Exit code and output of a stage that was started."""
        process.join(120)
        assert process.exitcode is not None, "hangs"
        with os.fdopen(os.dup(reader.fileno())) as stream:
            return process.exitcode, stream.read()

    def stage(self, stage: str) -> str:
        """Run a stage undisturbed; what it printed."""
        code, said = self.finish(*self.start(stage))
        assert code == 0, said
        return said

    def remove(self, stage: str) -> None:
        """Remove a stage's outputs, as DVC does before it runs one."""
        for out in self.outs[stage]:
            path = self.folder / out
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def standing(self) -> dict[str, bytes]:
        """What stands under a final name; each opens, and is what the undisturbed run wrote there."""
        found = {
            name: content
            for name, content in self.project.bytes("artifacts", "results", "report").items()
            if not (Path(name).name.startswith(".") and name.endswith(".tmp"))
        }
        for name, content in found.items():
            path = self.folder / name
            if path.suffix in (".h5", ".safetensors"):
                assert inspect(path).arrays, name
            elif path.suffix == ".json":
                json.loads(content)
            elif path.suffix == ".csv":
                assert len({len(row) for row in csv.reader(content.decode().splitlines(), strict=True)}) == 1, name
            assert content == self.bytes[name], name
        for store in (self.folder / ".zsl").rglob("*.sqlite"):
            with closing(sqlite3.connect(store)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return found

    def allow(self) -> None:
        """Undo what the faults do to the folder."""
        (self.folder / "filler").unlink(missing_ok=True)
        for name in WRITTEN:
            for path in [self.folder / name, *(self.folder / name).rglob("*")]:
                if path.exists():
                    path.chmod(0o755 if path.is_dir() else 0o644)


def own_disk(folder: Path) -> bool:
    """Put a small disk of its own there, which takes root."""
    if os.geteuid() != 0:
        return False
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, make_project) -> Iterator[Undisturbed]:
    CONTEXT.set_forkserver_preload(WARM)
    first = CONTEXT.Process(target=int)  # the one that waits for all the imports
    first.start()
    first.join()
    folder = tmp_path_factory.mktemp("faults")
    own = own_disk(folder)
    try:
        yield Undisturbed(make_project(folder / "project", DATASET, dvc=False), own)
    finally:
        if own:
            subprocess.run(["umount", "-l", str(folder)], check=False)


def disturb(base: Undisturbed, number: int) -> str:
    """One fault in one stage, and all that has to hold after it; what happened."""
    chance = random.Random(number)
    stages = list(base.outs)
    stage, fault = stages[number % len(stages)], number % len(FAULTS)
    if FAULTS[fault] is fill_disk and not base.own_disk:
        fault = FAULTS.index(limit_file_size)
    if chance.random() < 0.5:
        moment = ("seconds", chance.uniform(0, 0.9 * base.seconds[stage]))
    else:
        moment = ("event", chance.randint(1, base.events[stage]))
    if chance.random() < 0.7:
        base.remove(stage)
    if stage == "extract":
        shutil.rmtree(base.folder / ".zsl")
    code, said = base.finish(*base.start(stage, fault, moment, number))
    base.allow()
    happened = f"{number}: {FAULTS[fault].__name__} in {stage} at {moment[1]:.3g} {moment[0]}: exit code {code}"
    assert code in ((0, -signal.SIGKILL) if FAULTS[fault] is kill else (0, 1)), happened + said
    if "h5py._objects.ObjectID.__dealloc__" not in said:  # which complains besides when it cannot write to a full disk
        assert "Traceback" not in said, happened + said
    if code == 1:
        assert "error: " in said, happened
    base.standing()
    base.stage(stage)
    assert base.project.bytes("artifacts", "results", "report") == base.bytes, happened
    return happened


@pytest.mark.slow
def test_twenty_faults(undisturbed: Undisturbed) -> None:
    happened = [disturb(undisturbed, number) for number in range(20)]
    print("\n".join(happened))
    assert sum("exit code 0" not in line for line in happened) >= 6  # faults did come while there was work to do


@pytest.mark.slow
@pytest.mark.soak
def test_two_hundred_faults(undisturbed: Undisturbed) -> None:
    happened = [disturb(undisturbed, number) for number in range(1000, 1200)]
    print("\n".join(happened))


@pytest.mark.slow
def test_a_stage_started_twice_at_once(undisturbed: Undisturbed) -> None:
    for stage in undisturbed.outs:
        undisturbed.remove(stage)
        if stage == "extract":
            shutil.rmtree(undisturbed.folder / ".zsl")
        both = [undisturbed.start(stage) for _ in range(2)]
        for code, said in (undisturbed.finish(*one) for one in both):
            assert code == 0, stage + said
        assert undisturbed.project.bytes("artifacts", "results", "report") == undisturbed.bytes, stage


def kill_dvc(project, target: str, seeds: range) -> None:
    """`dvc repro` killed with all its children, at random moments, from nothing each time; the next one completes."""
    began = time.monotonic()
    project.dvc("repro", target)
    seconds = time.monotonic() - began
    whole = project.bytes("artifacts", "results") | {"dvc.lock": (project.folder / "dvc.lock").read_bytes()}
    for seed in seeds:
        for name in ("artifacts", "results", ".dvc/cache", ".zsl"):
            shutil.rmtree(project.folder / name, ignore_errors=True)
        (project.folder / "dvc.lock").unlink()
        started = project.start(sys.executable, "-m", "dvc", "repro", target)
        time.sleep(random.Random(seed).uniform(0, seconds))
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.communicate()
        for name, content in project.bytes("artifacts", "results").items():
            assert name.endswith(".tmp") or content == whole[name], name
        project.dvc("repro", target)
        found = project.bytes("artifacts", "results") | {"dvc.lock": (project.folder / "dvc.lock").read_bytes()}
        assert found == whole


@pytest.mark.slow
def test_dvc_killed_once(make_project, tmp_path: Path) -> None:
    kill_dvc(make_project(tmp_path, DATASET), f"prepare@{DATASET}", range(1))


@pytest.mark.slow
@pytest.mark.soak
def test_dvc_killed_twenty_times(make_project, tmp_path: Path) -> None:
    kill_dvc(make_project(tmp_path, DATASET), f"evaluate@{DATASET}", range(20))
