"""One fit by several processes, each on its rows of every batch (data parallelism): the same batches, noise and steps.

Every process draws all random numbers, as if it were alone, and takes those of its rows. Gradients are summed before a
step, each weighted by its share of the batch, so that an optimiser sees the gradient of the whole batch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from zslcore.errors import ZSLError
from zslcore.nn.losses import batch_mean
from zslcore.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class Replica:
    """One of `size` processes that fit a model together; alone where that is 1.

    rank: from 0. checkpoint: where training goes on from, None for none. Where there are more than one,
    torch.distributed must have been set up.
    """

    checkpoint: Checkpoint | None = None
    rank: int = 0
    size: int = 1

    @contextmanager
    def share(self, batch: Tensor, whole: bool) -> Iterator[tuple[Tensor, float]]:
        """Inside: this replica's rows of a batch (n,), and their weight in a mean over it; sums over replicas are 1.

        whole: all rows for each. A replica for which no row is left computes one, with weight 0.
        """
        if whole or self.size == 1:
            yield batch, 1 / self.size
            return
        start, stop = (len(batch) * rank // self.size for rank in (self.rank, self.rank + 1))
        weight = (stop - start) / len(batch)
        with _Rows(start, max(stop, start + 1), len(batch), weight):
            yield batch[start : max(stop, start + 1)], weight

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Put the sum over all replicas in place of each gradient."""
        if self.size == 1:
            return
        gradients = {parameter: parameter.grad for parameter in parameters if parameter.grad is not None}
        flat = torch.cat([gradient.flatten() for gradient in gradients.values()])
        distributed.all_reduce(flat)
        sums = torch.split(flat, [gradient.numel() for gradient in gradients.values()])
        for parameter, total in zip(gradients, sums, strict=True):
            parameter.grad = total.view_as(parameter)

    def sum_terms(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The sum over all replicas of each 0-d tensor, as float64.

        Raises ZSLError where replicas no longer stand at the same random number: they would train on different batches.
        """
        values = [value.double() for value in terms.values()]
        if self.size > 1:
            state = int.from_bytes(sha256(torch.get_rng_state().numpy().tobytes()).digest()[:5], "big")
            sums = torch.stack([*values, torch.full_like(values[0], state)])
            distributed.all_reduce(sums)
            if int(sums[-1]) != self.size * state:
                raise ZSLError(
                    "workers have drawn different random numbers: a loss draws some by another function than randn, "
                    "rand or dropout, or not a row each; train this model with one worker"
                )
            values = list(sums[:-1])
        return dict(zip(terms, values, strict=True))


ALONE = Replica()
"""What trains as one process."""


class _Rows(TorchFunctionMode):
    """Inside: random numbers are drawn for all of a batch's `count` rows, and rows start..stop of them returned.

    The first dimension of what is drawn is the batch's rows, once or several times over; what cannot be is drawn as it
    is. weight: of the rows in `batch_mean`, which is that of the whole batch.
    """

    def __init__(self, start: int, stop: int, count: int, weight: float) -> None:
        super().__init__()
        self.start, self.stop, self.count, self.weight = start, stop, count, weight

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One call of torch."""
        kwargs = kwargs or {}
        if function is batch_mean:
            mean = self.weight * args[0].mean(0)
            distributed.all_reduce(mean)
            return mean
        if function in (torch.randn, torch.rand) and args:
            shape = args if isinstance(args[0], int) else args[0]
            return self._drawn(shape, lambda wide: function(wide, **kwargs))
        if function in (torch.randn_like, torch.rand_like):
            return self._drawn(args[0].shape, lambda wide: function(args[0].new_empty(wide), **kwargs))
        if function is functional.dropout:
            mask = self._drawn(
                args[0].shape, lambda wide: function(args[0].new_ones(wide), **{**kwargs, "inplace": False})
            )
            return args[0] * mask
        return function(*args, **kwargs)

    def _drawn(self, shape: Sequence[int], draw: Callable[[list[int]], Tensor]) -> Tensor:
        mine = self.stop - self.start
        if not shape or shape[0] % mine:
            return draw([*shape])
        times = shape[0] // mine
        drawn = draw([times * self.count, *shape[1:]])
        rows = drawn.view(times, self.count, *shape[1:])[:, self.start : self.stop]
        return rows.reshape(shape)
