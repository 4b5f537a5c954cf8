"""The ready network: folding keeps the output, and what is resolved is resolved by agreement."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from torch import nn

from zslcore.errors import ZSLError
from zslcore.features import backbones, network
from zslcore.features.network import Network, folded, resolve


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
    monkeypatch.setattr(network, "AGREEMENT", 0.9)
    assert resolve(backbone, auto, "cpu", sample).precision == "bf16"
    monkeypatch.setattr(network, "AGREEMENT", 1.1)
    assert resolve(backbone, auto, "cpu", sample).precision == "fp32"
    assert resolve(backbone, auto, "cpu", sample[:0]).precision == "fp32"


def test_large_jpegs_are_decoded_small_only_where_features_agree(tiny, monkeypatch):
    backbone = backbones.load(tiny.backbone, "random", 32)
    bf16 = tiny.model_copy(update={"precision": "bf16"})
    sample = np.random.default_rng(0).integers(0, 250, (4, 32, 32, 3), dtype=np.uint8)
    assert resolve(backbone, bf16, "cpu", sample, sample + 1).scaled
    assert not resolve(backbone, bf16, "cpu", sample, sample.copy()).scaled, "nothing there to be decoded small"
    assert not resolve(backbone, bf16, "cpu", sample, sample[:, ::-1].copy()).scaled
    assert not resolve(backbone, tiny, "cpu", sample, sample + 1).scaled, "fp32 has one way of decoding"
    monkeypatch.setattr(network, "AGREEMENT", 1.1)
    assert not resolve(backbone, bf16, "cpu", sample, sample + 1).scaled


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        ({"precision": "bf16"}, "extract.precision: bf16: features"),
        ({"compile": "always"}, "extract.compile: always: features"),
        ({"precision": "bf16", "compile": "always"}, "extract.precision: bf16, compile: always: features"),
    ],
)
def test_what_is_asked_for_is_done_with_a_warning_where_it_does_not_agree(tiny, monkeypatch, caplog, change, asked):
    backbone = backbones.load(tiny.backbone, "random", 32)
    sample = np.random.default_rng(0).integers(0, 250, (6, 32, 32, 3), dtype=np.uint8)
    settings = tiny.model_copy(update={"compile": "never", **change})
    monkeypatch.setattr(torch, "compile", lambda module, **_: module)
    run = resolve(backbone, settings, "cpu", sample)
    assert (run.precision, run.compiled) == (settings.precision, settings.compile == "always")
    assert not caplog.records
    plain = Network._features

    def turned(self, pixels):
        exact = self.run.precision == "fp32" and not self.run.compiled
        return plain(self, pixels) * (1 if exact else torch.tensor([1.0, -1.0]).repeat(48))

    monkeypatch.setattr(Network, "_features", turned)
    assert resolve(backbone, settings, "cpu", sample) == run
    assert asked in caplog.text
    assert "set it to auto" in caplog.text


def test_agreement_is_that_of_the_worst_image():
    exact = np.array([[3, 4], [1, 0], [0, 0]], np.float32)
    assert network._smallest_cosine(exact * 2, exact) == pytest.approx(1)
    assert network._smallest_cosine(np.array([[3, 4], [1, 1], [0, 0]], np.float32), exact) == pytest.approx(0.5**0.5)
    assert np.isnan(network._smallest_cosine(np.array([[3, 4], [np.inf, 1], [0, 0]], np.float32), exact))


class Compiler:
    """Leaves a network as it is; by a clock of its own a batch then takes `seconds`, and one without it a second."""

    def __init__(self) -> None:
        self.now, self.seconds, self.compiled = 0.0, 0.5, 0

    def __call__(self, module: nn.Module, **_: object) -> nn.Module:
        self.compiled += 1
        return module


@pytest.fixture
def compiler(monkeypatch):
    found = Compiler()
    plain_start = Network.start

    def start(self, staged, count):
        found.now += found.seconds if self.run.compiled else 1.0
        return plain_start(self, staged, count)

    monkeypatch.setattr(Network, "start", start)
    monkeypatch.setattr(network, "time", SimpleNamespace(perf_counter=lambda: found.now))
    monkeypatch.setattr(torch, "compile", found)
    return found


def test_compile_auto_compiles_where_a_long_run_gets_shorter(tiny, compiler, monkeypatch):
    backbone = backbones.load(tiny.backbone, "random", 32)
    sample = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    assert resolve(backbone, tiny, "cpu", sample, count=10**6).compiled
    compiler.seconds = 0.86
    assert not resolve(backbone, tiny, "cpu", sample, count=10**6).compiled, "the decoders would eat so small a gain"
    compiler.seconds = 0.84
    assert resolve(backbone, tiny, "cpu", sample, count=10**6).compiled
    assert compiler.compiled == 3
    monkeypatch.setattr(network, "WORTH_TRYING", 1e9)
    assert not resolve(backbone, tiny, "cpu", sample, count=10**6).compiled
    assert compiler.compiled == 3, "a short run was compiled to see"


def test_compile_auto_leaves_it_where_it_cannot_be_done_or_differs(tiny, compiler, monkeypatch, caplog):
    backbone = backbones.load(tiny.backbone, "random", 32)
    sample = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    monkeypatch.setattr(torch, "compile", lambda module, **_: lambda pixels: module(pixels.flip(2)))
    assert not resolve(backbone, tiny, "cpu", sample, count=10**6).compiled

    def no_compiler(module, **_):
        raise RuntimeError("no g++")

    monkeypatch.setattr(torch, "compile", no_compiler)
    assert not resolve(backbone, tiny, "cpu", sample, count=10**6).compiled
    assert "no g++" in caplog.text
    with pytest.raises(ZSLError, match=r"no g\+\+.*extract.compile to never"):
        Network(resolve(backbone, tiny.model_copy(update={"compile": "always"}), "cpu", sample), backbone)


def test_fp32_is_compiled_only_where_that_changes_no_feature(tiny, compiler, monkeypatch):
    """Else the first images would decide on the others' features: their cosines are too coarse for fp32."""
    backbone = backbones.load(tiny.backbone, "random", 32)
    bf16 = tiny.model_copy(update={"precision": "bf16"})
    sample = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    monkeypatch.setattr(torch, "compile", lambda module, **_: lambda pixels: 1.001 * module(pixels))
    assert not resolve(backbone, tiny, "cpu", sample, count=10**6).compiled
    assert resolve(backbone, bf16, "cpu", sample, count=10**6).compiled


