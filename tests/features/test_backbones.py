"""Backbones: the pooled output of timm's networks, and weights from wherever they come."""

import importlib
import sys

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from huggingface_hub import constants
from PIL import Image

from zslcore.datasets.dataset import load_features
from zslcore.errors import ZSLError
from zslcore.features import backbones
from zslcore.features.extract import extract_images
from zslcore.features.image_sources import Folder
from zslcore.settings import Extract

TINY = "test_resnet.r160_in1k"


def test_output_is_the_pooled_one_before_the_classifier():
    found = backbones.load(TINY, "random")
    whole = timm.create_model(TINY)
    whole.load_state_dict(found.module.state_dict(), strict=False)
    picture = torch.randn(2, 3, 160, 160)
    expected = whole.eval().forward_features(picture).mean(dim=(2, 3))
    assert torch.allclose(found.module(picture), expected, atol=1e-5)
    assert found.dimensions == expected.shape[1]


def test_random_weights_are_always_the_same_and_leave_the_generator_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    assert backbones.load(TINY, "random").fingerprint == backbones.load(TINY, "random").fingerprint
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_weights_placed_by_hand(tmp_path, kind):
    torch.manual_seed(1)
    state = timm.create_model(TINY).state_dict()
    path = tmp_path / f"weights.{kind}"
    if kind == "safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save({"state_dict": state}, path)
    module = backbones.load(TINY, f"file:{path}").module
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


def test_packaged_weights_need_no_download():
    found = backbones.load("tf_efficientnet_lite0")
    assert found.dimensions == 1280
    assert found.fingerprint.startswith("b3a46228")


def test_packaged_weights_must_line_up(tmp_path, monkeypatch):
    torch.save(timm.create_model(TINY).state_dict(), tmp_path / "other.pth")
    monkeypatch.setitem(backbones.PACKAGED, "tf_efficientnet_lite0", lambda: tmp_path / "other.pth")
    with pytest.raises(ZSLError, match="line up"):
        backbones.load("tf_efficientnet_lite0")


def test_fingerprint_sees_every_tensor():
    module = backbones.load(TINY, "random").module
    for tensor in (next(module.parameters()), list(module.buffers())[-2]):
        before = backbones.fingerprint(module)
        tensor.data.view(-1)[-1] += 1
        assert backbones.fingerprint(module) != before


def test_mistakes_are_explained(tmp_path, monkeypatch):
    (tmp_path / "foreign").write_bytes(b"not weights")
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pth")
    for name, weights, message in [
        ("resnet101x", "random", "resne"),
        (TINY, "imagenet", "file:PATH"),
        (TINY, "file:", "file:PATH"),
        (TINY, f"file:{tmp_path}/none", "no such file"),
        (TINY, f"file:{tmp_path}/foreign", "not weights of"),
        (TINY, f"file:{tmp_path}/other.pth", "not weights of"),
    ]:
        with pytest.raises(ZSLError, match=message):
            backbones.load(name, weights)

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(
        ZSLError,
        match=r"no answer.*tf_efficientnet_lite0, whose weights are installed.*huggingface.co/timm/.*file:PATH",
    ):
        backbones.load(TINY)


MINE = """
import torch
from torch import nn
from zslcore.features.backbones import from_module
from mynets.parts import FACTOR

class Colours(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(3, 5)

    def forward(self, pictures):
        return FACTOR * self.mix(pictures.mean(dim=(2, 3)))

def colours(weights, image_size):
    module = Colours()
    if weights == "ones":
        nn.init.ones_(module.mix.weight)
    side = image_size or 24
    size = {"input_size": (3, side, side), "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "crop_pct": 1.0}
    return from_module("colours", module, size)

def bare(weights, image_size):
    return Colours()

def unpooled(weights, image_size):
    return from_module("unpooled", nn.Conv2d(3, 5, 3), {"input_size": (3, 24, 24)})

def failing(weights, image_size):
    raise KeyError("no such weights")
"""


