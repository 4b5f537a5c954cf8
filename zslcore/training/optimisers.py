"""Adam and SGD in torch's functional form: its classes import the compiler at their first step, seconds of every start.

Numbers and names of the state are those of `torch.optim.Adam` and `torch.optim.SGD` with `fused=True`.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

EPSILON = 1e-8
"""Added to Adam's denominator."""


class Optimiser:
    """Moves parameters along their gradients; `state` holds what it remembers of each, by name."""

    def __init__(self, parameters: Iterable[Tensor], lr: float, weight_decay: float = 0.0) -> None:
        self.parameters = list(parameters)
        self.lr, self.weight_decay = lr, weight_decay
        self.state: dict[Tensor, dict[str, Tensor]] = {parameter: {} for parameter in self.parameters}

    def step(self) -> None:
        """Move the parameters that have a gradient, and forget it."""
        moved = [parameter for parameter in self.parameters if parameter.grad is not None]
        with torch.no_grad():
            self.move(moved, [parameter.grad for parameter in moved if parameter.grad is not None])
        for parameter in moved:
            parameter.grad = None

    def move(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """One step in place; called without gradients being recorded."""
        raise NotImplementedError


class Adam(Optimiser):
    """Adam (Kingma and Ba, ICLR 2015), or AMSGrad (Reddi et al., ICLR 2018)."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        self.betas = betas
        self.averages = ["exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if amsgrad else [])]

    def move(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """One step in place."""
        for parameter in parameters:
            if not self.state[parameter]:
                step = torch.zeros((), dtype=torch.float32, device=parameter.device)
                zeros = {name: torch.zeros_like(parameter) for name in self.averages}
                self.state[parameter] = {"step": step, **zeros}
        first, second, largest = (
            [self.state[parameter][name] for parameter in parameters] if name in self.averages else []
            for name in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
        )
        adam(
            parameters,
            gradients,
            first,
            second,
            largest,
            [self.state[parameter]["step"] for parameter in parameters],
            fused=True,
            amsgrad="max_exp_avg_sq" in self.averages,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=self.lr,
            weight_decay=self.weight_decay,
            eps=EPSILON,
            maximize=False,
        )


class SGD(Optimiser):
    """Stochastic gradient descent, with heavy-ball momentum where it is not 0."""

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        self.momentum = momentum

    def move(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """One step in place."""
        buffers: list[Tensor | None] = [self.state[parameter].get("momentum_buffer") for parameter in parameters]
        sgd(
            parameters,
            gradients,
            buffers,
            fused=True,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            lr=self.lr,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
        for parameter, buffer in zip(parameters, buffers, strict=True):
            if buffer is not None:  # made by the first step
                self.state[parameter]["momentum_buffer"] = buffer
