"""The optimisers: torch's own, to the bit, without the compiler that torch's classes import."""

import subprocess
import sys
from collections.abc import Callable, Iterable

import pytest
import torch

from zslcore.training.optimisers import SGD, Adam


def trained(make: Callable[[Iterable[torch.Tensor]], Adam | SGD | torch.optim.Optimizer]) -> list[torch.Tensor]:
    """The parameters of a small network after thirty steps; its last layer joins in after ten."""
    torch.manual_seed(0)
    body, head = torch.nn.Linear(7, 20), torch.nn.Linear(20, 3)
    parameters = [*body.parameters(), *head.parameters()]
    x, optimiser = torch.randn(50, 7), make(parameters)
    for number in range(30):
        hidden = body(x).relu()
        (head(hidden) if number >= 10 else hidden).square().mean().backward()
        optimiser.step()
        for parameter in parameters:
            parameter.grad = None
    return parameters


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda p: Adam(p, 1e-3), lambda p: torch.optim.Adam(p, 1e-3, fused=True)),
        (
            lambda p: Adam(p, 1e-2, (0.0, 0.9), weight_decay=0.1, amsgrad=True),
            lambda p: torch.optim.Adam(p, 1e-2, (0.0, 0.9), weight_decay=0.1, amsgrad=True, fused=True),
        ),
        (lambda p: SGD(p, 1e-2), lambda p: torch.optim.SGD(p, 1e-2, fused=True)),
    ],
)
def test_steps_are_those_of_torch(ours, theirs) -> None:
    for mine, other in zip(trained(ours), trained(theirs), strict=True):
        assert torch.equal(mine, other)


def test_momentum_is_that_of_torch() -> None:
    def trained(optimiser: type[SGD] | type[torch.optim.SGD], **own: bool) -> torch.Tensor:
        weight = torch.ones(5, requires_grad=True)
        moves = optimiser([weight], 1e-2, 0.9, weight_decay=0.1, **own)  # type: ignore[misc]
        for _ in range(10):
            weight.grad = (3 * weight).detach()
            moves.step()
        return weight

    assert torch.equal(trained(SGD), trained(torch.optim.SGD, fused=True))


def test_a_step_forgets_the_gradient() -> None:
    weight = torch.ones(2, requires_grad=True)
    weight.square().sum().backward()
    Adam([weight], 0.1).step()
    assert weight.grad is None
    assert (weight < 1).all()


def test_training_does_not_import_the_compiler() -> None:
    code = (
        "import sys, torch; from zslcore.training.loop import minimise; w = torch.ones(3, requires_grad=True)\n"
        "terms = lambda rows, epoch: {'total': (w * len(rows)).square().sum()}\n"
        "minimise(terms, [w], count=4, epochs=2, batch_size=2, lr=0.1); assert float(w.sum()) < 3\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "False"
