"""A model as one graph: `onnxruntime` gives the same probabilities as the model."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from zslcore.errors import ZSLError
from zslcore.evaluation.protocol import Task
from zslcore.features import backbones
from zslcore.features.network import ExtractionPlan
from zslcore.features.regions import framed
from zslcore.methods import registry
from zslcore.methods.base import TrainData
from zslcore.model.header import BackboneHeader, Confidence, Header, Temperature, of_method
from zslcore.model.images import Extractor
from zslcore.model.model import Model
from zslcore.settings import Views

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
SEEN = 6
DOCS = Path(__file__).parents[2] / "docs/serve.md"


def of_pictures(method: str, settings: dict[str, Any], views: Views = 1) -> Model:
    """A model of random pictures, with a tiny network of random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(3, 16, 8, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    backbone = backbones.from_module("tiny", module, {"input_size": (3, 64, 64), "crop_pct": 0.9})
    pre = backbone.preprocessing
    plan = ExtractionPlan("tiny", "random", None, "cpu", "fp32", 4, False, 1, False, backbone.fingerprint, views=views)
    extractor = Extractor(BackboneHeader(plan=plan.as_dict(), preprocessing=pre))
    vars(extractor)["backbone"] = backbone  # which has no name to be loaded by
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (24, *framed(backbone, views)["input_size"][1:], 3), np.uint8)
    features = extractor.network.unpadded(list(pixels))
    signatures = random.uniform(0, 1, (8, 5)).astype(np.float32)
    kind = registry.get(method)
    fitted = kind(kind.Settings(**settings)).fit(TrainData(features, np.repeat(np.arange(SEEN), 4), signatures[:SEEN]))
    header = Header(
        name="random",
        method=method,
        settings=of_method(fitted.settings),
        seeds=(0,),
        classes=tuple(f"class {k}" for k in range(8)),
        attributes=tuple("abcde"),
        calibration=0.05,
        confidence=Confidence(temperature=Temperature(joint=0.3, unseen=0.2)),
    )
    return Model(header, signatures, np.arange(8) < SEEN, (fitted,), extractor)


MAIN = {
    "device": "cpu",
    "finetune": {"epochs": 1},
    "train": {"hidden": 16, "projection": 8, "epochs": 2, "members": 2, "feedback": 0.1},
    "generate": {"per_unseen": 5, "per_seen": 5},
    "classify": {"epochs": 2, "feedback": 0.5},
}


@pytest.mark.parametrize(
    ("method", "settings", "among"),
    [
        ("eszsl", {}, "all"),
        ("eszsl", {"scaling": "sphere"}, "unseen"),
        ("eszsl", {"scaling": "power"}, ("class 1", "class 7")),
        ("eszsl", {"scaling": "centred"}, "unseen"),
        ("eszsl", {"scaling": "centred_sphere"}, "unseen"),
        ("clusterable", MAIN, "all"),
    ],
)
def test_the_graph_says_what_the_model_says(method: str, settings: dict[str, Any], among: Any, tmp_path: Path) -> None:
    from zslcore.model.onnx import export

    model = of_pictures(method, settings)
    names = export(model, tmp_path / "f.onnx", among)
    assert model.extractor is not None
    height, width = model.extractor.backbone.preprocessing["input_size"][1:]
    pixels = np.random.default_rng(1).integers(0, 256, (3, height, width, 3), np.uint8)
    expected = model.probabilities(model.extractor.network.unpadded(list(pixels)), among)
    expected = expected[:, [model.classes.index(name) for name in names]]
    session = onnxruntime.InferenceSession(tmp_path / "f.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(["probabilities"], {"pixels": pixels})
    np.testing.assert_allclose(found, expected, atol=1e-4)
    (one,) = session.run(["probabilities"], {"pixels": pixels[:1]})
    np.testing.assert_allclose(one, found[:1], atol=1e-5)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == list(names)
    if method == "eszsl" and among == "all":
        the_script_of_the_docs_names_a_picture(model, tmp_path)


@pytest.mark.parametrize("views", ["flip", "five"])
def test_the_graph_averages_the_views_of_the_training_images(views: Views, tmp_path: Path) -> None:
    """A mirrored picture has the probabilities of the picture, and crops are taken of the larger square."""
    from zslcore.model.onnx import export

    model = of_pictures("eszsl", {}, views)
    export(model, tmp_path / "f.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "f.onnx", providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["preprocessing"])
    side = 71 if views == "five" else 64  # 64 / 0.9
    assert about["input_size"] == [3, side, side]
    pixels = np.random.default_rng(1).integers(0, 256, (2, side, side, 3), np.uint8)
    (found,) = session.run(["probabilities"], {"pixels": pixels})
    assert model.extractor is not None
    np.testing.assert_allclose(found, model.probabilities(model.extractor.network.unpadded(list(pixels))), atol=1e-4)
    plain = replace(model.extractor, header=of_one_view(model.extractor.header))
    vars(plain)["backbone"] = model.extractor.backbone
    (alone,) = session.run(["probabilities"], {"pixels": pixels[:, :, ::-1]})
    if views == "flip":
        np.testing.assert_allclose(alone, found, atol=1e-5)
    crop = pixels[:, (side - 64) // 2 :][:, :64, (side - 64) // 2 :][:, :, :64]
    assert np.abs(model.probabilities(plain.network.unpadded(list(crop))) - found).max() > 1e-3


def of_one_view(header: BackboneHeader) -> BackboneHeader:
    return header.model_copy(update={"plan": {name: value for name, value in header.plan.items() if name != "views"}})


def the_script_of_the_docs_names_a_picture(model: Model, folder: Path) -> None:
    import subprocess
    import sys

    script = next(re.finditer(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)).group(1)
    assert "torch" not in script
    assert len(script.strip().splitlines()) <= 20
    picture = Image.fromarray(np.random.default_rng(2).integers(0, 256, (190, 300, 3), np.uint8))
    content = io.BytesIO()
    picture.save(content, "PNG")
    (folder / "picture.png").write_bytes(content.getvalue())
    command = [sys.executable, "-c", script, "f.onnx", "picture.png"]
    out = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    (expected,) = model.predict([content.getvalue()], top=3)
    lines = [line.rsplit(" ", 1) for line in out.splitlines()]
    assert [name for name, _ in lines] == list(expected.classes)
    np.testing.assert_allclose([float(value) for _, value in lines], expected.probabilities, atol=2e-3)


def test_methods_that_are_no_graph_are_refused(toy_task: Task, tmp_path: Path) -> None:
    from zslcore.model.onnx import export

    with pytest.raises(ZSLError, match="scores of this method are no graph"):
        export(of_pictures("dap", {}), tmp_path / "f.onnx")
    assert not list(tmp_path.iterdir())
