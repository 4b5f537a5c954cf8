"""A backbone made ready for whole batches of pixels, by a plan that says how they are computed."""

import copy
import logging
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from zslcore.errors import ZSLError, first_line
from zslcore.features import backbones
from zslcore.features.backbones import Backbone
from zslcore.features.images import Transform, transform
from zslcore.features.regions import framed, layout, wrapped
from zslcore.settings import Extract, Output, Views, number_or
from zslcore.training.device import fast_precisions, resolve_device

logger = logging.getLogger(__name__)

PROCESSORS = torch.get_num_threads()
"""Threads that torch started with, by OMP_NUM_THREADS and the process's affinity."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
STORED_NAMES = {"cpu_splits": "parts", "jpeg_downscaled": "scaled"}
"""What files of features (version 1) and stores call these, where it is something else."""
UNSAID = {"output": "pooled", "views": 1}
"""What these are where files and stores do not say: they are left out so that older ones hold the same."""
WANTED = {
    "pooled": "",
    "map": ", maps",
    "both": ", vectors and maps",
    "before": ", vectors and maps before the last stage",
}
MIN_COSINE = 0.9995
"""Between an image's features on a faster path and in plain fp32: `auto` takes that path only where no image of the
sample has a smaller one."""


@dataclass(frozen=True)
class ExtractionPlan:
    """Everything a feature depends on besides the image: equal plans give equal bytes on equal machines.

    precision: fp32, bf16 or fp16; batch_size: images (the last batch is padded); compiled: by torch.compile;
    cpu_splits: parts of a batch, each computed by one thread of a CPU, so that no layer waits for the slowest thread;
    jpeg_downscaled: large JPEGs are decoded at a fraction of their size (`transform`); output, views: as in `Extract`.
    """

    backbone: str
    weights: str
    image_size: int | None
    device: str
    precision: str
    batch_size: int
    compiled: bool
    cpu_splits: int
    jpeg_downscaled: bool
    fingerprint: str
    output: Output = "pooled"
    views: Views = 1

    def __str__(self) -> str:
        """For people."""
        compiled = "compiled" if self.compiled else "not compiled"
        jpegs = "decoded small where large" if self.jpeg_downscaled else "decoded whole"
        batches = f"batches of {self.batch_size} in {self.cpu_splits} part{'s' * (self.cpu_splits > 1)}"
        views = "" if self.views == 1 else f", views: {self.views}"
        how = f"{self.precision}, {compiled}, {batches}, JPEGs {jpegs}{WANTED[self.output]}{views}"
        return f"{self.backbone} on {self.device} in {how}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values under the names they have in files (`STORED_NAMES`)."""
        said = {name: value for name, value in asdict(self).items() if name not in UNSAID or UNSAID[name] != value}
        return {STORED_NAMES.get(name, name): value for name, value in said.items()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """The plan that `as_dict` stored."""
        stored_names = {field.name: STORED_NAMES.get(field.name, field.name) for field in fields(cls)}
        given = {name: stored[stored_name] for name, stored_name in stored_names.items() if name not in UNSAID}
        return cls(**given, **{name: stored.get(name, value) for name, value in UNSAID.items()})

    def transform(self, backbone: Backbone) -> Transform:
        """Image files to the pixels that `Network` takes."""
        return transform(framed(backbone, self.views), self.jpeg_downscaled)


class Network:
    """Pixels to features, in batches of the plan's size but for `unpadded`; the backbone itself is not changed.

    Features are (n, d) float32; with maps a row holds the map, flat, too, and `record` puts it in shape.

    A batch goes through `stage`, `start` and `finish`. On CUDA the first copies on a stream of its own, and the second
    returns at once: one batch can be staged while another is computed. backbone: None loads the plan's. threads:
    number that compute the parts of a batch on a CPU, None: one a part. Raises ZSLError when the backbone cannot be
    loaded, or when it is to be compiled and cannot be.
    """

    def __init__(self, plan: ExtractionPlan, backbone: Backbone | None = None, threads: int | None = None) -> None:
        self.plan = plan
        self.backbone = backbone or backbones.load(plan.backbone, plan.weights, plan.image_size)
        channels, *crop = self.backbone.preprocessing["input_size"]
        _, height, width = framed(self.backbone, plan.views)["input_size"]
        self.layout = layout(self.backbone, plan.output)
        self.split_size = math.ceil(plan.batch_size / plan.cpu_splits)
        self.shape = self.split_size * plan.cpu_splits, height, width, channels
        self.device, self.dtype = torch.device(plan.device), DTYPES[plan.precision]
        self.on_cuda = self.device.type == "cuda"
        self.copying = torch.cuda.Stream(self.device) if self.on_cuda else None  # type: ignore[no-untyped-call]
        if self.on_cuda and plan.precision == "fp32":  # else convolutions round to TensorFloat-32, of 10 bits
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        self.threads = ThreadPoolExecutor(threads or plan.cpu_splits, initializer=torch.set_num_threads, initargs=(1,))
        example = torch.linspace(-2, 2, channels * math.prod(crop)).view(1, channels, *crop)
        ready = copy.deepcopy(folded(self.backbone.module, example))
        module: Any = wrapped(ready, self.backbone, plan.output, plan.views).to(self.device, self.dtype)
        self.module: Any = module.to(memory_format=torch.channels_last)
        mean, std = (torch.tensor(self.backbone.preprocessing[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
        self.mean, self.std = mean.to(self.device), std.to(self.device)
        if plan.compiled:
            try:
                self.module = torch.compile(self.module, options={"freezing": True})
                self.start(self.stage([]), 1)  # compiles, before several threads would at once
            except Exception as error:  # compilers and their absence raise what they like
                raise ZSLError(
                    f"torch.compile of {plan.backbone} failed ({first_line(error)}); it needs a C++ compiler: "
                    "install one, or set extract.compile to false"
                ) from error

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features (n, d) float32 of pixels (n, height, width, 3); n is at most the batch size."""
        return self.finish(self.start(self.stage(pixels), len(pixels)))

    def record(self, row: NDArray[np.float32]) -> NDArray[Any]:
        """What is stored of an image, from its row of `finish`: a vector as it is, else a record of `layout`."""
        if self.plan.output == "pooled":
            return row
        record, start = np.zeros((), self.layout), 0
        for name in self.layout.names or ():
            kind, shape = self.layout[name].subdtype or (self.layout[name], ())
            end = start + math.prod(shape)
            record[name] = row[start:end].reshape(shape).astype(kind)
            start = end
        return record

    def overflows(self, row: NDArray[np.float32]) -> str | None:
        """Why a row of `finish` cannot be stored, where it holds more than its numbers can."""
        if not np.isfinite(row).all():
            return f"its features overflow in {self.plan.precision}: set extract.precision to fp32"
        if self.plan.output != "pooled" and np.abs(row).max() > np.finfo(np.float16).max:
            return "its feature map overflows in float16: set extract.output to pooled"
        return None

    def unpadded(self, pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Features (n, d) float32 of any number of pictures (height, width, 3), in the caller's thread.

        Not in batches of the plan's size: one picture takes the time of one, and the last bits of its features may
        differ.
        """
        return self._features(torch.from_numpy(np.stack(pixels)).to(self.device)).cpu().numpy()

    def stage(self, pixels: Sequence[NDArray[np.uint8] | None] | NDArray[np.uint8]) -> torch.Tensor:
        """A batch (splits × images a split, height, width, 3) uint8 on the device; missing images are zeros."""
        batch = torch.zeros(self.shape, dtype=torch.uint8, pin_memory=self.on_cuda)
        values = batch.numpy()
        for place, image in enumerate(pixels):
            if image is not None:
                values[place] = image
        if self.copying is None:
            return batch
        with torch.cuda.stream(self.copying):
            return batch.to(self.device, non_blocking=True)

    def start(self, staged: torch.Tensor, count: int) -> torch.Tensor:
        """Features (count, d) float32 of the first images of a staged batch; on CUDA perhaps still being computed."""
        if self.copying is not None:
            now = torch.cuda.current_stream(self.device)
            now.wait_stream(self.copying)
            staged.record_stream(now)
            return self._features(staged)[:count]
        splits = [staged[first : first + self.split_size] for first in range(0, count, self.split_size)]
        return torch.cat(list(self.threads.map(self._features, splits)))[:count]

    def finish(self, started: torch.Tensor) -> NDArray[np.float32]:
        """The features (count, d) float32 of a started batch, once they are there."""
        return started.cpu().numpy()

    @torch.no_grad()
    def _features(self, pixels: torch.Tensor) -> torch.Tensor:
        normalised = (pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        output: torch.Tensor = self.module(normalised.to(self.dtype, memory_format=torch.channels_last))
        return output.float()


@torch.no_grad()
def folded(module: nn.Module, example: torch.Tensor) -> nn.Module:
    """A copy whose batch normalisations are folded into the weights of the convolutions they directly follow.

    Running `example`, a batch of the module's inputs, shows which layer follows which. Where the copy's output
    differs, the module itself is returned.
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
            activation = getattr(normalisation, "act", nn.Identity())  # timm's layers include one
            setattr(copied.get_submodule(parent), child, activation)
    with suppress(Exception):  # a block may use its normalisation otherwise than by calling it
        if torch.allclose(copied(example), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())):
            return copied
    return module


def plan_extraction(
    backbone: Backbone,
    settings: Extract,
    device: str,
    sample: NDArray[np.uint8],
    downscaled: NDArray[np.uint8] | None = None,
) -> ExtractionPlan:
    """Decide what the settings leave open, for this machine and these pictures.

    sample: pixels (k, height, width, 3) of a few of the images, k may be 0; downscaled: the same images, decoded at a
    fraction of their size. `precision: auto` takes 16 bits where the processor computes with them; with 16 bits, large
    JPEGs are decoded small. Each only where the features of every image of the sample agree with those of plain fp32
    (`MIN_COSINE`). What the settings ask for is done; where its features do not agree, a warning says so.
    Raises ZSLError when the network is to be compiled and cannot be.
    """
    where = resolve_device(device)
    batch_size = number_or(settings.batch_size, 0) or _batch_size(backbone, where)
    plan = ExtractionPlan(
        backbone=settings.backbone,
        weights=settings.weights,
        image_size=number_or(settings.image_size, None),
        device=str(where),
        precision="fp32" if settings.precision == "auto" else settings.precision,
        batch_size=batch_size,
        compiled=settings.compile,
        cpu_splits=1 if where.type == "cuda" else min(PROCESSORS, batch_size),
        jpeg_downscaled=False,
        fingerprint=backbone.fingerprint,
        output=settings.output,
        views=settings.views,
    )
    if not len(sample) or (settings.precision == "fp32" and not settings.compile):
        return plan
    trial = replace(plan, batch_size=len(sample), cpu_splits=min(plan.cpu_splits, len(sample)), compiled=False)
    exact = Network(replace(trial, precision="fp32"), backbone)(sample)

    def cosine(precision: str, pixels: NDArray[np.uint8]) -> float:
        return _smallest_cosine(Network(replace(trial, precision=precision), backbone)(pixels), exact)

    if settings.precision == "auto":
        fast = (precision for precision in fast_precisions(where) if cosine(precision, sample) >= MIN_COSINE)
        plan = replace(plan, precision=next(fast, "fp32"))
    if downscaled is not None and plan.precision != "fp32" and (downscaled != sample).any():
        plan = replace(plan, jpeg_downscaled=cosine(plan.precision, downscaled) >= MIN_COSINE)
    instead = {}  # of what the settings ask for
    if settings.precision not in ("auto", "fp32"):
        instead[f"precision: {settings.precision}"] = "precision: auto"
    if settings.compile:
        instead["compile: true"] = "compile: false"
    if instead:
        asked_for = plan if settings.compile else replace(trial, precision=plan.precision)
        smallest = _smallest_cosine(_in_batches(Network(asked_for, backbone), sample), exact)
        if not smallest >= MIN_COSINE:
            logger.warning(
                "extract.%s: features of %s fall to a cosine of %.4f with those of plain fp32, below %s; set %s",
                ", ".join(instead), plan.backbone, smallest, MIN_COSINE, ", ".join(instead.values()),
            )  # fmt: skip
    return plan


def _smallest_cosine(features: NDArray[np.float32], exact: NDArray[np.float32]) -> float:
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(features, axis=1)
    cosines = np.ones_like(lengths)
    with np.errstate(invalid="ignore"):  # features that overflow give nan, which agrees with nothing
        np.divide((exact * features).sum(axis=1), lengths, out=cosines, where=lengths != 0)
    return float(cosines.min())


def _in_batches(network: Network, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    size = network.plan.batch_size
    return np.concatenate([network(pixels[first : first + size]) for first in range(0, len(pixels), size)])


def _batch_size(backbone: Backbone, device: torch.device) -> int:
    """The largest power of two, up to 256, whose activations take little of the memory.

    On a CPU also little enough to fit in its caches: ResNet101's took 40 ms an image in batches of 16, 44 of 32.
    """
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
        with torch.cuda.device(device):
            budget = torch.cuda.mem_get_info()[0] // 4
    else:
        budget = min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 16, 2**28)
    fitting = max(1, budget // (4 * max(largest, 1)))  # a layer's input and output, a shortcut and a work space
    return int(2 ** min(8, int(math.log2(fitting))))
