"""One fit by two workers of a real Ray cluster, of which one is killed: the artifacts of a fit without Ray, rounded."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stages.finetune
import stages.train
from stages.common import run
from tests.conftest import make_dataset, write_data, write_project
from zslcore.errors import ZSLError
from zslcore.io import artifacts
from zslcore.methods.base import TrainData
from zslcore.methods.cvae_zsl import CVAEZSL
from zslcore.training.replica import ALONE, Replica

TRAIN = {"hidden": 16, "projection": 8, "members": 2, "batch_size": 16, "lr": 0.01, "epochs": 4}


@pytest.fixture(scope="module")
def two(cluster: Any) -> Iterator[Any]:
    """The cluster with a second node, for the last tests: those before have one processor."""
    node = cluster.add_node(num_cpus=1)
    yield cluster
    cluster.remove_node(node)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    data = make_dataset(seen=6, unseen=3, per_class=6)
    write_data(tmp_path / "artifacts/toy", data)
    monkeypatch.chdir(write_project(tmp_path, {"train": TRAIN, "finetune": {"epochs": 1}}))
    artifacts.write_json(Path("results/toy/selected.json"), {"train": {}, "generate": {}, "classify": {}})
    return tmp_path


@pytest.mark.slow
def test_an_error_for_people_comes_back_at_once(cluster: Any, tmp_path: Path) -> None:
    from zslcore.compute.ray_train import fit_on_ray

    def fit(replica: Replica) -> None:
        with (tmp_path / "begun").open("a") as file:
            file.write("x")
        raise ZSLError("train: the loss (total) is nan")

    with pytest.raises(ZSLError, match=r"^engine ray: train: the loss \(total\) is nan$"):
        fit_on_ray(fit, rows=8, folder=tmp_path / "checkpoints")
    assert (tmp_path / "begun").read_text() == "x", "one worker, as the cluster has one processor, and once"


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"workers": 0}, r"^--workers 0: each takes its rows of a batch, which has 8; give 1 to 8$"),
        ({"workers": 9}, r"^--workers 9: each takes .* give 1 to 8$"),
        ({"workers": 2}, r"^--workers 2: the cluster at [\d.:]+ has room for 1; give no more, or add machines to it$"),
        ({"gpus": 1}, "^device cuda: no node of the cluster has a GPU"),
    ],
)
def test_workers_that_cannot_be(cluster: Any, tmp_path: Path, asked: dict[str, int], why: str) -> None:
    from zslcore.compute.ray_train import fit_on_ray

    with pytest.raises(ZSLError, match=why):
        fit_on_ray(lambda replica: None, rows=8, folder=tmp_path, **asked)


def test_options_of_ray_without_it(project: Path) -> None:
    with pytest.raises(ZSLError, match=r"^zsl train --address, --workers: only for --engine ray; add it"):
        stages.train.command("toy", address="localhost:1", workers=2)


def test_ray_is_missing(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stages.finetune.command("toy")
    monkeypatch.delitem(sys.modules, "zslcore.compute.ray_train", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit):
        run(lambda: stages.train.command("toy", engine="ray"))
    assert capsys.readouterr().err.endswith("error: this needs ray: pip install 'zslcore[ray]'\n")


@pytest.mark.slow
def test_the_stage_writes_what_it_writes_without_ray(two: Any, project: Path) -> None:
    stages.finetune.command("toy")
    stages.train.command("toy")
    trained, curve = Path("artifacts/toy/trained.safetensors"), Path("results/toy/train.csv")
    about, wanted = artifacts.read_tensors(trained, artifacts.TRAINED)
    terms = np.genfromtxt(curve, delimiter=",", names=True)
    stages.train.command("toy", engine="ray", workers=2)
    found_about, found = artifacts.read_tensors(trained, artifacts.TRAINED)
    assert found_about == about
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
    of_ray = np.genfromtxt(curve, delimiter=",", names=True)
    assert of_ray.dtype == terms.dtype
    for name in terms.dtype.names or ():
        np.testing.assert_allclose(of_ray[name], terms[name], rtol=1e-5, err_msg=name)
    assert not list((project / ".zsl/train").iterdir())


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_training_goes_on(two: Any, tmp_path: Path) -> None:
    """Killed after epoch 15, the second of two goes on from the checkpoint of epoch 10, as a generative method."""
    from zslcore.compute.ray_train import fit_on_ray

    toy = make_dataset(seen=5, unseen=2, per_class=12)
    data = TrainData(toy.features[toy.trainval], toy.train_labels, toy.signatures[toy.seen])

    def fit(replica: Replica) -> tuple[Any, Any, list[int]]:
        begun: list[int] = []

        def observe(done: int) -> None:
            begun.append(done)
            if done == 15 and replica.rank == 1 and not (tmp_path / "killed").exists():
                while not list(tmp_path.rglob("checkpoint_manager_snapshot.json")):
                    time.sleep(0.01)  # until Ray Train knows the checkpoint: it asks the workers every two seconds
                (tmp_path / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)

        method = CVAEZSL(CVAEZSL.Settings(hidden=8, latent=3, epochs=18, batch_size=11))
        method.replica = replica
        method.fit(data, 0, observe)
        return method.curve, method.state(), begun

    curve, state, begun = fit_on_ray(fit, rows=11, workers=2, folder=tmp_path / "checkpoints")
    assert (tmp_path / "killed").exists()
    assert begun == [*range(11, 19)]
    wanted_curve, wanted, _ = fit(ALONE)
    for found, terms in zip(curve, wanted_curve, strict=True):
        assert found == pytest.approx(terms, rel=1e-5)
    for name, value in wanted.items():
        np.testing.assert_allclose(state[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
