"""What a training loop indexes by the rows of a batch: a tensor, or rows that are read while it trains."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zslcore.io.rows import Rows, as_array, blocks, memory_limit, rows_at_once
from zslcore.nn.losses import class_means
from zslcore.training.device import tensor

BUFFERS = 2
"""Of rows, each of which is shuffled within: while one is trained on, the next is read; both fit in `memory_limit`."""
TOGETHER = 16
"""Rows that stand side by side on disk and get into the buffer together."""

Draw = Callable[[int], Iterator[Tensor]]
"""The rows of each batch of an epoch, of so many rows a batch."""


def epoch_order(count: int, capacity: int, together: int = TOGETHER) -> Tensor:
    """(count,) int64: an order in which all rows are seen, so that `capacity` of them are in memory at once.

    Runs of `together` rows are put in random order, and rows are shuffled within each `capacity` of these. Where rows
    are stored class by class, the number of a class's rows in a batch of b has a variance at most 1 + b · together /
    capacity times that of a full shuffle. With `capacity` >= `count` it is a full shuffle.
    """
    starts = torch.randperm(-(-count // together)) * together
    rows = (starts[:, None] + torch.arange(together)).flatten()
    return torch.cat([part[torch.randperm(len(part))] for part in torch.split(rows[rows < count], capacity)])


class Shuffled:
    """Rows (n, d) that are not in memory: `x[rows]` of the rows that `draw` gave last comes from a buffer.

    Of any other rows it is read from the file, slowly.
    """

    def __init__(self, rows: Rows, device: torch.device) -> None:
        self.rows, self.device, self.shape = rows, device, rows.shape
        self._buffer = torch.empty(0, rows.width, device=device)
        self._place = torch.full((len(rows),), -1)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Tensor) -> Tensor:
        place = self._place[rows.cpu()]
        if (place < 0).any():
            return tensor(np.asarray(self.rows[rows.cpu().numpy()]), self.device)
        return self._buffer[place.to(self.device)]

    def draw(self, batch_size: int) -> Iterator[Tensor]:
        """The rows of each batch of an epoch, in `epoch_order`, which is drawn on the CPU before the first."""
        capacity = max(1, memory_limit() // (BUFFERS * 4 * self.rows.width * batch_size)) * batch_size
        parts = torch.split(epoch_order(len(self), capacity), capacity)
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(self._read, parts[0])
            for part, following in zip(parts, [*parts[1:], None], strict=True):
                self._buffer = torch.empty(0)  # before the next takes memory
                self._buffer = self._ready(coming.result())
                if following is not None:
                    coming = reader.submit(self._read, following)
                self._place.fill_(-1)
                self._place[part] = torch.arange(len(part))
                yield from torch.split(part.to(self.device), batch_size)

    def _read(self, part: Tensor) -> NDArray[np.float32]:
        return self.rows.read(self.rows.numbers[part.numpy()])

    def _ready(self, values: NDArray[np.float32]) -> Tensor:
        """Computed here, in the thread that trains, a block at a time."""
        if not self.rows.functions:
            return torch.from_numpy(values).to(self.device)
        ready = torch.empty(len(values), self.rows.width, device=self.device)
        step = rows_at_once(self.rows.width)
        for start in range(0, len(values), step):
            ready[start : start + step] = tensor(self.rows.apply(values[start : start + step]), self.device)
        return ready


def on_device(features: NDArray[np.float32], device: torch.device) -> "Tensor | Shuffled":
    """Rows (n, d) as a training loop takes them: `x[rows]`, on a device."""
    if isinstance(features, Rows):
        return Shuffled(features, device)
    return torch.from_numpy(np.require(features, np.float32, ["C", "W"])).to(device)  # on the CPU without a copy


def draw_of(x: "Tensor | Shuffled") -> Draw | None:
    """How the batches of an epoch are drawn from these rows; None: a full shuffle."""
    return x.draw if isinstance(x, Shuffled) else None


def means_of(x: "Tensor | Shuffled", y: Tensor, classes: int) -> Tensor:
    """(n, d), labels (n,) -> (classes, d): the mean of each class's rows, 0 for a class without any."""
    if isinstance(x, Tensor):
        return class_means(x, y, classes)
    sums = torch.zeros(classes, x.rows.width, dtype=torch.float64, device=x.device)
    for block, labels in blocks(as_array(x.rows), y.cpu().numpy()):
        sums.index_add_(0, tensor(labels, x.device), tensor(block, x.device).double())
    return (sums / torch.bincount(y, minlength=classes).clamp_min(1)[:, None]).float()


def moments_of(x: "Tensor | Shuffled") -> tuple[Tensor, Tensor]:
    """(n, d) -> (d,) each: mean and standard deviation (n - 1) of each column."""
    if isinstance(x, Tensor):
        return x.mean(0), x.std(0)
    sums = torch.zeros(2, x.rows.width, dtype=torch.float64, device=x.device)
    for (block,) in blocks(as_array(x.rows)):
        values = tensor(block, x.device).double()
        sums += torch.stack([values.sum(0), values.square().sum(0)])
    mean = sums[0] / len(x)
    return mean.float(), ((sums[1] - len(x) * mean.square()) / (len(x) - 1)).clamp_min(0).sqrt().float()
