"""One epoch of uncertainty mining at n = 100 on CUB's size, over the bare matrix products that it must do.

`python bench/mining.py [--data FOLDER] [--threads N] [--rounds N]`. FOLDER holds cub's vgg_fc7.mat and att_splits.mat;
without it random numbers of the same shape are used (7,057 images of 150 classes, 4,096 features, 312 attributes).
Prints the median of the rounds, products and epochs taken in turns so that both meet the same load.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from scipy.io import loadmat

from zslcore.methods.metric_learning.estimator import MetricLearningSettings, Problem
from zslcore.methods.metric_learning.metric import AttributeMetric
from zslcore.methods.metric_learning.mining import Miner
from zslcore.scaling import Scaler
from zslcore.training.device import tensor
from zslcore.training.loop import batches

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def made_up() -> Arrays:
    """Features, labels and signatures of CUB's trainval shape."""
    random = np.random.default_rng(0)
    labels = np.arange(7057) % 150
    return random.normal(size=(7057, 4096)).astype("f4"), labels, random.uniform(size=(150, 312)).astype("f4")


def real(folder: Path) -> Arrays:
    """CUB's trainval images."""
    images, splits = loadmat(folder / "vgg_fc7.mat"), loadmat(folder / "att_splits.mat")
    rows = splits["trainval_loc"].ravel() - 1
    seen, labels = np.unique(images["labels"].ravel().astype(int)[rows] - 1, return_inverse=True)
    return images["features"].T[rows].astype("f4"), labels, splits["att"].T[seen].astype("f4")


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    features, labels, signatures = real(options.data) if options.data else made_up()

    cpu, settings = torch.device("cpu"), MetricLearningSettings()
    torch.manual_seed(0)
    x, y = (tensor(Scaler.fit(a, kind)(a), cpu) for a, kind in ((features, "standard"), (signatures, "sphere")))
    model = AttributeMetric(x.shape[1], y.mean(0).numpy(), y.shape[1], 0.5, 0.5, settings.tau)
    problem = Problem(model, x, y, torch.from_numpy(labels), settings)
    miner = Miner(labels, np.arange(len(y)), labels, 100, 10**6, growth="resample")
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-6)

    def mine() -> None:
        miner.mine(1, problem.distances)

    def epoch() -> None:
        mine()
        for rows in batches(len(x), settings.batch_size, cpu):
            optimiser.zero_grad()
            problem.loss(rows, miner.pairs, miner.size).backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    @torch.inference_mode()
    def scoring_products() -> None:
        (x @ model.w_x) @ model.w_a @ (y @ model.w_a).T

    def epoch_products() -> None:
        """Scoring, then forward and backward of xᵀ W_X, Â W_A, y W_A and their product, batch by batch."""
        scoring_products()
        for start in range(0, len(x), settings.batch_size):
            batch = x[start : start + settings.batch_size]
            (((batch @ model.w_x) @ model.w_a) @ (y @ model.w_a).T).sum().backward()  # type: ignore[no-untyped-call]

    named = {"mining": (mine, scoring_products), "epoch with mining": (epoch, epoch_products)}
    pairs = {
        name: [(seconds(work), seconds(bare)) for _ in range(options.rounds)] for name, (work, bare) in named.items()
    }
    print(f"{len(x)} images, {len(y)} classes, n = 100, {options.threads} threads, median of {options.rounds}")
    for name, found in pairs.items():
        ratio = median(work / bare for work, bare in found)
        work, bare = (median(column) for column in zip(*found, strict=True))
        print(f"{name}: {work:.2f} s; its matrix products alone: {bare:.2f} s; ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
