"""A backbone made ready to run on whole batches of pixels, with everything that was resolved for the run."""

import copy
import logging
import math
import os
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from zslcore.errors import ZSLError, first_line
from zslcore.features import backbones
from zslcore.features.backbones import Backbone
from zslcore.features.settings import ExtractSettings
from zslcore.training import fast_precisions, resolve_device

logger = logging.getLogger(__name__)

PROCESSORS = torch.get_num_threads()
"""Those that torch was started with: OMP_NUM_THREADS and the process's affinity have their say."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
AGREEMENT = 0.9995
"""Smallest cosine between an image's features on a faster path and in plain fp32 with which `auto` takes that path."""
SAME = 1e-5
"""Largest difference of fp32 features, beside the largest of them, that any way of computing them may make."""
COMPILED_GAIN = 0.15
"""Share of a batch's time that compiling has to save for `auto`: the network alone is timed, and measured on two cores
a gain of 6 % there made the whole extraction slower, where decoders want the processors too."""
WORTH_TRYING = 300.0
"""Seconds the network has to take without it for `compile: auto` to try: compiling takes some tens of them."""


@dataclass(frozen=True)
class Run:
    """Everything a feature depends on besides the image: equal runs give equal bytes on equal machines.

    precision: fp32, bf16 or fp16; batch_size: images (the last batch is padded); compiled: by torch.compile;
    parts: of a batch, each computed by one thread of a CPU, so that no layer waits for the slowest thread; scaled:
    large JPEGs are decoded at a fraction of their size (`transform`).
    """

    backbone: str
    weights: str
    image_size: int | None
    device: str
    precision: str
    batch_size: int
    compiled: bool
    parts: int
    scaled: bool
    fingerprint: str

    def __str__(self) -> str:
        """For people."""
        compiled, parts = "compiled" if self.compiled else "not compiled", f"{self.parts} part{'s' * (self.parts > 1)}"
        jpegs = "decoded small where large" if self.scaled else "decoded whole"
        batches = f"batches of {self.batch_size} in {parts}"
        return f"{self.backbone} on {self.device} in {self.precision}, {compiled}, {batches}, JPEGs {jpegs}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, to be stored."""
        return asdict(self)


