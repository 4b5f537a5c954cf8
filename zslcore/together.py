"""Several runs of one training, which differ in their seed, as one: weights stacked, products batched."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from zslcore.training import Player, Terms


class Streams(TorchFunctionMode):
    """Inside it torch draws for all runs at once, each from a generator of its own, as it would for that run alone.

    What is drawn has the runs in front, (runs, ...); inside `vmap`, within `of(run)`, a run gets its own part.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        super().__init__()
        self.seeds = seeds
        self._generators: dict[torch.device, list[torch.Generator]] = {}
        self._run: Tensor | None = None

    def generators(self, device: torch.device) -> list[torch.Generator]:
        """One a run."""
        if device not in self._generators:
            self._generators[device] = [torch.Generator(device).manual_seed(seed) for seed in self.seeds]
        return self._generators[device]

    @contextmanager
    def of(self, run: Tensor) -> Iterator[None]:
        """Give the parts of the run with this number, a 0-d tensor that `vmap` maps."""
        self._run = run
        yield
        self._run = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.randn, torch.rand, torch.randperm, torch.randint):
            device = torch.device(kwargs.get("device") or "cpu")
            return self._each(lambda own: func(*args, generator=own, **kwargs), device)
        if func is torch.randn_like:
            shape, dtype, device = args[0].shape, args[0].dtype, args[0].device
            return self._each(lambda own: torch.randn(shape, generator=own, dtype=dtype, device=device), device)
        if func is functional.dropout:
            return self._dropout(*args, **kwargs)
        if func is functional.linear and self._run is not None and args[0].dim() == 2:
            return _linear(*args, **kwargs)
        return func(*args, **kwargs)

    def _each(self, draw: Callable[[torch.Generator], Tensor], device: torch.device) -> Tensor:
        drawn = torch.stack([draw(generator) for generator in self.generators(device)])
        return drawn if self._run is None else drawn[self._run]

    def _dropout(self, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if p == 0 or not training:
            return x
        shape, dtype, device = x.shape, x.dtype, x.device

        def kept(own: torch.Generator) -> Tensor:
            return torch.empty(shape, dtype=dtype, device=device).bernoulli_(1 - p, generator=own)

        return x * (self._each(kept, device) / (1 - p))


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The same product from the other side: the weights' gradient then has the weights' layout and is not copied."""
    product = (weight @ x.mT).mT
    return product if bias is None else product + bias


class Run(nn.ModuleDict):
    """All modules of one run."""

    def forward(self, terms: Callable[[Tensor, int], Terms], rows: Tensor, epoch: int) -> Terms:
        """The terms that these modules give."""
        return terms(rows, epoch)


class Together:
    """Runs with the same modules, trained by `alternate` as if they were one, inside `streams`.

    runs: the modules of each. seeds: of the random stream that each would train with alone. Terms and rows get a
    leading dimension (runs,); a run's gradient reaches its own weights alone, so that each ends as it would alone.
    """

    def __init__(self, runs: Sequence[Run], seeds: Sequence[int]) -> None:
        self.runs, self.streams = runs, Streams(seeds)
        self.weights, self.buffers = stack_module_state(list(runs))

    def player(self, player: Player) -> Player:
        """The player of all runs, from that of the first."""
        names: dict[Tensor, str] = {parameter: name for name, parameter in self.runs[0].named_parameters()}
        numbers = torch.arange(len(self.runs), device=next(iter(self.weights.values())).device)

        def terms(rows: Tensor, epoch: int) -> Terms:
            def one(run: Tensor, weights: dict[str, Tensor], buffers: dict[str, Tensor], rows: Tensor) -> Terms:
                with self.streams.of(run):
                    return functional_call(self.runs[0], (weights, buffers), (player.terms, rows, epoch))

            return vmap(one, randomness="same")(numbers, self.weights, self.buffers, rows)

        return replace(player, terms=terms, parameters=[self.weights[names[one]] for one in player.parameters])

    def spread(self) -> None:
        """Put the trained weights back into each run's modules."""
        for number, run in enumerate(self.runs):
            run.load_state_dict({name: stack[number] for name, stack in {**self.weights, **self.buffers}.items()})
