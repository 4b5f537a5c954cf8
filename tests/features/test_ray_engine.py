"""A real Ray cluster, whose second node dies, whose driver is killed, whose answers get lost: one machine's bytes."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.conftest import write_project
from tests.features.conftest import stored
from zslcore.errors import ZSLError
from zslcore.features import backbones
from zslcore.features import ray_engine as engines
from zslcore.features.batches import local
from zslcore.features.extract import extract_images
from zslcore.features.image_sources import Folder
from zslcore.features.network import plan_extraction
from zslcore.features.ray_engine import Worker, ray_engine
from zslcore.features.store import Outcome, open_store
from zslcore.settings import Extract

ray = pytest.importorskip("ray")


def alive() -> int:
    return sum(node["Alive"] for node in ray.nodes())


@pytest.mark.slow
def test_two_nodes_one_killed_in_the_middle(cluster, pictures, tiny, tmp_path, caplog):
    images = Folder(str(pictures(80)))
    extract_images(images, tmp_path / "local.h5", tiny, "cpu", None, tmp_path / "a")
    second = cluster.add_node(num_cpus=1)
    inner = ray_engine(workers=2)
    nodes = []

    def killing(*args):
        for done in inner(*args):
            assert not any(outcome.features is not None for outcome in done[1])
            parts = list((tmp_path / "b").glob("*.parts/*/*.sqlite"))
            if len(parts) == 2 and not nodes:
                nodes.append(alive())
                cluster.remove_node(second, allow_graceful=False)
                while alive() > 1:
                    time.sleep(0.2)
            elif not nodes:
                time.sleep(1)  # the second worker may take longer to begin
            yield done

    summary = extract_images(images, tmp_path / "ray.h5", tiny, "cpu", killing, tmp_path / "b")
    assert [*nodes, alive()] == [2, 1], "killed as soon as each worker has kept a part of its own"
    assert not list((tmp_path / "b").glob("*.parts/*")), "parts are joined at the end"
    assert "a Ray worker died" in caplog.text
    assert summary.computed == 80
    assert (tmp_path / "ray.h5").read_bytes() == (tmp_path / "local.h5").read_bytes()


@pytest.mark.slow
def test_the_driver_killed_in_the_middle(cluster, pictures, tiny, tmp_path):
    folder, store = pictures(200), tmp_path / ".zsl/features"
    values = tiny.model_dump(exclude_none=True, exclude={"compile"})
    write_project(tmp_path, {"extract": values}, data={})
    extract = ["stages.cli", "extract", "--images", str(folder), "--out", "out.h5"]
    command = [sys.executable, "-m", *extract, "--engine", "ray", "--address", cluster.address, "--workers", "1"]
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}) as driver:
        while driver.poll() is None and stored(store) < 40:
            time.sleep(0.005)
        driver.kill()
    died = time.monotonic()
    while ray.available_resources().get("CPU") != 1:  # the cluster takes back what the driver had
        assert time.monotonic() < died + 60
        time.sleep(0.1)
    kept = stored(store)
    assert list(store.glob("*.parts/*/*.sqlite"))
    assert 40 <= kept < 200

    computed = []

    def watched(*args):
        for images, outcomes in local(1)(*args):
            computed.extend(done.key for done in outcomes if done.features is not None)
            yield images, outcomes

    images = Folder(str(folder))
    extract_images(images, tmp_path / "out.h5", tiny, "cpu", watched, store)
    assert len(computed) == 200 - kept, "what the part held is not computed again"
    assert not list(store.glob("*.parts/*"))
    extract_images(images, tmp_path / "local.h5", tiny, "cpu", None, tmp_path / "undisturbed")
    assert (tmp_path / "out.h5").read_bytes() == (tmp_path / "local.h5").read_bytes()


def plan_of(settings):
    backbone = backbones.load(settings.backbone, settings.weights, settings.image_size)
    return plan_extraction(backbone, settings, "cpu", [])


def test_a_worker_computes_what_is_not_known_each_in_its_place(pictures, tiny):
    worker = Worker()
    worker.begin(plan_of(tiny), 1)
    images = list(Folder(str(pictures(4))))
    keys = worker.decode(0, images)
    assert worker.decode(1, images[:2]) == keys[:2]
    whole = worker.compute(0, set())
    worker.decode(2, images)
    part = worker.compute(2, {keys[0], keys[2]})
    assert [outcome.key for outcome in part] == [outcome.key for outcome in whole] == keys
    assert [outcome.features is None for outcome in part] == [True, False, True, False]
    assert all((part[place].features == whole[place].features).all() for place in (1, 3))
    assert [outcome.features for outcome in worker.compute(1, set(keys))] == [None, None]
    assert not worker.decoded


def test_a_worker_computes_maps_and_keeps_them_in_a_part_as_one_machine_does(pictures, tiny, tmp_path):
    settings = Extract(**tiny.model_dump() | {"output": "both"})
    folder, travelling, keeping = pictures(4), Worker(), Worker()
    images = list(Folder(str(folder)))
    travelling.begin(plan_of(settings), 1)
    travelling.decode(0, images)
    found = [outcome.features for outcome in travelling.compute(0, set())]
    keeping.begin(plan_of(settings), 1, tmp_path)
    keeping.decode(0, images)
    assert [outcome.features for outcome in keeping.compute(0, set())] == [None] * 4
    extract_images(Folder(str(folder)), tmp_path / "out.h5", settings, "cpu", None, tmp_path / "store")
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal([one["maps"] for one in found], file["maps"])
        np.testing.assert_array_equal([one["features"] for one in found], file["features"])
    (part,) = tmp_path.glob("*.sqlite")
    with closing(sqlite3.connect(part)) as connection:
        kept = {value for (value,) in connection.execute("SELECT value FROM features")}
    assert kept == {one.tobytes() for one in found}


def test_a_worker_keeps_a_part_where_it_sees_the_folder(pictures, tiny, tmp_path):
    images = list(Folder(str(pictures(3))))
    kept = {}
    (tmp_path / "not to be written").touch()
    for parts in (tmp_path, tmp_path / "of another machine", tmp_path / "not to be written"):
        worker = Worker()
        worker.begin(plan_of(tiny), 1, parts)
        keys = worker.decode(0, images)
        outcomes = worker.compute(0, set())
        assert [outcome.key for outcome in outcomes] == keys
        kept[parts.name] = [outcome.features is None for outcome in outcomes]
    assert list(kept.values()) == [[True] * 3, [False] * 3, [False] * 3]
    (part,) = tmp_path.glob("*.sqlite")
    with open_store(part) as store:
        assert all(map(store.knows, keys))


def test_other_weights_on_a_worker_are_refused(tiny):
    with pytest.raises(ZSLError, match=r"weights of test_resnet\.r160_in1k on .*; copy the same file to every machine"):
        Worker().begin(replace(plan_of(tiny), fingerprint="another"), 1)


@pytest.mark.slow
def test_features_that_travel_lost_ones_and_none_that_the_store_knows(
    cluster, pictures, tiny, tmp_path, monkeypatch, caplog
):
    folder = pictures(6)
    computed, lost, get = [], [], ray.get

    def losing(asked):
        """The first features are lost with their node, after it said that they are there."""
        answer = get(asked)
        if not lost and isinstance(answer, list) and isinstance(answer[0], Outcome):
            lost.extend(outcome for outcome in answer if outcome.features is not None)
            raise ray.exceptions.ObjectLostError(asked.hex(), b"", "")
        return answer

    def watched(plan, backbone, batches, store):
        monkeypatch.setattr(store, "parts", nullcontext)  # no folder is shared: features come back through Ray
        for images, outcomes in ray_engine(workers=1)(plan, backbone, batches, store):
            computed.extend(
                image.name for image, done in zip(images, outcomes, strict=True) if done.features is not None
            )
            yield images, outcomes

    def extract(name, engine=None, store="ray"):
        return extract_images(Folder(str(folder)), tmp_path / name, tiny, "cpu", engine, tmp_path / store)

    monkeypatch.setattr(ray, "get", losing)
    assert extract("first.h5", watched).computed == len(computed) == 6
    assert lost
    assert caplog.text.count("a Ray worker died, or its answer was lost") == 1
    computed.clear()
    os.utime(folder / "00000.png")
    (folder / "00001.png").rename(folder / "renamed.png")
    shutil.copy(folder / "00002.png", folder / "again.png")
    shutil.copy(folder / "00003.png", tmp_path / "other.png")
    (folder / "00003.png").write_bytes((tmp_path / "other.png").read_bytes() + b" ")
    assert extract("ray.h5", watched).computed == 4
    assert computed == ["00003.png"]
    extract("local.h5", store="local")
    assert (tmp_path / "ray.h5").read_bytes() == (tmp_path / "local.h5").read_bytes()


def changed(**changes):
    """An engine that gets another plan."""
    return lambda plan, *others: ray_engine(workers=1)(replace(plan, **changes), *others)


def test_a_gpu_has_the_processors_of_its_own_node(tiny, monkeypatch):
    def capacity(ray, cpus, gpus, option):
        raise ZSLError(f"{cpus:g} and {gpus} asked")

    monkeypatch.setattr(engines, "connect", lambda address: None)
    monkeypatch.setattr(
        engines, "node_resources", lambda ray: [{"CPU": 64.0}, {"CPU": 8.0, "GPU": 2.0}, {"CPU": 9.0, "GPU": 1.0}]
    )
    monkeypatch.setattr(engines, "worker_capacity", capacity)
    for device, asked in [("cuda:1", "4 and 1"), ("cpu", "1 and 0")]:
        with pytest.raises(ZSLError, match=f"^{asked} asked$"):
            next(changed(device=device)(plan_of(tiny), None, [], None))


@pytest.mark.slow
def test_what_ends_a_run_at_once_and_its_message(cluster, pictures, tiny, tmp_path, monkeypatch, caplog):
    class Unimportable:
        def __init__(self) -> None:  # what Ray makes of a class whose module a worker cannot import
            raise ImportError("no module named zslcore")

        def begin(self, *_: object) -> None: ...

    class Broken:
        def begin(self, *_: object) -> None:
            raise RuntimeError("many\nlines\nno kernel")

    class Dying:
        def begin(self, *_: object) -> None: ...

        def decode(self, *_: object) -> None:
            os._exit(1)

    images = Folder(str(pictures(2)))
    with pytest.raises(ZSLError, match=r"^engine ray: the weights of .* copy the same file to every machine$"):
        extract_images(images, tmp_path / "out.h5", tiny, "cpu", changed(fingerprint="another"), tmp_path)
    monkeypatch.setattr(engines, "Worker", Unimportable)
    with pytest.raises(ZSLError, match=r"^engine ray: no worker can be begun .*no module named zslcore"):
        extract_images(images, tmp_path / "out.h5", tiny, "cpu", ray_engine(workers=1), tmp_path)
    monkeypatch.setattr(engines, "Worker", Broken)
    with pytest.raises(ZSLError, match=r"^engine ray: RuntimeError: no kernel; what was computed is kept") as raised:
        extract_images(images, tmp_path / "out.h5", tiny, "cpu", ray_engine(workers=1), tmp_path)
    assert isinstance(raised.value.__cause__, ray.exceptions.RayTaskError), "--debug shows where"
    with pytest.raises(ZSLError, match=r"^--cpus 64: no node of the cluster has .*, the largest has 1"):
        extract_images(images, tmp_path / "out.h5", tiny, "cpu", ray_engine(workers=1, cpus=64), tmp_path)
    with pytest.raises(ZSLError, match=r"^device cuda: no node of the cluster has a GPU"):
        extract_images(images, tmp_path / "out.h5", tiny, "cpu", changed(device="cuda:1"), tmp_path)
    assert "died" not in caplog.text
    monkeypatch.setattr(engines, "Worker", Dying)
    monkeypatch.setattr(engines, "DEATHS", 1)
    with pytest.raises(ZSLError, match=r"^engine ray: 2 workers died over the images 00000\.png to 00001\.png"):
        extract_images(images, tmp_path / "out.h5", tiny, "cpu", ray_engine(workers=1), tmp_path)
    assert caplog.text.count("died") == 1, "the second is not replaced"