class Network:
    """Pixels to features, always in batches of the run's size; the backbone itself is left as it is.

    A batch goes through `stage`, `start` and `finish`. On CUDA the first copies beside what is computed, and the second
    comes back at once: one batch can be staged while another is computed. threads: that compute a batch's parts on a
    CPU, None: one each. Raises ZSLError when the run is to be compiled and cannot be.
    """

    def __init__(self, run: Run, backbone: Backbone | None = None, threads: int | None = None) -> None:
        self.run = run
        self.backbone = backbone or backbones.load(run.backbone, run.weights, run.image_size)
        channels, height, width = self.backbone.preprocessing["input_size"]
        self.part = math.ceil(run.batch_size / run.parts)
        self.shape = self.part * run.parts, height, width, channels
        self.device, self.dtype = torch.device(run.device), DTYPES[run.precision]
        self.on_cuda = self.device.type == "cuda"
        self.copying = torch.cuda.Stream(self.device) if self.on_cuda else None  # type: ignore[no-untyped-call]
        if self.on_cuda and run.precision == "fp32":  # else convolutions round to TensorFloat-32, of 10 bits
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        self.threads = ThreadPoolExecutor(threads or run.parts, initializer=torch.set_num_threads, initargs=(1,))
        example = torch.linspace(-2, 2, channels * height * width).view(1, channels, height, width)
        module: Any = copy.deepcopy(folded(self.backbone.module, example)).to(self.device, self.dtype)
        self.module: Any = module.to(memory_format=torch.channels_last)
        mean, std = (torch.tensor(self.backbone.preprocessing[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
        self.mean, self.std = mean.to(self.device), std.to(self.device)
        if run.compiled:
            try:
                self.module = torch.compile(self.module, options={"freezing": True})
                self.start(self.stage([]), 1)  # compiles, before several threads would at once
            except Exception as error:  # compilers and their absence raise what they like
                raise ZSLError(
                    f"torch.compile of {run.backbone} failed ({first_line(error)}); it needs a C++ compiler: "
                    "install one, or set extract.compile to never"
                ) from error

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features (n, d) float32 of pixels (n, height, width, 3); n is at most the batch size."""
        return self.finish(self.start(self.stage(pixels), len(pixels)))

    def stage(self, pixels: Sequence[NDArray[np.uint8] | None] | NDArray[np.uint8]) -> torch.Tensor:
        """A batch (parts × images a part, height, width, 3) uint8 on the device; what is missing are zeros."""
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
        """Features of the first `count` images of a staged batch; on CUDA still under way."""
        if self.copying is not None:
            now = torch.cuda.current_stream(self.device)
            now.wait_stream(self.copying)
            staged.record_stream(now)
            return self._features(staged)[:count]
        parts = [staged[first : first + self.part] for first in range(0, count, self.part)]
        return torch.cat(list(self.threads.map(self._features, parts)))[:count]

    def finish(self, started: torch.Tensor) -> NDArray[np.float32]:
        """The features of a batch that was started, (count, d) float32."""
        return started.cpu().numpy()

    @torch.no_grad()
    def _features(self, pixels: torch.Tensor) -> torch.Tensor:
        normalised = (pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        output: torch.Tensor = self.module(normalised.to(self.dtype, memory_format=torch.channels_last))
        return output.float()


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


def resolve(
    backbone: Backbone,
    settings: ExtractSettings,
    device: str,
    sample: NDArray[np.uint8],
    scaled: NDArray[np.uint8] | None = None,
    count: int = 0,
) -> Run:
    """Decide what the settings leave open, for this machine and these pictures.

    sample: pixels (k, height, width, 3) of a few of the images; scaled: the same, decoded at a fraction of their size;
    count: how many images there are to compute. `precision: auto` takes 16 bits where the processor computes with them;
    with 16 bits large JPEGs are decoded small; `compile: auto` compiles where trying costs little of the run and
    shortens it. Each only where all of the sample's features agree with those of the plain way (`AGREEMENT`; in fp32
    `SAME`, so that what the sample is does not matter). What is asked for is done; where it does not agree, a warning
    says so.
    """
    found = resolve_device(device)
    batch_size = settings.batch_size or _batch_size(backbone, found)
    run = Run(
        backbone=settings.backbone,
        weights=settings.weights,
        image_size=settings.image_size,
        device=str(found),
        precision="fp32" if settings.precision == "auto" else settings.precision,
        batch_size=batch_size,
        compiled=settings.compile == "always",
        parts=1 if found.type == "cuda" else min(PROCESSORS, batch_size),
        scaled=False,
        fingerprint=backbone.fingerprint,
    )
    plain = {"precision": "fp32", "compile": "never"}
    chosen = settings.model_dump(include=set(plain))
    if not len(sample) or chosen == plain:
        return run
    trial = replace(run, batch_size=len(sample), parts=min(run.parts, len(sample)), compiled=False)
    exact = Network(replace(trial, precision="fp32"), backbone)(sample)

    def cosine(precision: str, pixels: NDArray[np.uint8]) -> float:
        return _smallest_cosine(Network(replace(trial, precision=precision), backbone)(pixels), exact)

    if settings.precision == "auto":
        fast = (precision for precision in fast_precisions(found) if cosine(precision, sample) >= AGREEMENT)
        run = replace(run, precision=next(fast, "fp32"))
    if scaled is not None and run.precision != "fp32" and (scaled != sample).any():
        run = replace(run, scaled=cosine(run.precision, scaled) >= AGREEMENT)
    if settings.compile == "auto":
        run = replace(run, compiled=_compiling_pays(run, backbone, sample, exact, count))
    asked = [f"{name}: {value}" for name, value in chosen.items() if value not in ("auto", plain[name])]
    if asked:
        asked_for = run if settings.compile == "always" else replace(trial, precision=run.precision)
        smallest = _smallest_cosine(_in_batches(Network(asked_for, backbone), sample), exact)
        if not smallest >= AGREEMENT:
            what = f"fall to a cosine of {smallest:.4f} with those of plain fp32, below {AGREEMENT}"
            logger.warning("extract.%s: features of %s %s; set it to auto", ", ".join(asked), run.backbone, what)
    return run


def _smallest_cosine(features: NDArray[np.float32], exact: NDArray[np.float32]) -> float:
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(features, axis=1)
    cosines = np.ones_like(lengths)
    with np.errstate(invalid="ignore"):  # features that overflow give nan, which agrees with nothing
        np.divide((exact * features).sum(axis=1), lengths, out=cosines, where=lengths != 0)
    return float(cosines.min())


def _in_batches(network: Network, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    size = network.run.batch_size
    return np.concatenate([network(pixels[first : first + size]) for first in range(0, len(pixels), size)])


def _compiling_pays(
    run: Run, backbone: Backbone, sample: NDArray[np.uint8], exact: NDArray[np.float32], count: int
) -> bool:
    """Whether compiling shortens a run over `count` images: tried only where the run is long beside the trial."""
    pixels = np.resize(sample, (run.batch_size, *sample.shape[1:]))

    def seconds(network: Network) -> float:
        times = []
        for _ in range(3):  # the first pays for waking up
            started = time.perf_counter()
            network(pixels)
            times.append(time.perf_counter() - started)
        return min(times)

    plain = seconds(Network(run, backbone))
    batches = count / run.batch_size
    if batches * plain < WORTH_TRYING:
        return False
    started = time.perf_counter()
    try:
        network = Network(replace(run, compiled=True), backbone)
    except ZSLError as error:
        logger.warning("%s", error)
        return False
    cost = time.perf_counter() - started  # the engine pays it once more
    features, saved = _in_batches(network, sample), plain - seconds(network)
    if run.precision == "fp32":
        agree = bool(np.abs(features - exact).max() <= SAME * np.abs(exact).max())
    else:
        agree = _smallest_cosine(features, exact) >= AGREEMENT
    return agree and saved >= COMPILED_GAIN * plain and batches * saved > cost


def _batch_size(backbone: Backbone, device: torch.device) -> int:
    """The largest power of two, up to 256, whose activations take little of the memory.

    On a CPU also little enough to be found in its caches: ResNet101's took 40 ms an image in batches of 16, 44 of 32.
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
