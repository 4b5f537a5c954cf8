"""What stands before a stage is computed once: the same bytes as of whole passes, and nothing stale."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from zslcore.datasets import dataset as datasets
from zslcore.features import backbones
from zslcore.features.batches import Engine, local
from zslcore.features.extract import extract_images
from zslcore.features.halves import last_stage, learned
from zslcore.features.image_sources import Folder
from zslcore.features.network import plan_extraction
from zslcore.features.trunk import Rest, over_trunk
from zslcore.io import artifacts
from zslcore.settings import Extract

NAME, STAGE = "test_efficientnet", last_stage(backbones.load("test_efficientnet", "random"))


@pytest.fixture
def tuned(tmp_path: Path) -> Path:
    """Weights that differ from the random ones from the last stage on."""
    module = backbones.load(NAME, "random").module
    for parameter in learned(module, STAGE):
        parameter.data += 0.1 * torch.randn(parameter.shape)
    safetensors.torch.save_file(module.state_dict(), tmp_path / "tuned.safetensors")
    return tmp_path / "tuned.safetensors"


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"output": "both", "views": "flip"},
        {"precision": "bf16", "output": "map"},
        {"views": "five"},
        {"output": "before", "views": "flip"},
    ],
)
def test_the_bytes_are_those_of_whole_passes(
    asked: dict[str, Any], tuned: Path, pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches of several parts, the last one padded, with an image that cannot be read."""
    monkeypatch.setattr("zslcore.features.network.PROCESSORS", 2)
    images = Folder(str(pictures(5)))
    (Path(images.path) / "bad.png").write_bytes(b"no picture")
    settings = {"backbone": NAME, "precision": "fp32", "batch_size": 4, "on_bad_image": "skip", **asked}
    computed = []

    def counted(plan: Any, backbone: Any, batches: Any, store: Any) -> Any:
        for images, outcomes in local(1)(plan, backbone, batches, store):
            computed.extend(one for one in outcomes if one.features is not None)
            yield images, outcomes

    def run(weights: str, out: str, engine: Engine) -> dict[str, bytes]:
        extract_images(images, tmp_path / out, Extract(**settings, weights=weights), "cpu", engine, tmp_path / out[:-3])
        with artifacts.open_artifact(tmp_path / out, artifacts.FEATURES) as file:
            return {name: file[name][()].tobytes() for name in file if name in ("features", "maps", "skipped")}

    shared = over_trunk(counted, STAGE, tmp_path / "shared")
    for weights in ("random", f"file:{tuned}"):
        assert run(weights, "halves.h5", shared) == run(weights, "whole.h5", local(1))
        assert list(datasets.skipped_rows(tmp_path / "halves.h5")) == [5]
    assert len(computed) == 5


def test_other_weights_before_the_stage_are_another_trunk(tuned: Path) -> None:
    loaded, after, before = (backbones.load(NAME, weights) for weights in ("random", f"file:{tuned}", "random"))
    next(before.module.parameters()).data += 1
    asked = Extract(backbone=NAME, precision="fp32", batch_size=4)
    plan = plan_extraction(loaded, asked, "cpu", np.empty((0, 1, 1, 3), np.uint8))
    found = [Rest(plan, backbone, STAGE).trunk.fingerprint for backbone in (loaded, after, before)]
    assert found[0] == found[1] != found[2]
