"""The stages and the estimator are the same functions: the chain of files gives the estimator's very scores."""

from pathlib import Path

import numpy as np
import pytest
import torch

import stages.classify
import stages.finetune
import stages.generate
import stages.train
from tests.conftest import write_project
from zslcore.datasets import dataset as datasets
from zslcore.datasets.dataset import Dataset
from zslcore.evaluation.protocol import Scores, benchmark_task, score
from zslcore.evaluation.selected import fill
from zslcore.io import artifacts
from zslcore.io.layers import merge
from zslcore.methods.clusterable.estimator import Clusterable, ClusterableSettings
from zslcore.methods.clusterable.finetune import Finetuned
from zslcore.methods.clusterable.train import Trained
from zslcore.project.resolved import load_resolved
from zslcore.settings import Finetune, Train
from zslcore.synthesis.classifier import Classifier

TOY = {
    "finetune": {"epochs": 3},
    "train": {"hidden": 32, "projection": 16, "batch_size": 32, "encoder_signature": True, "members": 2},
    "generate": {"per_unseen": 15, "per_seen": 5, "noise": 0.1},
    "classify": {"epochs": 4, "seen": "both"},
}
FEEDBACK = {
    0.0: {"feedback": 0.0},
    0.5: {"feedback": 0.1, "feedback_loss": "cosine"},
    0.7: {"feedback": 0.1, "feedback_loss": "cosine", "feedback_from": "features", "feedback_noise": 0.3},
}


@pytest.mark.parametrize("weight", list(FEEDBACK))
@pytest.mark.parametrize("zsl", ["own", "joint"])
def test_scores_are_equal(
    zsl: str, weight: float, toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    of_run = {"train": FEEDBACK[weight], "classify": {"zsl": zsl, "feedback": weight}}
    write_project(tmp_path, {"seeds": [3]}, {"toy": merge(TOY, of_run)})
    datasets.save(Path("artifacts/toy/dataset.h5"), toy, {})
    with artifacts.create(Path("artifacts/toy/features.h5"), artifacts.FEATURES, {}) as file:
        file["features"] = toy.features
    chosen = {"train": {"epochs": 5}, "generate": {}, "classify": {"calibration": 0.5}}
    artifacts.write_json(Path("results/toy/selected.json"), chosen)
    for stage in (stages.finetune, stages.train, stages.generate, stages.classify):
        stage.command("toy")

    settings = fill(load_resolved("toy").pipeline, chosen)
    sections = {name: getattr(settings, name) for name in ("finetune", "train", "generate", "classify")}
    task = benchmark_task(toy, toy.features)
    method = Clusterable(ClusterableSettings(**sections, device="cpu")).fit(task.train, seed=3)
    expected = score(method, task, seed=3)
    with artifacts.open_artifact(Path("artifacts/toy/scores.h5"), artifacts.SCORES) as file:
        for name in ("zsl", "joint_seen", "joint_unseen"):
            np.testing.assert_array_equal(artifacts.array(file, f"seed=3/{name}"), getattr(expected, name))
    if weight == 0:
        read_back(toy, zsl, expected)


def read_back(toy: Dataset, zsl: str, expected: Scores) -> None:
    """model.safetensors holds all that scores an image: F, M and the classifiers give the same scores again."""
    cpu = torch.device("cpu")
    settings, tensors = artifacts.read_tensors(Path("artifacts/toy/model.safetensors"), artifacts.MODEL)
    state = artifacts.under(tensors, "seed=3/")
    f = Finetuned.from_state(Finetune(**settings["finetune"]), state, cpu)
    m = Trained.from_state(Train(**settings["train"]), state, cpu)
    joint, own = (
        Classifier.from_state(settings["classify"]["kind"], artifacts.under(state, f"{name}."), cpu)
        for name in ("joint", "zsl" if zsl == "own" else "joint")
    )
    unseen_only = own if zsl == "own" else own.restrict_to(np.arange(len(toy.classes)) >= len(toy.seen))
    for name, classifier, rows in (
        ("zsl", unseen_only, toy.test_unseen),
        ("joint_seen", joint, toy.test_seen),
        ("joint_unseen", joint, toy.test_unseen),
    ):
        np.testing.assert_array_equal(classifier.scores(m.project(f(toy.features))[rows]), getattr(expected, name))
