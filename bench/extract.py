"""Images/s of the extraction: (a) a loop by hand with timm, (b) `zsl extract`, (c) the network alone, and their ratios.

    python bench/extract.py [--images FOLDER] [--backbone NAME] [--weights W] [--count N] [--rounds R]

(b) decodes, computes, commits every batch to a store on the disk and writes the file of features from it, as a user's
run does; only getting the network ready is not counted. Without a folder the pictures are JPEGs of 500 x 667 pixels,
as in the usual data sets. The loops take turns, round by round, and the median of each counts, so that a busy machine
disturbs all of them alike. On one that is too busy for that, `OMP_NUM_THREADS=1 ... --cpu-time` compares the processor
time they take, in images a core's second.
"""

import argparse
import copy
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from torch import nn

from zslcore.features import backbones
from zslcore.features.batches import decode_and_compute, decode_image
from zslcore.features.extract import plan_of_store, write
from zslcore.features.image_sources import Folder, ImageRef
from zslcore.features.network import Network
from zslcore.features.store import open_store
from zslcore.settings import Extract


def photographs(folder: Path, count: int) -> None:
    """JPEGs with structure on every scale, so that decoding costs what it costs with photographs."""
    random = np.random.default_rng(0)
    for number in range(count):
        layers = (random.normal(0, 25, (500 // s + 1, 667 // s + 1, 3)).astype(np.float32) for s in (2, 8, 32, 128))
        sizes = (np.repeat(np.repeat(v, s, 0), s, 1)[:500, :667] for v, s in zip(layers, (2, 8, 32, 128), strict=True))
        pixels = np.clip(128 + sum(sizes), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04}.jpg", quality=90)


def by_hand(module: nn.Module, prepare: Callable[[Image.Image], torch.Tensor], files: list[Path], device: str) -> None:
    """What one writes first: one picture after the other, fp32, batches of 32."""
    batch_size = 32
    with torch.no_grad():
        for start in range(0, len(files), batch_size):
            pictures = [prepare(Image.open(file).convert("RGB")) for file in files[start : start + batch_size]]
            module(torch.stack(pictures).to(device)).cpu().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of images; default: drawn JPEGs of 500 x 667 pixels")
    parser.add_argument("--backbone", default="resnet101.tv_in1k")
    parser.add_argument("--weights", default="random", help="random (the speed is the same), pretrained, file:PATH")
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16", "fp16"])
    parser.add_argument("--output", default="pooled", choices=["pooled", "map", "both", "before"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--count", type=int, default=256, help="images a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--cpu-time", action="store_true", help="count processor time of all threads, not the clock's")
    options = parser.parse_args()
    settings = Extract(
        backbone=options.backbone,
        weights=options.weights,
        precision=options.precision,
        compile=options.compile,
        output=options.output,
    )
    backbone = backbones.load(settings.backbone, settings.weights)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.images or Path(temporary, "images")
        if not options.images:
            folder.mkdir()
            photographs(folder, options.count)
        images = list(Folder(str(folder)))[: options.count]
        files = [Path(image.path) for image in images if isinstance(image, ImageRef)]
        with open_store(None) as store:
            store.want(images)
            plan = plan_of_store(store, backbone, settings, options.device)
        started = time.perf_counter()
        network, prepare = Network(plan, backbone), plan.transform(backbone)
        ready = time.perf_counter() - started
        batch = np.stack([np.asarray(decode_image(image, prepare).pixels) for image in images[: plan.batch_size]])
        print(f"{options.backbone}, {len(files)} images, {plan}", flush=True)
        print(f"the network was ready after {ready:.1f} s, which no loop below counts", flush=True)
        staged = network.stage(batch)
        plain, usual = (
            copy.deepcopy(backbone.module).to(plan.device),
            timm.data.create_transform(**backbone.preprocessing),
        )

        def whole() -> None:
            place = Path(tempfile.mkdtemp(dir=temporary))
            with open_store(place / "store.sqlite") as store:
                count, _ = store.want(images)
                batches = store.pending(plan.batch_size)
                for done, outcomes in decode_and_compute(network, prepare, batches, store.knows):
                    store.commit(done, outcomes)
                write(
                    store,
                    place / "features.h5",
                    count,
                    network.layout,
                    Extract(on_bad_image="skip"),
                    plan.as_dict(),
                    None,
                )

        def alone() -> None:
            for first in range(0, len(files), len(batch)):
                network.finish(network.start(staged, min(len(batch), len(files) - first)))

        def decoding() -> None:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(lambda image: decode_image(image, prepare).key, images))

        loops: dict[str, Callable[[], None]] = {
            "a: by hand": lambda: by_hand(plain, usual, files, plan.device),
            "b: zsl extract": whole,
            "c: network alone": alone,
            "d: decoding alone": decoding,
        }
        clock = time.process_time if options.cpu_time else time.perf_counter
        seconds: dict[str, list[float]] = {name: [] for name in loops}
        network(batch)
        for _ in range(options.rounds):
            for name, loop in loops.items():
                started = clock()
                loop()
                seconds[name].append(clock() - started)
        rate = {name: len(files) / statistics.median(times) for name, times in seconds.items()}
        for name, value in rate.items():
            print(f"{name:18} {value:8.1f} images/s")
        a, b, c, _ = rate.values()
        print(f"b/a {b / a:.2f}   b/c {b / c:.2f}")


if __name__ == "__main__":
    main()
