"""Jobs side by side: the same bytes on any number of cores, workers that die, Ctrl-C, and what is asked of --jobs."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing.context import ForkProcess
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

import stages.classify
import stages.cli
import stages.finetune
import stages.generate
import stages.select
import stages.train
import stages.tsne
from tests.conftest import write_project
from zslcore.compute.cores import at_once
from zslcore.compute.jobs import in_order, run_jobs
from zslcore.datasets import dataset as datasets
from zslcore.datasets.dataset import Dataset
from zslcore.errors import BadFile, ZSLError
from zslcore.io import artifacts

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "select": {"splits": 2, "train_epochs": [2, 4], "classify_epochs": [2], "per_unseen": [5]},
    "finetune": {"epochs": 2},
    "train": {"hidden": 32, "projection": 16, "batch_size": 32, "members": 2},
}
EXPERIMENTS = {"tsne": {"classes": 2, "per_class": 5}}
CHAIN = (stages.select, stages.finetune, stages.train, stages.generate, stages.classify, stages.tsne)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three at once."""
    monkeypatch.setenv("ZSL_JOBS", "3")


def test_a_pipeline_gives_the_same_bytes_however_many_run_at_once(
    toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever number of threads torch would use by itself, too."""
    written = {}
    before = torch.get_num_threads()
    for count, threads in (("1", 3), ("2", 1)):
        folder = tmp_path / count
        folder.mkdir()
        monkeypatch.chdir(folder)
        monkeypatch.setenv("ZSL_JOBS", count)
        write_project(folder, {"seeds": [0, 1, 2]}, {"toy": SETTINGS}, EXPERIMENTS)
        datasets.save(Path("artifacts/toy/dataset.h5"), toy, {})
        with artifacts.create(Path("artifacts/toy/features.h5"), artifacts.FEATURES, {}) as file:
            file["features"] = toy.features
        torch.set_num_threads(threads)
        try:
            for stage in CHAIN:
                stage.command("toy")
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
        paths = [
            path
            for name in ("artifacts", "results", "experiments")
            for path in Path(name).rglob("*.*")
            if path.is_file()
        ]
        written[count] = {str(path): path.read_bytes() for path in paths}
    assert {"artifacts/toy/scores.h5", "experiments/results/toy/tsne.csv"} <= written["1"].keys()
    assert written["1"] == written["2"]


def told(shared: str, value: int) -> tuple[str, int, int, int]:
    return shared, value, os.getpid(), torch.get_num_threads()


def test_more_at_once_than_jobs_each_in_a_worker_with_one_thread(jobs: None) -> None:
    found = dict(run_jobs(told, {"a": "x", "b": "y"}, [("a", (1,)), ("b", (2,))]))
    assert {position: result[:2] for position, result in found.items()} == {0: ("x", 1), 1: ("y", 2)}
    assert all(result[2] != os.getpid() and result[3] == 1 for result in found.values())
    assert list(run_jobs(told, {}, [])) == []


def test_on_a_gpu_one_job_at_a_time_in_this_process(jobs: None) -> None:
    found = dict(run_jobs(told, {"": ""}, [("", (k,)) for k in range(3)], gpus=1))
    assert {result[2] for result in found.values()} == {os.getpid()}


def wait_for(folder: Path, value: int) -> int:
    """The first ends last."""
    while value == 0 and len(list(folder.iterdir())) < 2:
        time.sleep(0.01)
    (folder / str(value)).touch()
    return value


def test_results_come_in_the_order_of_the_jobs(jobs: None, tmp_path: Path) -> None:
    assert list(in_order("waiting", partial(wait_for, tmp_path), [(k,) for k in range(3)])) == [0, 1, 2]


def nested(value: int) -> tuple[int, list[int]]:
    inner = partial(told, "")
    return os.getpid(), [result[2] for result in in_order("inner", inner, [(k,) for k in range(2)])]


def test_a_job_does_its_jobs_itself_and_shows_no_bar(
    jobs: None, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zslcore.progress.SECONDS_BETWEEN_LINES", 0.0)
    for own, inner in in_order("outer", nested, [(k,) for k in range(2)]):
        assert inner == [own, own]
    assert "outer: 2/2" in capfd.readouterr().err.splitlines()[-1]


def die_once(folder: Path, value: int) -> int:
    if value == 1 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def always_die(value: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_job_whose_worker_dies_is_begun_again(jobs: None, tmp_path: Path) -> None:
    assert list(in_order("dying", partial(die_once, tmp_path), [(k,) for k in range(4)])) == [0, 1, 2, 3]


def test_workers_that_keep_being_killed_are_told_with_what_to_lower(jobs: None) -> None:
    with pytest.raises(ZSLError, match=r"want of memory, 4 times over; run fewer at once: --jobs 1 \(or ZSL_JOBS\)"):
        list(in_order("dying", always_die, [(k,) for k in range(3)]))


def fail(value: int) -> None:
    raise BadFile(Path("a.h5"), "damaged", "extract") if value == 1 else ZSLError("no")


def test_what_a_job_raises_is_raised_whole(jobs: None) -> None:
    with pytest.raises(BadFile) as raised:
        list(in_order("failing", fail, [(1,), (1,)]))
    assert (raised.value.path, raised.value.problem, raised.value.stage) == (Path("a.h5"), "damaged", "extract")


def rest(value: int) -> None:
    time.sleep(600)


def test_stopping_ends_the_workers_at_once(jobs: None) -> None:
    before = set(multiprocessing.active_children())

    def mine() -> set[object]:
        return set(multiprocessing.active_children()) - before

    waiting = run_jobs(die_or_rest, {"": 0}, [("", (k,)) for k in range(3)])
    assert next(waiting) == (0, 0)
    assert mine()
    waiting.close()
    assert not mine()


def test_an_interruption_while_workers_begin_ends_them_too(
    jobs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = ProcessPoolExecutor.submit

    def interrupted(pool: ProcessPoolExecutor, *job: object) -> None:
        submit(pool, *job)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(ProcessPoolExecutor, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(run_jobs(write_late, {"": tmp_path / "late"}, [("", (k,)) for k in range(2)]))
    assert not (tmp_path / "late").exists()


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts, as it does not in what a shell has started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interruption_while_a_worker_is_forked_ends_it_too(
    jobs: None, ctrl_c: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the fork and the list of children it would be nobody's."""
    before, fork = set(psutil.Process().children()), ForkProcess._Popen

    def interrupted(process: ForkProcess) -> object:
        forked = fork(process)
        signal.raise_signal(signal.SIGINT)
        return forked

    monkeypatch.setattr(ForkProcess, "_Popen", staticmethod(interrupted))
    with pytest.raises(KeyboardInterrupt):
        list(run_jobs(die_or_rest, {"": 0}, [("", (k,)) for k in range(1, 3)]))
    assert not set(psutil.Process().children()) - before


def write_late(path: Path, value: int) -> None:
    time.sleep(3)
    path.touch()


def die_or_rest(shared: int, value: int) -> int:
    return rest(value) or value if value else value


SCRIPT = """
from time import sleep
from zslcore.compute.jobs import in_order
list(in_order("resting", sleep, [(600,), (600,)]))
"""


@pytest.mark.parametrize("with_what", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_command(with_what: signal.Signals, ctrl_c: None) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ZSL_JOBS": "2"}
    with subprocess.Popen([sys.executable, "-c", SCRIPT], env=environment, stderr=subprocess.DEVNULL) as command:
        process = psutil.Process(command.pid)
        while len(workers := process.children()) < 2:
            assert command.poll() is None
            time.sleep(0.05)
        command.send_signal(with_what)
        assert not psutil.wait_procs(workers, timeout=60)[1]
        command.wait(60)


@pytest.mark.parametrize("asked", ["0", "-1", "two", "1.5", "²"])
def test_a_number_of_jobs_that_is_none_is_refused(
    asked: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZSL_JOBS", asked)
    with pytest.raises(ZSLError, match=f"^--jobs .* is '{asked}'; give how many fits run at once, at least 1"):
        at_once()
    monkeypatch.setenv("ZSL_JOBS", "1")
    monkeypatch.setattr("sys.argv", ["zsl", "params", "--jobs", asked])
    with pytest.raises(SystemExit, match="1"):
        stages.cli.main()
    assert f"error: --jobs (or ZSL_JOBS) is '{asked}'" in capsys.readouterr().err


@pytest.mark.parametrize("line", [["--jobs", "5", "params"], ["params", "--jobs", "5"]])
def test_jobs_is_an_option_before_and_behind_the_command(line: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZSL_JOBS", "1")
    monkeypatch.setattr("sys.argv", ["zsl", *line])
    with suppress(SystemExit):
        stages.cli.main()
    assert at_once() == 5


def test_by_default_one_a_core_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZSL_JOBS")
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})
        assert at_once() == 1
    finally:
        os.sched_setaffinity(0, cores)
    assert 1 <= at_once() <= len(cores)


def test_numpy_has_one_thread_too() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    np.dot(np.ones((2, 2)), np.ones((2, 2)))

    def threads(shared: object) -> set[int]:
        return {pool["num_threads"] for pool in threadpoolctl.threadpool_info()}

    assert dict(run_jobs(threads, {"": 0}, [("", ())])) == {0: {1}}
