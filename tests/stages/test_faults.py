"""Killed, out of disk or shut out at any moment, `dvc repro` leaves no damaged file, and the next one mends everything.

A moment is a share of the time of DVC or of a stage, or one of the times it touches a file of the project, both drawn
from a seed. In processes forked from a warm one runs the whole of DVC, and each stage in a process of its own.
"""

import csv
import ctypes
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import pytest
from ruamel.yaml import YAML

from tests.stages import warm
from zslcore.io.inspection import inspect

ROOT = Path(__file__).resolve().parents[2]
DATASET = "birds"
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.scandir", "sqlite3.connect"}
WRITTEN = ("artifacts", "results", "report", ".zsl", ".dvc")


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


def kill_all(chance: random.Random) -> None:
    os.killpg(0, signal.SIGKILL)


FAULTS: tuple[Callable[[random.Random], None], ...] = (
    kill, limit_file_size, kill_all, fill_disk, forbid_writing, kill, forbid_reading,
)  # fmt: skip


class Blow(NamedTuple):
    """A fault at a moment: after so many seconds of the process, or at its n-th touch of a file ("event")."""

    process: str  # "dvc" or "stage"
    fault: int
    unit: str
    when: float
    seed: int


def await_blow(folder: Path, blow: Blow | None) -> Callable[[], str]:
    """Let this process have what comes to it; returns what tells its events and seconds so far."""
    own, seen, began = os.getpid(), 0, time.monotonic()

    def strike() -> None:
        if blow is not None:
            FAULTS[blow.fault](random.Random(blow.seed))

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event in EVENTS and os.getpid() == own and arguments and isinstance(arguments[0], str | os.PathLike):
            path = os.path.abspath(os.fspath(arguments[0]))
            if path.startswith(f"{folder}/") and not path.endswith("/filler"):
                seen += 1
                if blow is not None and blow.unit == "event" and seen == blow.when:
                    strike()

    sys.addaudithook(hook)
    if blow is not None and blow.unit == "seconds":
        timer = threading.Timer(blow.when, strike)
        timer.daemon = True
        timer.start()
    return lambda: f"{seen} events, {time.monotonic() - began} seconds"


def struck_stage(folder: Path, output: Connection, command: str, blow: Blow | None = None) -> None:
    """Run a stage in this process, as a user without root's powers; it prints its events and seconds."""
    warm.enter(folder, output)
    obey_permissions()
    told = await_blow(folder, blow)
    try:
        warm.call_stage(command)
    finally:
        print(f"\n{sys.argv[1]}: {told()}", flush=True)


def struck_dvc(folder: Path, output: Connection, blow: Blow | None = None, target: str | None = None) -> None:
    """`dvc repro`, of one target or of all, in this process, in a process group of its own."""
    warm.enter(folder, output)
    obey_permissions()
    os.setpgid(0, 0)
    of_stage, of_dvc = (blow if blow and blow.process == process else None for process in ("stage", "dvc"))
    warm.fork_stages(folder, output, partial(struck_stage, blow=of_stage))
    told = await_blow(folder, of_dvc)
    code = warm.call_dvc("repro", *([target] if target else []))
    print(f"\ndvc: {told()}", flush=True)
    sys.exit(code)


