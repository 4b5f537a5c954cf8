"""One fit of the main method by one worker of a Ray cluster and by two: time and processor time an epoch, the curves.

Both run one after the other on a cluster started here, on made-up features: `python bench/replicas.py`. What Ray takes
to start its workers is shown apart. On a busy machine two workers get a larger share of it than one: there the
processor time of a worker tells more.
"""

import argparse
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from zslcore.compute.cores import one_thread
from zslcore.compute.ray_train import fit_on_ray
from zslcore.methods.clusterable.train import Trained, train
from zslcore.settings import Train
from zslcore.training.replica import ALONE, Replica


def fit(settings: Train, rows: int, replica: Replica, nudge: bool = False) -> dict[str, Any]:
    """The curve, and of each epoch the seconds and the processor's seconds of this worker.

    nudge: with every feature moved by one unit in its last place.
    """
    random = np.random.default_rng(0)
    signatures = random.uniform(size=(150, 312)).astype(np.float32)
    labels = random.integers(150, size=rows)
    features = (signatures[labels] @ random.normal(size=(312, 2048)) / 18).astype(np.float32)
    features = np.nextafter(features, np.float32(np.inf)) if nudge else features
    clocks: list[tuple[float, float]] = []

    def observe(done: int, model: Trained) -> None:
        clocks.append((time.perf_counter(), time.process_time()))

    model = train(features, labels, signatures, settings, 0, torch.device("cpu"), observe, replica)
    weights = sum(weight.numel() for weight in model.modules.parameters())
    return {"curve": model.curve, "epochs": np.diff(clocks, axis=0), "weights": weights}


def main() -> None:
    """Print a line for each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--epochs", type=int, default=6)
    asked = parser.parse_args()
    settings = Train(epochs=asked.epochs, batch_size=asked.batch_size)
    found = {}
    for workers in (1, 2):
        started = time.perf_counter()
        with TemporaryDirectory() as folder:
            work = partial(fit, settings, asked.rows)
            found[workers] = fit_on_ray(work, asked.batch_size, workers, folder=Path(folder))
        seconds, processor = np.median(found[workers]["epochs"], axis=0)
        whole = time.perf_counter() - started
        print(
            f"{workers}: {seconds:.2f} s an epoch, {processor:.2f} s of a processor each; {whole:.0f} s with its start"
        )
    one, two = (np.median(found[workers]["epochs"], axis=0) for workers in (1, 2))
    print(f"two are {one[0] / two[0]:.2f} times as fast, {one[1] / two[1]:.2f} by processor time a worker")
    print(f"{4e-6 * found[1]['weights']:.0f} MB of gradients a step")
    with one_thread():
        nudged = fit(settings, asked.rows, ALONE, nudge=True)
    apart, by_rounding = (
        max(abs(a[term] / b[term] - 1) for a, b in zip(found[1]["curve"], other["curve"], strict=True) for term in a)
        for other in (found[2], nudged)
    )
    print(f"curves differ by {apart:.1e}, relative; by {by_rounding:.1e} if features move by a unit in the last place")


if __name__ == "__main__":
    main()
