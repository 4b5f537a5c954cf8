"""The one training loop: batches, players, curves."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from zslcore.errors import ZSLError
from zslcore.io.artifacts import atomic
from zslcore.progress import epoch_done
from zslcore.training.checkpoint import Checkpoint
from zslcore.training.device import PrecisionName, in_bf16
from zslcore.training.optimisers import SGD, Adam, Optimiser
from zslcore.training.replica import ALONE, Replica
from zslcore.training.shuffled import Draw

Terms = dict[str, Tensor]
"""Named loss terms of one batch; `total` is what is minimised."""
LossTerms = Callable[[Tensor, int], Terms]
"""Of the rows (n,) of a batch, in an epoch counted from 0."""
OptimiserName = Literal["adam", "sgd"]
Curve = list[dict[str, float]]
"""Mean of each term over an epoch, one entry an epoch."""
EXPLODED = 1e8
"""A loss this large is as good as infinite."""


def write_curves(path: Path, curves: Mapping[int, Curve]) -> None:
    """Write training curves as CSV: seed, epoch (from 1), and each term's mean."""
    import pandas as pd

    rows = [
        {"seed": seed, "epoch": epoch, **terms}
        for seed, curve in curves.items()
        for epoch, terms in enumerate(curve, 1)
    ]
    with atomic(path) as temporary:
        columns = None if rows else ["seed", "epoch", "total"]
        pd.DataFrame(rows, columns=columns).to_csv(temporary, index=False, float_format="%.6g")


def batches(count: int, batch_size: int, device: torch.device) -> Iterator[Tensor]:
    """One shuffled pass over 0..count-1, drawn on the CPU so that the order is the same on every device."""
    order = torch.randperm(count).to(device)
    for start in range(0, count, batch_size):
        yield order[start : start + batch_size]


@dataclass(frozen=True)
class Player:
    """What one optimiser minimises: most methods have a single player, adversarial ones let several take turns.

    terms(rows, epoch): the loss terms of a batch, with epoch counted from 0. parameters: those the player moves; its
    gradient reaches no others. optimiser: Adam, or SGD with `momentum`. steps: its steps a turn, all but the last on
    rows drawn at random. name: put before the names of its terms in the curve; players of one name share their means.
    whole: its loss is no mean over rows (pairs of them, means of classes), so that replicas do not share a batch but
    compute all of it each.
    """

    terms: LossTerms
    parameters: Iterable[Tensor]
    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    amsgrad: bool = False
    optimiser: OptimiserName = "adam"
    momentum: float = 0.0
    steps: int = 1
    name: str = ""
    whole: bool = False

    def stepper(self, parameters: list[Tensor]) -> Optimiser:
        """A new optimiser of these parameters."""
        if self.optimiser == "sgd":
            return SGD(parameters, self.lr, self.momentum, self.weight_decay)
        return Adam(parameters, self.lr, self.betas, self.weight_decay, self.amsgrad)


