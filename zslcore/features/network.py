"""A backbone made ready to run on whole batches of pixels, with everything that was resolved for the run."""

import copy
import math
import os
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from zslcore.features import backbones
from zslcore.features.backbones import Backbone
from zslcore.features.settings import ExtractSettings
from zslcore.training import fast_precisions, resolve_device

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
AGREEMENT = 0.9995
"""Smallest cosine between an image's features in 16 and in 32 bits with which `precision: auto` takes 16."""


@dataclass(frozen=True)
class Run:
    """Everything a feature depends on besides the image: equal runs give equal bytes on equal machines.

    precision: fp32, bf16 or fp16; batch_size: images (the last batch is padded); compiled: by torch.compile;
    threads: of the network on a CPU.
    """

    backbone: str
    weights: str
    image_size: int | None
    device: str
    precision: str
    batch_size: int
    compiled: bool
    threads: int
    fingerprint: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values, to be stored."""
        return asdict(self)


class Network:
    """Pixels to features, always in batches of the run's size; the backbone itself is left as it is."""

    def __init__(self, run: Run, backbone: Backbone | None = None) -> None:
        self.run = run
        self.backbone = backbone or backbones.load(run.backbone, run.weights, run.image_size)
        input_size = self.backbone.preprocessing["input_size"]
        self.device, self.dtype = torch.device(run.device), DTYPES[run.precision]
        if self.device.type == "cpu":
            torch.set_num_threads(run.threads)
        example = torch.linspace(-2, 2, math.prod(input_size)).view(1, *input_size)
        module: Any = copy.deepcopy(folded(self.backbone.module, example)).to(self.device, self.dtype)
        module = module.to(memory_format=torch.channels_last)
        self.module: Any = torch.compile(module, options={"freezing": True}) if run.compiled else module
        mean, std = (torch.tensor(self.backbone.preprocessing[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
        self.mean, self.std = mean.to(self.device), std.to(self.device)

    @torch.no_grad()
    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features (n, d) float32 of pixels (n, height, width, 3); n is at most the batch size."""
        count = len(pixels)
        batch = torch.zeros((self.run.batch_size, *pixels.shape[1:]), dtype=torch.uint8)
        batch[:count] = torch.from_numpy(pixels)
        if self.device.type == "cuda":
            batch = batch.pin_memory()
        batch = batch.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        normalised = (batch.float() / 255 - self.mean) / self.std
        features = self.module(normalised.to(self.dtype, memory_format=torch.channels_last))
        return features[:count].float().cpu().numpy()


@torch.no_grad()
def folded(module: nn.Module, example: torch.Tensor) -> nn.Module:
    """A copy whose batch normalisations stand in the weights of the convolutions they directly follow.

    What follows what is seen by running `example`; where the copy's output differs, it is thrown away and the module
    itself returned.
    """
    copied = copy.deepcopy(module)
    made: dict[int, tuple[nn.Conv2d, torch.Tensor]] = {}  # tensors are kept, so that no id is used twice
    calls: Counter[nn.Module] = Counter()
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def after_convolution(layer: nn.Conv2d, _: Any, output: torch.Tensor) -> None:
        calls[layer] += 1
        made[id(output)] = layer, output

    def before_normalisation(layer: nn.BatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
        calls[layer] += 1
        if id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])][0], layer))

    hooks: list[Any] = []
    for layer in copied.modules():
        if isinstance(layer, nn.Conv2d):
            hooks.append(layer.register_forward_hook(after_convolution))
        elif isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None:
            hooks.append(layer.register_forward_pre_hook(before_normalisation))
    expected = copied(example)
    for hook in hooks:
        hook.remove()
    names = {layer: name for name, layer in copied.named_modules()}
    for convolution, normalisation in pairs:
        if calls[convolution] == calls[normalisation] == 1:
            convolution.weight, bias = fuse_conv_bn_weights(
                convolution.weight,
                convolution.bias,
                normalisation.running_mean,  # type: ignore[arg-type]
                normalisation.running_var,  # type: ignore[arg-type]
                normalisation.eps,
                normalisation.weight,
                normalisation.bias,
            )
            convolution.bias = bias
            parent, _, child = names[normalisation].rpartition(".")
            activation = getattr(normalisation, "act", nn.Identity())  # timm's have one of their own
            setattr(copied.get_submodule(parent), child, activation)
    with suppress(Exception):  # a block may use its normalisation otherwise than by calling it
        if torch.allclose(copied(example), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())):
            return copied
    return module


def resolve(backbone: Backbone, settings: ExtractSettings, device: str, sample: NDArray[np.uint8]) -> Run:
    """Decide what the settings leave open, for this machine and these pictures.

    sample: pixels (k, height, width, 3) of a few of the images. `precision: auto` takes 16 bits where the processor
    computes with them and all of the sample's features agree with those in 32 bits (`AGREEMENT`).
    """
    found = resolve_device(device)
    run = Run(
        backbone=settings.backbone,
        weights=settings.weights,
        image_size=settings.image_size,
        device=str(found),
        precision="fp32" if settings.precision == "auto" else settings.precision,
        batch_size=settings.batch_size or _batch_size(backbone, found),
        compiled=settings.compile == "always" or (settings.compile == "auto" and found.type == "cuda"),
        threads=torch.get_num_threads(),
        fingerprint=backbone.fingerprint,
    )
    if settings.precision != "auto" or not len(sample):
        return run
    trial = replace(run, batch_size=len(sample), compiled=False)
    exact = Network(trial, backbone)(sample)
    for precision in fast_precisions(found):
        rounded = Network(replace(trial, precision=precision), backbone)(sample)
        lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(rounded, axis=1)
        if ((exact * rounded).sum(axis=1) >= AGREEMENT * lengths).all():
            return replace(run, precision=precision)
    return run


def _batch_size(backbone: Backbone, device: torch.device) -> int:
    """The largest power of two, up to 256, whose activations take little of the memory."""
    largest = 0

    def measure(_: nn.Module, __: Any, output: Any) -> None:
        nonlocal largest
        largest = max(largest, output.nbytes if isinstance(output, torch.Tensor) else 0)

    hooks = [layer.register_forward_hook(measure) for layer in backbone.module.modules()]
    with torch.no_grad():
        backbone.module(torch.zeros(1, *backbone.preprocessing["input_size"]))
    for hook in hooks:
        hook.remove()
    if device.type == "cuda":
        budget = torch.cuda.get_device_properties(device).total_memory // 4
    else:
        budget = min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 16, 2**29)
    fitting = max(1, budget // (4 * max(largest, 1)))  # a layer's input and output, a shortcut and a work space
    return int(2 ** min(8, int(math.log2(fitting))))
