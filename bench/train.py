"""Speed of training: samples a second, and how near a step comes to its bare matrix products.

    python bench/train.py [--methods f-clswgan,cada-vae] [--batch 256] [--threads 2] [--precision fp32] [--repeats 5]
                          [--device cpu]

Every method trains on random features at its papers' widths, or at `--hidden`, the main method (one member) at its
default settings (2048-d features, 312 attributes, 150 classes). The matrix products of one turn of all players are
recorded, then run alone: `fraction` is their time over the turn's.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from zslcore.compute.cores import one_heap
from zslcore.methods import registry
from zslcore.methods._generative import Data, Generative
from zslcore.methods.clusterable.train import Member, objective
from zslcore.settings import Train
from zslcore.training.loop import Player, Terms
from zslcore.training.seeding import seeded

DIMENSIONS, ATTRIBUTES, CLASSES = 2048, 312, 150
MAIN = "clusterable"
METHODS = f"{MAIN},cvae-zsl,se-zsl,ocd,cada-vae,f-clswgan,lisgan,rff-gzsl,f-vaegan-d2,tf-vaegan,jgm-zsl,ce-gzsl"
WIDTHS: dict[str, dict[str, Any]] = {
    "cvae-zsl": {"hidden": 1024, "latent": 50},
    "cada-vae": {"image_hidden": (1560, 1660), "signature_hidden": (1450, 665)},
}
"""The papers' widths, where they are not 4096."""
PRODUCTS = {"mm", "addmm", "bmm"}


class Recorder(TorchDispatchMode):
    """Notes the operands' shapes and layout of every matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.products: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in PRODUCTS:
            left, right = args[-2:]
            self.products.append((left.detach().clone(), right.detach().clone()))
        return func(*args, **(kwargs or {}))


def fastest(runs: Sequence[Callable[[], None]], repeats: int, device: str) -> list[float]:
    """Least time of each, called in turn so that what else the machine does meets all of them alike.

    With one thread its processor time, which other work disturbs less; with more the wall time.
    """
    on_gpu = torch.device(device).type == "cuda"
    clock = time.process_time if torch.get_num_threads() == 1 and not on_gpu else time.perf_counter
    best = [float("inf")] * len(runs)
    for repeat in range(repeats + 1):
        for number, run in enumerate(runs):
            started = clock()
            run()
            if on_gpu:
                torch.cuda.synchronize()
            if repeat:  # the first is to warm up
                best[number] = min(best[number], clock() - started)
    return best


def built(name: str, hidden: int | None, device: str) -> Generative:
    """A method with its modules, not fitted."""
    cls = registry.get(name)
    method = cls(cls.Settings(device=device, **({"hidden": hidden} if hidden else WIDTHS.get(name, {"hidden": 4096}))))
    assert isinstance(method, Generative)
    method.device, method.seen_classes, method.attributes = torch.device(device), CLASSES, ATTRIBUTES
    method._build(DIMENSIONS)
    return method


def players_of(name: str, given: argparse.Namespace, data: Data) -> Sequence[Player]:
    """The players of a method that is not fitted, on these data."""
    if name != MAIN:
        return built(name, given.hidden, given.device).players(data)
    settings = Train(hidden=given.hidden or Train().hidden)
    member = Member(settings, DIMENSIONS, ATTRIBUTES, CLASSES).to(given.device)

    def terms(rows: Tensor, epoch: int) -> Terms:
        return objective(member, settings, data.x[rows], data.y[rows], data.a)

    return [Player(terms, member.parameters(), settings.lr, (settings.beta1, settings.beta2))]


def one_turn(name: str, given: argparse.Namespace) -> Callable[[], None]:
    """One turn of every player of a method, with its optimiser steps, on a batch of random features."""
    with seeded(0, "bench"):
        y = torch.arange(4 * given.batch) % CLASSES
        random = torch.rand(len(y), DIMENSIONS), y, torch.rand(CLASSES, ATTRIBUTES)
        players = players_of(name, given, Data(*(one.to(given.device) for one in random)))
        rows = torch.randperm(len(y))[: given.batch].to(given.device)
    moved = [list(player.parameters) for player in players]
    optimisers = [player.stepper(parameters) for player, parameters in zip(players, moved, strict=True)]

    def turn() -> None:
        for player, parameters, optimiser in zip(players, moved, optimisers, strict=True):
            for _ in range(player.steps):
                with torch.autocast(torch.device(given.device).type, torch.bfloat16, enabled=given.precision == "bf16"):
                    total = player.terms(rows, 100)["total"]
                total.backward(inputs=parameters)
                optimiser.step()

    return turn


def products(turn: Callable[[], None]) -> Callable[[], None]:
    """The matrix products of a turn alone."""
    with Recorder() as recorder:
        turn()

    def bare() -> None:
        for left, right in recorder.products:
            torch.matmul(left, right)

    return bare


def main() -> None:
    """Print one line a method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--hidden", type=int)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    given = parser.parse_args()
    one_heap()  # as the command line does
    torch.set_num_threads(given.threads)
    print(f"batch {given.batch}, {given.threads} threads, {given.precision}, torch {torch.__version__}")
    print(f"{'method':<12} {'samples/s':>10} {'ms/turn':>9} {'products':>9} {'fraction':>9}")
    for name in given.methods.split(","):
        turn = one_turn(name, given)
        whole, bare = fastest([turn, products(turn)], given.repeats, given.device)
        speed = f"{given.batch / whole:>10.0f} {1000 * whole:>9.1f} {1000 * bare:>9.1f} {bare / whole:>9.2f}"
        print(f"{name:<12} {speed}", flush=True)


if __name__ == "__main__":
    main()