@pytest.fixture
def mynets(tmp_path, monkeypatch):
    """A package of someone else's, whose files can be written anew: `mynets(factor, source)`."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)

    def write(factor: float = 1.0, source: str = MINE) -> None:
        (tmp_path / "mynets").mkdir(exist_ok=True)
        (tmp_path / "mynets/nets.py").write_text(source)
        (tmp_path / "mynets/parts.py").write_text(f"FACTOR = {factor}")
        for name in ("mynets", "mynets.nets", "mynets.parts"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()

    write()
    yield write
    for name in ("mynets", "mynets.nets", "mynets.parts"):
        sys.modules.pop(name, None)


def test_a_function_of_another_package_is_a_backbone(mynets, tmp_path):
    settings = Extract(backbone="mynets.nets:colours", weights="ones", precision="fp32", batch_size=2)
    (tmp_path / "pictures").mkdir()
    values = np.random.default_rng(0).integers(0, 255, (3, 24, 24, 3), dtype=np.uint8)
    for number, picture in enumerate(values):
        Image.fromarray(picture).save(tmp_path / f"pictures/{number}.png")

    def extract(**changes: object) -> tuple[int, np.ndarray]:
        images, chosen = Folder(str(tmp_path / "pictures")), settings.model_copy(update=changes)
        summary = extract_images(images, tmp_path / "out.h5", chosen, "cpu", None, tmp_path / "store")
        return summary.computed, load_features(tmp_path / "out.h5", np.arange(3))

    bias = backbones.load("mynets.nets:colours", "ones").module.mix.bias.numpy()
    expected = (values / 255).mean(axis=(1, 2)).sum(axis=1, keepdims=True) + bias
    computed, features = extract()
    assert computed == 3
    np.testing.assert_allclose(features, expected, rtol=1e-5)
    assert extract()[0] == 0, "kept in the store"
    mynets(factor=2.0)
    computed, features = extract()
    assert computed == 3, "features of the code as it was are not those of the edited one"
    np.testing.assert_allclose(features, 2 * expected, rtol=1e-5)
    assert extract(weights="random")[0] == 3, "nor those of other weights"
    mynets(source=MINE.replace("pictures.mean", "(1 - pictures).mean"))
    assert extract()[0] == 3
    mynets()
    assert extract()[0] == 0, "the first code's are still there"


def test_what_a_function_is_called_with_and_what_identifies_it(mynets):
    found = backbones.load("mynets.nets:colours", "random", 16)
    assert (found.name, found.dimensions) == ("mynets.nets:colours", 5)
    assert found.preprocessing["input_size"] == (3, 16, 16)
    assert not found.module.training
    assert found.fingerprint == backbones.load("mynets.nets:colours", "random", 16).fingerprint
    for other in ("ones", "pretrained"):  # the second of which this function makes no difference of
        assert found.fingerprint != backbones.load("mynets.nets:colours", other).fingerprint
    mynets(factor=3.0)
    assert found.fingerprint != backbones.load("mynets.nets:colours", "random", 16).fingerprint


def test_a_backbone_in_a_single_file_is_identified_by_it(mynets, tmp_path):
    found = []
    for comment in ("", "# edited", ""):
        (tmp_path / "mynets_alone.py").write_text(f"from mynets.nets import colours\n{comment}")
        sys.modules.pop("mynets_alone", None)
        importlib.invalidate_caches()
        found.append(backbones.load("mynets_alone:colours", "ones").fingerprint)
    assert found[0] == found[2] != found[1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.nets:colours", r"cannot be imported \(ModuleNotFoundError: .*nowhere.*package\.module:function"),
        ("mynets.nets:colour", r"cannot be imported \(AttributeError: .*colour"),
        ("mynets.nets:", r"cannot be imported|failed"),
        (":colours", r"cannot be imported"),
        ("mynets.nets:FACTOR", r"function\(weights, image_size\) failed \(TypeError: .*not callable"),
        ("mynets.nets:bare", r"returned Colours, not a Backbone; .*from_module"),
        ("mynets.nets:unpooled", r"backbone unpooled: of one picture it makes \(1, 5, 22, 22\)"),
        ("mynets.nets:failing", r"failed \(KeyError: 'no such weights'\)"),
    ],
)
def test_mistakes_of_another_package_are_explained(mynets, name, message):
    with pytest.raises(ZSLError, match=message):
        backbones.load(name)


@pytest.mark.slow
def test_vgg19_gives_fc7_after_its_relu():
    found = backbones.load("vgg19", "random")
    features = found.module(torch.randn(1, 3, 224, 224))
    assert features.shape == (1, 4096)
    assert (features >= 0).all()
    assert (features == 0).any()
