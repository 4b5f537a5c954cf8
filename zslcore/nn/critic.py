"""The critic of conditional Wasserstein GANs, and its gradient penalty (Gulrajani et al., NeurIPS 2017)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.2


class Critic(nn.Module):
    """D: feature (n, d) and signature (n, a) -> (n,) how real, with one hidden layer."""

    def __init__(self, inputs: int, attributes: int, hidden: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.first = nn.Linear(inputs + attributes, hidden)
        self.last = nn.Linear(hidden, 1)

    def hidden(self, x: Tensor, signatures: Tensor) -> Tensor:
        """The (n, hidden) features of the hidden layer."""
        return functional.leaky_relu(self.first(torch.cat([x, signatures], dim=1)), SLOPE)

    def forward(self, x: Tensor, signatures: Tensor) -> Tensor:
        """D(x, a)."""
        return self.last(self.hidden(x, signatures)).squeeze(1).float()

    def input_gradient(self, x: Tensor, signatures: Tensor) -> Tensor:
        """∂D/∂x (n, d), in closed form: the hidden layer is piecewise linear, so its slopes are constants.

        Half the work of differentiating twice.
        """
        with torch.no_grad():
            slopes = torch.where(self.first(torch.cat([x, signatures], dim=1)) > 0, 1.0, SLOPE)
        # sliced at the end: the gradient of a slice of the weights is a whole matrix of zeros, filled in each step
        return ((slopes * self.last.weight) @ self.first.weight)[:, : self.inputs]


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, signatures: Tensor) -> Tensor:
    """E (‖∂D/∂x̃‖₂ − 1)², at random points x̃ between real and fake features (n, d)."""
    share = torch.rand(len(real), 1, device=real.device)
    between = share * real + (1 - share) * fake
    return (critic.input_gradient(between, signatures).norm(dim=1) - 1).square().mean()


def critic_terms(critic: Critic, real: Tensor, fake: Tensor, signatures: Tensor, penalty: float) -> dict[str, Tensor]:
    """What the critic minimises: E D(fake) − E D(real) + penalty · gradient penalty; `wasserstein` is the distance."""
    fake = fake.detach()
    both = critic(torch.cat([real, fake]), torch.cat([signatures, signatures]))
    wasserstein = both[: len(real)].mean() - both[len(real) :].mean()
    slope = gradient_penalty(critic, real, fake, signatures)
    return {"total": penalty * slope - wasserstein, "wasserstein": wasserstein, "penalty": slope}


def normal_weights(spread: float | None, *modules: nn.Module) -> None:
    """Weights from N(0, spread²), biases 0: the feature-generating GANs start with 0.02. None leaves them alone."""
    for module in modules if spread else ():
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, 0.0, spread or 0.0)
                nn.init.zeros_(layer.bias)
