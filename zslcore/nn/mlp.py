"""One hidden layer: signature regressors, decoders, embeddings and comparators are all this."""

from torch import Tensor, nn


class MLP(nn.Module):
    """(n, inputs) -> (n, outputs); `hidden` alone gives the (n, hidden) features of the hidden layer."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(inputs, hidden), nn.LeakyReLU(0.2))
        self.out = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """out(hidden(x))."""
        return self.out(self.hidden(x))