def alternate(
    players: Sequence[Player],
    *,
    count: int,
    epochs: int,
    batch_size: int,
    label: str = "training",
    precision: PrecisionName = "fp32",
    begin: Callable[[int], None] | None = None,
    observe: Callable[[int], None] | None = None,
    checkpoint: Checkpoint | None = None,
    rate: Callable[[int], float] | None = None,
    parts: int = 1,
    replica: Replica = ALONE,
    draw: Draw | None = None,
) -> Curve:
    """Each player in turn on every shuffled batch of the rows 0..count-1, each with a separate optimiser.

    begin(epoch), counted from 0, is called before each epoch, observe(epochs done) after it. precision: with bf16, or
    auto where `in_bf16`, matrix products are taken in bfloat16 and everything else in float32. With a checkpoint,
    training goes on where a killed run with the same checkpoint stood, to the same bytes on the CPU. rate(epoch): what
    the players' rates are multiplied by in an epoch, counted from 0. parts: of a batch, whose gradients are added up
    before the step, so that the memory is that of a part. replica: this process among those that train together; the
    curve is that of all, equal on each. draw: gives the batches of an epoch, None: a full shuffle. Call it inside
    `seeded`.
    Raises ZSLError when a loss stops being finite or explodes, naming the last good checkpoint.
    """
    moved = [[parameter for parameter in player.parameters if parameter.requires_grad] for player in players]
    optimisers = [player.stepper(parameters) for player, parameters in zip(players, moved, strict=True)]
    device = moved[0][0].device
    bf16 = in_bf16(precision, device)
    curve: Curve = [] if checkpoint is None else checkpoint.restore(optimisers)
    for means in curve:
        epoch_done(means)
    for epoch in range(len(curve), epochs):
        if begin is not None:
            begin(epoch)
        if rate is not None:
            for player, optimiser in zip(players, optimisers, strict=True):
                optimiser.lr = player.lr * rate(epoch)
        sums: Terms = {}
        for batch in draw(batch_size) if draw is not None else batches(count, batch_size, device):
            for player, parameters, optimiser in zip(players, moved, optimisers, strict=True):
                for left in reversed(range(player.steps)):
                    rows = torch.randint(count, batch.shape).to(device) if left else batch
                    for part in rows.chunk(parts):
                        with (
                            replica.share(part, player.whole) as (mine, weight),
                            torch.autocast(device.type, torch.bfloat16, enabled=bf16),
                        ):
                            values = player.terms(mine, epoch)
                        weight *= len(part) / len(rows)
                        loss = values["total"] if weight == 1 else values["total"] * weight
                        torch.autograd.backward(loss, inputs=parameters)
                        for name, value in values.items():
                            key = f"{player.name}.{name}" if player.name else name
                            sums[key] = sums.get(key, 0) + value.detach().float() * (weight * len(rows))
                    replica.sum_gradients(parameters)
                    optimiser.step()
        steps: dict[str, int] = {}
        for player in players:
            steps[player.name] = steps.get(player.name, 0) + player.steps
        totals = replica.sum_terms(sums)
        means = {name: float(value.double() / count / steps[_player(name)]) for name, value in totals.items()}
        for name, mean in means.items():
            if name.split(".")[-1] == "total" and not abs(mean) < EXPLODED:
                good = "" if checkpoint is None else f"; the last good checkpoint is {checkpoint.last()}"
                raise ZSLError(f"{label}: the loss ({name}) is {mean:g} in epoch {epoch + 1}; use a smaller lr{good}")
        curve.append(means)
        epoch_done(means)
        if observe is not None:  # before the epoch is stored: what is stored has been observed
            observe(epoch + 1)
        if checkpoint is not None:
            checkpoint.store(optimisers, curve, last=epoch + 1 == epochs)
    return curve


def _player(term: str) -> str:
    return term.rpartition(".")[0]


def minimise(
    terms: Callable[[Tensor, int], Terms],
    parameters: Iterable[Tensor],
    *,
    count: int,
    epochs: int,
    batch_size: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    weight_decay: float = 0.0,
    optimiser: OptimiserName = "adam",
    momentum: float = 0.0,
    label: str = "training",
    precision: PrecisionName = "fp32",
    begin: Callable[[int], None] | None = None,
    observe: Callable[[int], None] | None = None,
    checkpoint: Checkpoint | None = None,
    rate: Callable[[int], float] | None = None,
    parts: int = 1,
    draw: Draw | None = None,
) -> Curve:
    """`alternate` with a single player: Adam, or SGD with `momentum`, on `terms(rows, epoch)["total"]`."""
    return alternate(
        [Player(terms, parameters, lr, betas, weight_decay, optimiser=optimiser, momentum=momentum)],
        count=count,
        epochs=epochs,
        batch_size=batch_size,
        label=label,
        precision=precision,
        begin=begin,
        observe=observe,
        checkpoint=checkpoint,
        rate=rate,
        parts=parts,
        draw=draw,
    )