@pytest.mark.parametrize(("batch_size", "parts"), [(1, 1), (5, 2), (8, 3), (8, 8)])
def test_parts_of_a_batch_do_not_matter(tiny, batch_size, parts):
    backbone = backbones.load(tiny.backbone, "random", 32)
    sample = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3), dtype=np.uint8)
    run = resolve(backbone, tiny, "cpu", sample)
    expected = Network(replace(run, batch_size=8, parts=1), backbone)(sample)
    other = Network(replace(run, batch_size=batch_size, parts=parts), backbone, threads=2)
    found = np.concatenate([other(sample[first : first + batch_size]) for first in range(0, 8, batch_size)])
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_batch_size_shrinks_with_the_pictures(tiny):
    auto = tiny.model_copy(update={"batch_size": None})
    none = np.empty((0, 1, 1, 3), np.uint8)
    small, large = (resolve(backbones.load(tiny.backbone, "random", s), auto, "cpu", none) for s in (32, 1024))
    assert small.batch_size == 256
    assert 1 <= large.batch_size < 256


@pytest.mark.slow
def test_compiled_agrees(tiny):
    backbone = backbones.load(tiny.backbone, "random", 32)
    sample = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    plain, compiled = (
        Network(resolve(backbone, tiny.model_copy(update={"compile": choice}), "cpu", sample), backbone)(sample)
        for choice in ("never", "always")
    )
    assert np.abs(plain - compiled).max() <= 1e-5 * np.abs(plain).max()
