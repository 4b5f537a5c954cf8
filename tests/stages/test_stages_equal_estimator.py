"""The stages and the estimator are the same functions: the chain of files gives the estimator's very scores."""

from pathlib import Path

import numpy as np
import pytest

import stages.classify
import stages.finetune
import stages.generate
import stages.train
from zslcore import artifacts
from zslcore.datasets import dataset as datasets
from zslcore.datasets.dataset import Dataset
from zslcore.evaluation.protocol import benchmark_task, score
from zslcore.methods.clusterable import Clusterable, ClusterableSettings
from zslcore.params import load_params

PARAMS = """
datasets: [toy]
seeds: [3]
device: cpu
presets:
  toy:
    best:
      finetune: {epochs: 3, whiten: WHITEN}
      train: {hidden: 32, projection: 16, batch_size: 32, encoder_signature: true, members: 2, FEEDBACK}
      generate: {per_unseen: 15, per_seen: 5, noise: 0.1}
      classify: {epochs: 4, seen: both, zsl: ZSL, feedback: WEIGHT}
"""


FEEDBACK = {
    0.0: "feedback: 0",
    0.5: "feedback: 0.1, feedback_loss: cosine",
    0.7: "feedback: 0.1, feedback_loss: cosine, feedback_from: features, feedback_noise: 0.3",
}


@pytest.mark.parametrize("weight", list(FEEDBACK))
@pytest.mark.parametrize("zsl", ["own", "joint"])
def test_scores_are_equal(
    zsl: str, weight: float, toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(
        PARAMS.replace("ZSL", zsl)
        .replace("FEEDBACK", FEEDBACK[weight])
        .replace("WEIGHT", str(weight))
        .replace("WHITEN", str(weight))
    )
    datasets.save(Path("artifacts/toy/dataset.h5"), toy, {})
    with artifacts.create(Path("artifacts/toy/features.h5"), artifacts.FEATURES, {}) as file:
        file["features"] = toy.features
    chosen = {"train": {"epochs": 5}, "generate": {}, "classify": {"calibration": 0.5}}
    artifacts.write_json(Path("results/toy/selected.json"), chosen)
    for stage in (stages.finetune, stages.train, stages.generate, stages.classify):
        stage.command("toy")

    settings = load_params().resolve("toy").with_chosen(Path("results/toy/selected.json"))
    sections = {name: getattr(settings, name) for name in ("finetune", "train", "generate", "classify")}
    task = benchmark_task(toy, toy.features)
    method = Clusterable(ClusterableSettings(**sections, device="cpu")).fit(task.train, seed=3)
    expected = score(method, task, seed=3)
    with artifacts.open_artifact(Path("artifacts/toy/scores.h5"), artifacts.SCORES) as file:
        for name in ("zsl", "joint_seen", "joint_unseen"):
            np.testing.assert_array_equal(artifacts.array(file, f"seed=3/{name}"), getattr(expected, name))
