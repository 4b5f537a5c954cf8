"""A real Ray cluster, of two nodes of which one dies and of one: the same bytes as on one machine."""

import os
import shutil
import time
from contextlib import nullcontext
from dataclasses import replace

import pytest

from zslcore.errors import ZSLError
from zslcore.features import backbones
from zslcore.features import ray_engine as engines
from zslcore.features.extract import extract_images
from zslcore.features.network import resolve
from zslcore.features.ray_engine import Worker, ray_engine
from zslcore.features.sources import Folder
from zslcore.features.store import open_store

ray = pytest.importorskip("ray")


def alive() -> int:
    return sum(node["Alive"] for node in ray.nodes())


@pytest.mark.slow
def test_two_nodes_one_killed_in_the_middle(pictures, tiny, tmp_path, caplog):
    from ray.cluster_utils import Cluster

    images = Folder(str(pictures(80)))
    extract_images(images, tmp_path / "local.h5", tiny, "cpu", None, tmp_path / "a")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    try:
        ray.init(address=cluster.address, log_to_driver=False)
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
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert "a Ray worker died" in caplog.text
    assert summary.computed == 80
    assert (tmp_path / "ray.h5").read_bytes() == (tmp_path / "local.h5").read_bytes()


def run_of(settings):
    backbone = backbones.load(settings.backbone, settings.weights, settings.image_size)
    return resolve(backbone, settings, "cpu", [])


def test_a_worker_computes_what_is_not_known_each_in_its_place(pictures, tiny):
    worker = Worker()
    worker.begin(run_of(tiny), 1)
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


def test_a_worker_keeps_a_part_where_it_sees_the_folder(pictures, tiny, tmp_path):
    images = list(Folder(str(pictures(3))))
    kept = {}
    (tmp_path / "not to be written").touch()
    for parts in (tmp_path, tmp_path / "of another machine", tmp_path / "not to be written"):
        worker = Worker()
        worker.begin(run_of(tiny), 1, parts)
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
        Worker().begin(replace(run_of(tiny), fingerprint="another"), 1)


@pytest.fixture
def one_node():
    """A real cluster of one node."""
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
def test_images_that_the_store_knows_are_not_computed_again(one_node, pictures, tiny, tmp_path, monkeypatch):
    folder = pictures(6)
    computed = []

    def watched(run, backbone, batches, store):
        monkeypatch.setattr(store, "parts", nullcontext)  # no folder is shared: features come back through Ray
        for images, outcomes in ray_engine(workers=1)(run, backbone, batches, store):
            computed.extend(
                image.name for image, done in zip(images, outcomes, strict=True) if done.features is not None
            )
            yield images, outcomes

    def extract(name, engine=None, store="ray"):
        return extract_images(Folder(str(folder)), tmp_path / name, tiny, "cpu", engine, tmp_path / store)

    assert extract("first.h5", watched).computed == len(computed) == 6
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


def of_other_weights(run, *others):
    return ray_engine(workers=1)(replace(run, fingerprint="another"), *others)


@pytest.mark.slow
def test_workers_that_cannot_begin_end_the_run_at_once(one_node, pictures, tiny, tmp_path, monkeypatch, caplog):
    class Unimportable:
        def __init__(self) -> None:  # what Ray makes of a class whose module a worker cannot import
            raise ImportError("no module named zslcore")

        def begin(self, *_: object) -> None: ...

    images = Folder(str(pictures(2)))
    with pytest.raises(ZSLError, match=r"^engine ray: the weights of .* copy the same file to every machine$"):
        extract_images(images, tmp_path / "out.h5", tiny, "cpu", of_other_weights, tmp_path)
    monkeypatch.setattr(engines, "Worker", Unimportable)
    with pytest.raises(ZSLError, match=r"^engine ray: no worker can be begun .*no module named zslcore"):
        extract_images(images, tmp_path / "out.h5", tiny, "cpu", ray_engine(workers=1), tmp_path)
    assert "died" not in caplog.text
