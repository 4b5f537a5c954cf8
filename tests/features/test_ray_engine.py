"""A real Ray cluster of two nodes, one of which dies: the same bytes as on one machine."""

import time

import pytest

from zslcore.features.extract import extract_images
from zslcore.features.ray_engine import ray_engine
from zslcore.features.sources import Folder

ray = pytest.importorskip("ray")


def alive() -> int:
    return sum(node["Alive"] for node in ray.nodes())


@pytest.mark.slow
def test_two_nodes_one_killed_in_the_middle(pictures, tiny, tmp_path, monkeypatch, caplog):
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    images = Folder(str(pictures(80)))
    extract_images(images, tmp_path / "local.h5", tiny, "cpu", None, tmp_path / "a")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        inner = ray_engine(workers=2)
        nodes = []

        def killing(*args):
            for position, done in enumerate(inner(*args)):
                if position == 3:
                    nodes.append(alive())
                    cluster.remove_node(second, allow_graceful=False)
                    while alive() > 1:
                        time.sleep(0.2)
                yield done

        summary = extract_images(images, tmp_path / "ray.h5", tiny, "cpu", killing, tmp_path / "b")
        assert [*nodes, alive()] == [2, 1]
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert "a Ray worker died" in caplog.text
    assert summary.computed == 80
    assert (tmp_path / "ray.h5").read_bytes() == (tmp_path / "local.h5").read_bytes()
