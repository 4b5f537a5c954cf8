"""Backbones: the pooled output of timm's networks, and weights from wherever they come."""

import pytest
import safetensors.torch
import timm
import torch

from zslcore.errors import ZSLError
from zslcore.features import backbones

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

    def no_network(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", no_network)
    with pytest.raises(ZSLError, match=r"no route to host.*huggingface.co/timm/.*file:PATH"):
        backbones.load(TINY)


@pytest.mark.slow
def test_vgg19_gives_fc7_after_its_relu():
    found = backbones.load("vgg19", "random")
    features = found.module(torch.randn(1, 3, 224, 224))
    assert features.shape == (1, 4096)
    assert (features >= 0).all()
    assert (features == 0).any()
