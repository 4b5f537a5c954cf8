"""The ready network: folding keeps the output, and the plan takes faster ways only where features agree."""

import json
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from torch import nn

from zslcore.errors import ZSLError
from zslcore.features import backbones, network
from zslcore.features.network import Network, folded, plan_extraction


def randomised(module: nn.Module) -> nn.Module:
    """Statistics of batch normalisation as after training, so that folding them wrongly shows."""
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
    return module.eval().requires_grad_(False)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "resnet18", "test_vit"])
def test_folding_keeps_the_output(name):
    module = randomised(timm.create_model(name, num_classes=0))
    picture = torch.randn(2, 3, 160, 160)
    before = module(picture)
    result = folded(module, picture)
    assert torch.allclose(result(picture), before, rtol=1e-4, atol=1e-5 * float(before.abs().max()))
    assert torch.equal(module(picture), before)
    if name != "test_vit":
        assert sum(isinstance(layer, nn.BatchNorm2d) for layer in result.modules()) == 0


def test_a_convolution_with_two_readers_is_not_folded():
    class Forked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.normalisation = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.convolution(x)
            return self.normalisation(x) + x

    module = randomised(Forked())
    assert folded(module, torch.randn(2, 3, 8, 8)) is module


def test_precision_auto_takes_sixteen_bits_only_where_they_agree(tiny, monkeypatch):
    backbone = backbones.load(tiny.backbone, "random", 32)
    auto = tiny.model_copy(update={"precision": "auto"})
    sample = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    monkeypatch.setattr(network, "fast_precisions", lambda device: ["bf16"])
    monkeypatch.setattr(network, "MIN_COSINE", 0.9)
    assert plan_extraction(backbone, auto, "cpu", sample).precision == "bf16"
    monkeypatch.setattr(network, "MIN_COSINE", 1.1)
    assert plan_extraction(backbone, auto, "cpu", sample).precision == "fp32"
    assert plan_extraction(backbone, auto, "cpu", sample[:0]).precision == "fp32"


def test_large_jpegs_are_decoded_small_only_where_features_agree(tiny, monkeypatch):
    backbone = backbones.load(tiny.backbone, "random", 32)
    bf16 = tiny.model_copy(update={"precision": "bf16"})
    sample = np.random.default_rng(0).integers(0, 250, (4, 32, 32, 3), dtype=np.uint8)
    assert plan_extraction(backbone, bf16, "cpu", sample, sample + 1).jpeg_downscaled
    assert not plan_extraction(backbone, bf16, "cpu", sample, sample.copy()).jpeg_downscaled, "nothing to decode small"
    assert not plan_extraction(backbone, bf16, "cpu", sample, sample[:, ::-1].copy()).jpeg_downscaled
    assert not plan_extraction(backbone, tiny, "cpu", sample, sample + 1).jpeg_downscaled, "never in fp32"
    monkeypatch.setattr(network, "MIN_COSINE", 1.1)
    assert not plan_extraction(backbone, bf16, "cpu", sample, sample + 1).jpeg_downscaled


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        ({"precision": "bf16"}, "extract.precision: bf16: features"),
        ({"compile": True}, "extract.compile: true: features"),
        ({"precision": "bf16", "compile": True}, "extract.precision: bf16, compile: true: features"),
    ],
)
def test_what_is_asked_for_is_done_with_a_warning_where_it_does_not_agree(tiny, monkeypatch, caplog, change, asked):
    backbone = backbones.load(tiny.backbone, "random", 32)
    sample = np.random.default_rng(0).integers(0, 250, (6, 32, 32, 3), dtype=np.uint8)
    settings = tiny.model_copy(update=change)
    monkeypatch.setattr(torch, "compile", lambda module, **_: module)
    plan = plan_extraction(backbone, settings, "cpu", sample)
    assert (plan.precision, plan.compiled) == (settings.precision, settings.compile)
    assert not caplog.records
    plain = Network._features

    def turned(self, pixels):
        exact = self.plan.precision == "fp32" and not self.plan.compiled
        return plain(self, pixels) * (1 if exact else torch.tensor([1.0, -1.0]).repeat(48))

    monkeypatch.setattr(Network, "_features", turned)
    assert plan_extraction(backbone, settings, "cpu", sample) == plan
    assert asked in caplog.text
    assert ("precision: auto" in caplog.text.rpartition("; set ")[2]) == ("precision" in change)
    assert ("compile: false" in caplog.text.rpartition("; set ")[2]) == ("compile" in change)


