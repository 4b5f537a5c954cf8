"""Peak memory of the extraction at several numbers of images: `python bench/extract_memory.py [10000 100000 ...]`.

Pictures of 32 x 32 in one tar archive go through timm's smallest test network, each count in a separate process.
Fails where one of them fails, or where the largest peak is more than a tenth above the smallest (of 10,000 images or
more: fewer do not fill what is bounded).
"""

import argparse
import io
import multiprocessing
import tarfile
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from zslcore.features.extract import extract_images
from zslcore.features.image_sources import Tar
from zslcore.settings import Extract

SETTINGS = Extract(backbone="test_resnet.r160_in1k", weights="random", image_size=32, precision="fp32")
GROWTH = 1.1
"""Of the peak, at most, from 10,000 images on."""


def archive(path: Path, count: int) -> None:
    """So many different pictures."""
    random = np.random.default_rng(0)
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            stream = io.BytesIO()
            Image.fromarray(random.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(stream, "BMP")
            member = tarfile.TarInfo(f"{number:08}.bmp")
            member.size = stream.tell()
            stream.seek(0)
            tar.addfile(member, stream)
            tar.members.clear()  # else the archive's object keeps every header it has written


def measure(folder: Path, count: int) -> float:
    """Extract, print the peak of this process, and return it in MiB."""
    started = time.monotonic()
    extract_images(Tar(str(folder / "images.tar")), folder / "out.h5", SETTINGS, "cpu", None, folder / "store")
    # getrusage's peak counts the process that this one was forked from
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024
    print(f"{count:9,} images: peak {peak:6.0f} MiB, {time.monotonic() - started:.0f} s", flush=True)
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("counts", type=int, nargs="*", default=[10_000, 100_000])
    peaks = {}
    for count in parser.parse_args().counts:
        with (
            tempfile.TemporaryDirectory() as temporary,
            ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool,
        ):
            archive(Path(temporary, "images.tar"), count)
            try:
                peaks[count] = pool.submit(measure, Path(temporary), count).result()
            except Exception as error:
                raise SystemExit(f"{count:,} images: the extraction failed ({error})") from error
    many = [peak for count, peak in peaks.items() if count >= 10_000]
    if many and max(many) > GROWTH * min(many):
        raise SystemExit(
            f"memory grows with the images: from {min(many):.0f} to {max(many):.0f} MiB, by more than 10 %"
        )


if __name__ == "__main__":
    main()
