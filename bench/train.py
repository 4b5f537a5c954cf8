"""Speed of training: samples a second, and how near a step comes to its bare matrix products.

    python bench/train.py [--methods f-clswgan,cada-vae] [--batch 256] [--threads 2] [--precision fp32] [--repeats 5]
    python bench/train.py --hidden 1024 --batch 64 --seeds 3 [--compile]

Every method trains on random features at its papers' widths, or at `--hidden` (2048-d features, 312 attributes, 150
classes). The matrix products of one turn of all players are recorded, then run alone: `fraction` is their time over the
turn's. With `--seeds` or `--compile` it shows instead how many times faster than one after another that many seeds are
together, and than as it stands a compiled turn.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from zslcore.methods import registry
from zslcore.methods._generative import Data, Generative
from zslcore.together import Together
from zslcore.training import CompileName, compiled, seeded

DIMENSIONS, ATTRIBUTES, CLASSES = 2048, 312, 150
METHODS = "cvae-zsl,se-zsl,ocd,cada-vae,f-clswgan,lisgan,rff-gzsl,f-vaegan-d2,tf-vaegan,jgm-zsl,ce-gzsl"
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


def fastest(runs: Sequence[Callable[[], None]], repeats: int) -> list[float]:
    """Least time of each, called in turn so that what else the machine does meets all of them alike.

    With one thread its processor time, which other work disturbs less; with more the wall time.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    best = [float("inf")] * len(runs)
    for repeat in range(repeats + 1):
        for number, run in enumerate(runs):
            started = clock()
            run()
            if repeat:  # the first is to warm up
                best[number] = min(best[number], clock() - started)
    return best


def built(name: str, hidden: int | None) -> Generative:
    """A method with its modules, not fitted."""
    cls = registry.get(name)
    method = cls(cls.Settings(device="cpu", **({"hidden": hidden} if hidden else WIDTHS.get(name, {"hidden": 4096}))))
    assert isinstance(method, Generative)
    method.device, method.seen_classes, method.attributes = torch.device("cpu"), CLASSES, ATTRIBUTES
    method.build(DIMENSIONS, ATTRIBUTES, CLASSES)
    return method


def one_turn(name: str, given: argparse.Namespace, seeds: int = 1, how: CompileName = "never") -> Callable[[], None]:
    """One turn of every player of a method, with its optimiser steps, on a batch of random features."""
    with seeded(0, "bench"):
        y = torch.arange(4 * given.batch) % CLASSES
        data = Data(torch.rand(len(y), DIMENSIONS), y, torch.rand(CLASSES, ATTRIBUTES))
        methods = [built(name, given.hidden) for _ in range(seeds)]
        rows = torch.stack([torch.randperm(len(y))[: given.batch] for _ in range(seeds)])
    players, streams = methods[0].players(data), nullcontext()
    if seeds == 1:
        rows = rows[0]
    else:
        together = Together([method.modules() for method in methods], range(seeds))
        players, streams = [together.player(player) for player in players], together.streams
    losses = [compiled(player.terms, how, data.x.device) for player in players]
    moved = [list(player.parameters) for player in players]
    optimisers = [player.stepper(parameters) for player, parameters in zip(players, moved, strict=True)]

    def turn() -> None:
        for player, loss, parameters, optimiser in zip(players, losses, moved, optimisers, strict=True):
            for _ in range(player.steps):
                with streams, torch.autocast("cpu", torch.bfloat16, enabled=given.precision == "bf16"):
                    total = loss(rows, 100)["total"].sum()
                torch.autograd.backward(total, inputs=parameters)
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
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--compile", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"batch {given.batch}, {given.threads} threads, {given.precision}, torch {torch.__version__}")
    variants = ["together"] * (given.seeds > 1) + ["compiled"] * given.compile
    names = variants or ["products", "fraction"]
    print(f"{'method':<12} {'samples/s':>10} {'ms/turn':>9} " + " ".join(f"{name:>9}" for name in names))
    for name in given.methods.split(","):
        turn = one_turn(name, given)
        others = {
            "together": lambda name=name: one_turn(name, given, given.seeds),
            "compiled": lambda name=name: one_turn(name, given, how="always"),
            "products": lambda turn=turn: products(turn),
        }
        whole, *times = fastest([turn, *(others[column]() for column in variants or ["products"])], given.repeats)
        if variants:
            work = {"together": given.seeds, "compiled": 1}
            found = [f"{work[column] * whole / taken:>9.2f}" for column, taken in zip(variants, times, strict=True)]
        else:
            found = [f"{1000 * times[0]:>9.1f}", f"{times[0] / whole:>9.2f}"]
        print(f"{name:<12} {given.batch / whole:>10.0f} {1000 * whole:>9.1f} {' '.join(found)}", flush=True)


if __name__ == "__main__":
    main()