def test_agreement_is_that_of_the_worst_image():
    exact = np.array([[3, 4], [1, 0], [0, 0]], np.float32)
    assert network._smallest_cosine(exact * 2, exact) == pytest.approx(1)
    assert network._smallest_cosine(np.array([[3, 4], [1, 1], [0, 0]], np.float32), exact) == pytest.approx(0.5**0.5)
    assert np.isnan(network._smallest_cosine(np.array([[3, 4], [np.inf, 1], [0, 0]], np.float32), exact))


def test_a_network_that_cannot_be_compiled_is_an_error(tiny, monkeypatch):
    def no_compiler(module, **_):
        raise RuntimeError("no g++")

    monkeypatch.setattr(torch, "compile", no_compiler)
    backbone = backbones.load(tiny.backbone, "random", 32)
    compiled = tiny.model_copy(update={"compile": True})
    sample = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    with pytest.raises(ZSLError, match=r"no g\+\+.*extract.compile to false"):
        Network(plan_extraction(backbone, compiled, "cpu", sample[:0]), backbone)


def test_a_plan_is_stored_and_read_whole(tiny):
    backbone = backbones.load(tiny.backbone, "random", 32)
    plan = plan_extraction(backbone, tiny, "cpu", np.empty((0, 1, 1, 3), np.uint8))
    for changed in (plan, replace(plan, cpu_splits=7), replace(plan, jpeg_downscaled=True, compiled=True)):
        assert network.ExtractionPlan.from_dict(json.loads(json.dumps(changed.as_dict()))) == changed
    assert {"parts", "scaled"} < plan.as_dict().keys(), "their names in files of features"


@pytest.mark.parametrize(("batch_size", "splits"), [(1, 1), (5, 2), (8, 3), (8, 8)])
def test_how_a_batch_is_split_does_not_matter(tiny, batch_size, splits):
    backbone = backbones.load(tiny.backbone, "random", 32)
    sample = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3), dtype=np.uint8)
    plan = plan_extraction(backbone, tiny, "cpu", sample)
    expected = Network(replace(plan, batch_size=8, cpu_splits=1), backbone)(sample)
    other = Network(replace(plan, batch_size=batch_size, cpu_splits=splits), backbone, threads=2)
    found = np.concatenate([other(sample[first : first + batch_size]) for first in range(0, 8, batch_size)])
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_batch_size_shrinks_with_the_pictures(tiny):
    auto = tiny.model_copy(update={"batch_size": None})
    none = np.empty((0, 1, 1, 3), np.uint8)
    small, large = (plan_extraction(backbones.load(tiny.backbone, "random", s), auto, "cpu", none) for s in (32, 1024))
    assert small.batch_size == 256
    assert 1 <= large.batch_size < 256


@pytest.mark.slow
def test_compiled_agrees(tiny, monkeypatch):
    monkeypatch.setattr("torch._inductor.config.compile_threads", 1)  # a pool of processes would import torch first
    block = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    backbone = backbones.from_module("block", nn.Sequential(*block), {"img_size": 32})
    sample = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    plain, compiled = (
        Network(plan_extraction(backbone, tiny.model_copy(update={"compile": choice}), "cpu", sample), backbone)(sample)
        for choice in (False, True)
    )
    assert np.abs(plain - compiled).max() <= 1e-5 * np.abs(plain).max()