def obey_permissions() -> None:
    """Give up root's power to ignore permission bits (capset with nothing left); for others it changes nothing."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())


# The project, and an undisturbed run of it.


class Undisturbed:
    """A project in which `dvc repro` has run once: what it wrote, and how long each process took."""

    def __init__(self, project, own_disk: bool) -> None:
        self.project, self.folder, self.own_disk = project, project.folder, own_disk
        self.stages = list(YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"])
        told = self.repro()
        project.commit("run")
        self.bytes = self.now()
        self.forget("report")
        told["dvc"] = self.repro()["dvc"]  # as long as it takes where one stage is run
        self.events = {name: events for name, (events, _) in told.items()}
        self.seconds = {name: seconds for name, (_, seconds) in told.items()}

    def now(self) -> dict[str, bytes]:
        """Path -> content of every output, and of dvc.lock; leftovers under temporary names are none."""
        lock = {"dvc.lock": (self.folder / "dvc.lock").read_bytes()}
        found = self.project.bytes("artifacts", "results", "report") | lock
        return {name: content for name, content in found.items() if not name.endswith(".tmp")}

    def start(self, run: Callable[..., None], *arguments: object) -> tuple[BaseProcess, Connection]:
        """Start a process; it, and where to read what it prints."""
        return warm.start(run, self.folder, *arguments)

    def repro(self) -> dict[str, tuple[int, float]]:
        """Run `dvc repro` undisturbed; process -> (events, seconds)."""
        code, said = warm.finish(*self.start(struck_dvc))
        assert code == 0, said
        told = re.findall(r"^(\S+): (\d+) events, (\S+) seconds$", said, re.MULTILINE)
        return {name: (int(events), float(seconds)) for name, events, seconds in told}

    def forget(self, stage: str) -> None:
        """Remove a stage's outputs, and what DVC's cache has of them, so that the next `dvc repro` runs it."""
        lock = YAML(typ="safe").load((self.folder / "dvc.lock").read_text())["stages"]
        for out in lock.get(f"{stage}@{DATASET}", lock.get(stage))["outs"]:
            path, cache = self.folder / out["path"], self.folder / ".dvc/cache/files/md5"
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            (cache / out["md5"][:2] / out["md5"][2:]).unlink(missing_ok=True)
        shutil.rmtree(self.folder / ".dvc/cache/runs", ignore_errors=True)
        if stage == "extract":
            shutil.rmtree(self.folder / ".zsl")

    def check(self) -> None:
        """What stands under a final name opens, and is what the undisturbed run wrote there; so is DVC's cache."""
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
        for name, content in self.project.bytes(".dvc/cache/files/md5").items():
            if not name.endswith(".tmp"):
                named = "".join(Path(name).parts[-2:]).removesuffix(".dir")
                assert hashlib.md5(content).hexdigest() == named, name
        for store in (self.folder / ".zsl").rglob("*.sqlite"):
            with closing(sqlite3.connect(store)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)

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
    folder = tmp_path_factory.mktemp("faults")
    own = own_disk(folder)
    warm.up()
    try:
        yield Undisturbed(make_project(folder / "project", DATASET), own)
    finally:
        if own:
            subprocess.run(["umount", "-l", str(folder)], check=False)


def disturb(base: Undisturbed, number: int) -> str:
    """One fault in one `dvc repro`, and all that has to hold after it; what happened."""
    chance = random.Random(number)
    stage, fault = base.stages[number % len(base.stages)], number % len(FAULTS)
    if FAULTS[fault] is fill_disk and not base.own_disk:
        fault = FAULTS.index(limit_file_size)
    process = chance.choice(("dvc", "stage"))
    clock = stage if process == "stage" else "dvc"
    if chance.random() < 0.5:
        moment = ("seconds", chance.uniform(0, 0.9 * base.seconds[clock]))
    else:
        moment = ("event", chance.randint(1, base.events[clock]))
    base.forget(stage)
    struck, output = base.start(struck_dvc, Blow(process, fault, *moment, number))
    struck.join(600)
    base.allow()
    base.check()
    mended = repro_mended(base.project, base.repro)
    code, said = warm.finish(struck, output)
    name = FAULTS[fault].__name__
    killed = code == -signal.SIGKILL or "exited with -9" in said
    outcome = "killed" if killed else "refused" if code else "too late"
    happened = f"{number}: {name} of {process} in {stage} at {moment[1]:.3g} {moment[0]}: {outcome}{mended}"
    if process == "stage":
        # h5py complains besides when the disk is full.
        assert "Traceback" not in said or "h5py._objects.ObjectID.__dealloc__" in said, happened + said
        # struck at its very end, a stage succeeds, and it is DVC that cannot go on
        refused = outcome == "refused" and "failed to run" in said
        assert not refused or "error: " in said, happened + said
    assert base.now() == base.bytes, happened
    return happened


