"""What many tests share: the real data where it stands, and a small made-up zero-shot problem."""

import faulthandler
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, chdir, contextmanager, suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: on matrices this small, threads only wait for each other
os.environ.setdefault("ZSL_JOBS", "1")  # tests run side by side already
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("RAY_worker_niceness", "0")  # by default any other work on the machine starves Ray's workers

import hypothesis
import joblib
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from ruamel.yaml import YAML

from stages import resolve as resolving
from zslcore.datasets.dataset import Dataset, hold_out_seen, save
from zslcore.evaluation.protocol import Task, benchmark_task
from zslcore.io import artifacts
from zslcore.io.yaml import read_yaml
from zslcore.project.params import Params, Resolved

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no fault of the code
hypothesis.settings.load_profile("untimed")

FIRST = (
    "test_cluster",
    "test_ray_engine",
    "test_pipeline",
    "test_faults",
    "test_experiments",
    "test_flowers",
    "test_common",
    "test_generative",
    "test_own_project",
    "test_remotes",
    "test_compare",
    "test_remove_rename",
)
ROOT = Path(__file__).resolve().parents[1]
REAL_DATA = ROOT.parent / "shared" / "data"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: one worker more than this process may use processors, as Ray and DVC's queue often wait."""
    return joblib.cpu_count() + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests share what they set up, so one worker runs them all; the longest files begin first.

    What needs the Ray cluster is one group, too, whatever its file: the cluster starts once, after the tests that look
    for one in vain.
    """
    for item in items:
        group = "ray" if "cluster" in getattr(item, "fixturenames", ()) else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: FIRST.index(item.path.stem) if item.path.stem in FIRST else len(FIRST))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real data sets; the test is skipped where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"real data not found at {REAL_DATA}")
    return REAL_DATA


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """A real Ray cluster of one node with one processor, joined by this process; nothing of it is left running."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False, "include_log_monitor": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster
    finally:
        started = [one for one in psutil.Process().children(recursive=True) if _of_ray(one)]
        ray.shutdown()
        cluster.shutdown()
    assert started
    assert not psutil.wait_procs(started, timeout=60)[1]


def _of_ray(process: psutil.Process) -> bool:
    with suppress(psutil.Error):  # it has ended by now
        line = " ".join(process.cmdline())  # Python's fork server names the folders it imports from, Ray's among them
        return "multiprocessing." not in line and bool(re.search(r"(^|[/ ])(ray::|raylet|gcs_server|ray/)", line))
    return False


@pytest.fixture(scope="session")
def within_limits() -> Callable[..., AbstractContextManager[None]]:
    """What SECURITY.md promises of hostile input, as a context: `within_limits(decoded=bytes)`.

    Under 10 s of processor time, and less memory than twice the decoded size and 300 MiB (`slack`), whoever allocates
    it. A hang of a minute ends the whole run, with a traceback.
    """

    @contextmanager
    def limited(decoded: int = 0, slack: int = 300 * 2**20) -> Iterator[None]:
        faulthandler.dump_traceback_later(60, exit=True)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
        before, started = resident("VmRSS"), time.process_time()
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
        assert time.process_time() - started < 10
        assert resident("VmHWM") - before < 2 * decoded + slack

    return limited


def resident(name: str) -> int:
    """Bytes of this process in memory, now (VmRSS) or at the most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def make_dataset(
    seen: int = 12,
    unseen: int = 4,
    per_class: int = 12,
    attributes: int = 10,
    dimensions: int = 24,
    seed: int = 0,
) -> Dataset:
    """Features are a noisy linear picture of the signatures, so that every sound method does well on them."""
    random = np.random.default_rng(seed)
    classes = seen + unseen
    signatures = random.uniform(0, 1, (classes, attributes)).astype(np.float32)
    labels = np.repeat(np.arange(classes), per_class)
    world = random.normal(size=(attributes, dimensions))
    features = signatures[labels] @ world + 0.15 * random.normal(size=(len(labels), dimensions))
    image_attributes = np.clip(signatures[labels] + 0.1 * random.normal(size=(len(labels), attributes)), 0, 1)
    seen_rows = np.flatnonzero(labels < seen)
    trainval, test_seen = hold_out_seen(labels, seen_rows, 0.25, seed)
    return Dataset(
        name="toy",
        classes=tuple(f"class {k}" for k in range(classes)),
        signatures=signatures,
        labels=labels,
        trainval=trainval,
        test_seen=test_seen,
        test_unseen=np.flatnonzero(labels >= seen),
        features=features.astype(np.float32),
        image_attributes=image_attributes.astype(np.float32),
    )


def make_maps(data: Dataset, seed: int = 0) -> NDArray[np.float32]:
    """Maps (n, 3, 3, d) of a data set's images: its features at one place, drawn at random, and noise at the others."""
    random = np.random.default_rng(seed)
    assert data.features is not None
    n, d = data.features.shape
    maps = 0.3 * random.normal(size=(n, 9, d))
    maps[np.arange(n), random.integers(9, size=n)] = data.features
    return maps.reshape(n, 3, 3, d).astype(np.float32)


@pytest.fixture(scope="session")
def toy() -> Dataset:
    """A small data set with features, per-image attributes and all splits."""
    return make_dataset()


@pytest.fixture(scope="session")
def toy_task(toy: Dataset) -> Task:
    """The benchmark problem of the small data set."""
    assert toy.features is not None
    return benchmark_task(toy, toy.features)


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Resolved]:
    """The project's settings of every data set it has values for, whether it is imported here or not."""
    data = {path.stem: read_yaml(path) for path in (ROOT / "data").glob("*.yaml")}
    files = (read_yaml(ROOT / name) for name in ("params.yaml", "experiments/params.yaml"))
    params, experiments = files
    folder = write_project(tmp_path_factory.mktemp("shipped"), params, data, experiments, resolve=False)
    return {name: Params(folder).resolve(name) for name in data}


def write_data(folder: Path, data: Dataset) -> None:
    """A data set and its features as artifacts in a folder."""
    save(folder / "dataset.h5", data, {})
    with artifacts.create(folder / "features.h5", artifacts.FEATURES, {}) as file:
        file["features"] = data.features


def write_project(
    folder: Path,
    params: Mapping[str, Any] | None = None,
    data: Mapping[str, Mapping[str, Any]] | None = None,
    experiments: Mapping[str, Any] | None = None,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    resolve: bool = True,
) -> Path:
    """Write the settings of a small project, and resolve them as the first stage does; gives the folder.

    params: over {datasets: the names in `data`, seeds: [0], device: cpu}. data: name -> what data/<name>.yaml holds,
    under a source of drawn birds where it names none; one data set `toy` by default. resolve: for each data set.
    """
    data = {"toy": {}} if data is None else data
    _write_yaml(folder / "params.yaml", {"datasets": list(data), "seeds": [0], "device": "cpu", **(params or {})})
    _write_yaml(folder / "experiments/params.yaml", experiments or {})
    for name, values in data.items():
        _write_yaml(folder / f"data/{name}.yaml", {"source": {"kind": "birds"}, **values})
    for name, values in (presets or {}).items():
        _write_yaml(folder / f"presets/{name}.yaml", values)
    if resolve:
        with chdir(folder):
            for name in data:
                resolving.command(name)
    return folder


def _write_yaml(path: Path, values: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as out:
        YAML().dump(dict(values), out)