def repro_mended(project, repro: Callable[[], object]) -> str:
    """Run `repro`; where DVC was struck while it wrote its own two files, mended as docs/remotes.md says, and how."""
    try:
        repro()
        return ""
    except AssertionError as error:
        said = str(error)
    if "rwlock" in said:
        (project.folder / ".dvc/tmp/rwlock").unlink()
        mended = ", rwlock deleted"
    else:
        assert "dvc.lock" in said, said
        project.run("git", "checkout", "dvc.lock")
        mended = ", dvc.lock checked out"
    repro()
    return mended


def strike(base: Undisturbed, count: int, first: int) -> None:
    """Faults one after another until so many have told on a run; of the others, the run was done before they came."""
    happened: list[str] = []
    while sum("too late" not in line for line in happened) < count:
        assert len(happened) < 3 * count, happened
        happened.append(disturb(base, first + len(happened)))
    print("\n".join(happened), Counter(line.rpartition(": ")[2] for line in happened))


@pytest.mark.slow
def test_twenty_faults(undisturbed: Undisturbed) -> None:
    strike(undisturbed, int(os.environ.get("N", 20)), first=0)


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("first", range(1000, 5000, 1000))
def test_two_hundred_faults(first: int, undisturbed: Undisturbed) -> None:
    strike(undisturbed, 50, first)


@pytest.mark.slow
def test_a_stage_started_twice_at_once(undisturbed: Undisturbed) -> None:
    for stage in undisturbed.stages:
        undisturbed.forget(stage)
        command = " ".join(["python -m stages.cli", stage, *([] if stage == "report" else [DATASET])])
        both = [undisturbed.start(struck_stage, command) for _ in range(2)]
        for code, said in (warm.finish(*one) for one in both):
            assert code == 0, stage + said
        assert undisturbed.now() == undisturbed.bytes, stage


def kill_dvc(project, target: str, seeds: range) -> None:
    """`dvc repro` killed with all its children, at random moments, from nothing each time; the next one completes."""
    began = time.monotonic()
    project.dvc("repro", target)
    seconds = time.monotonic() - began
    whole = project.bytes("artifacts", "results") | {"dvc.lock": (project.folder / "dvc.lock").read_bytes()}
    project.commit("run")
    for seed in seeds:
        for name in ("artifacts", "results", ".dvc/cache", ".zsl"):
            shutil.rmtree(project.folder / name, ignore_errors=True)
        (project.folder / "dvc.lock").unlink()
        struck, output = warm.start(struck_dvc, project.folder, None, target)
        time.sleep(random.Random(seed).uniform(0, seconds))
        assert struck.pid is not None
        with suppress(ProcessLookupError):
            os.killpg(struck.pid, signal.SIGKILL)
        warm.finish(struck, output)
        for name, content in project.bytes("artifacts", "results").items():
            assert name.endswith(".tmp") or content == whole[name], name
        repro_mended(project, partial(project.dvc, "repro", target))
        found = project.bytes("artifacts", "results") | {"dvc.lock": (project.folder / "dvc.lock").read_bytes()}
        assert found == whole


@pytest.mark.slow
def test_dvc_killed_once(make_project, tmp_path: Path) -> None:
    kill_dvc(make_project(tmp_path, DATASET), f"prepare@{DATASET}", range(1))


@pytest.mark.slow
@pytest.mark.soak
def test_dvc_killed_twenty_times(make_project, tmp_path: Path) -> None:
    kill_dvc(make_project(tmp_path, DATASET), f"evaluate@{DATASET}", range(20))
