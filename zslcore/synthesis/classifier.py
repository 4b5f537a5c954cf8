"""The final classifiers, over any label space: softmax, cosine softmax, or nearest synthetic mean."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from zslcore.io.rows import Rows, map_rows
from zslcore.nn.state import numpy_state, put_state
from zslcore.settings import Classify, number_or
from zslcore.training.device import tensor
from zslcore.training.loop import minimise
from zslcore.training.seeding import seeded
from zslcore.training.shuffled import Shuffled, draw_of, means_of, moments_of, on_device

FeaturesAndLabels = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Features (n, m) and their labels (n,)."""
DEFAULT_EPOCHS = 25
"""Where neither the settings nor `select` say how long to train."""
AT_ONCE = 2**24
"""Scores that are computed at once."""
SMALLEST_SPREAD = 0.05
"""A unit that is nearly always off would otherwise dominate after standardising: M's outputs lie in (0, 1)."""


class Final(nn.Module):
    """A final classifier: features (n, m) -> logits (n, classes). Its name in small letters is a `classify.kind`.

    matrix: name of its array of shape (classes, m).
    """

    matrix: str

    def __init__(self, dimensions: int, classes: int) -> None:
        super().__init__()

    def fit(self, x: Tensor | Shuffled, y: Tensor, settings: Classify) -> None:
        """Learn from features (n, m) with labels (n,)."""
        raise NotImplementedError


class Softmax(Final):
    """Linear logits of standardised features (n, m) -> (n, classes)."""

    matrix = "linear.weight"
    shift: Tensor
    spread: Tensor

    def __init__(self, dimensions: int, classes: int) -> None:
        super().__init__(dimensions, classes)
        self.linear = nn.Linear(dimensions, classes)
        self.register_buffer("shift", torch.zeros(dimensions))
        self.register_buffer("spread", torch.ones(dimensions))

    def fit(self, x: Tensor | Shuffled, y: Tensor, settings: Classify) -> None:
        """Cross-entropy on features (n, m) with labels (n,)."""
        if settings.standardise:
            mean, spread = moments_of(x)
            self.shift.copy_(mean)
            self.spread.copy_(spread.clamp_min(SMALLEST_SPREAD))
        if isinstance(x, Tensor):  # once for all epochs
            _minimise(self.linear, self.linear.parameters(), (x - self.shift) / self.spread, y, settings)
        else:
            _minimise(self, self.linear.parameters(), x, y, settings)

    def forward(self, z: Tensor) -> Tensor:
        """Features (n, m) -> logits (n, classes)."""
        return cast(Tensor, self.linear((z - self.shift) / self.spread))


class Cosine(Final):
    """Scaled cosines between centred features (n, m) and class weights -> (n, classes)."""

    matrix = "weights"
    centre: Tensor
    temperature: Tensor

    def __init__(self, dimensions: int, classes: int) -> None:
        super().__init__(dimensions, classes)
        self.weights = nn.Parameter(torch.zeros(classes, dimensions))
        self.register_buffer("centre", torch.zeros(dimensions))
        self.register_buffer("temperature", torch.ones((), dtype=torch.float64))

    def fit(self, x: Tensor | Shuffled, y: Tensor, settings: Classify) -> None:
        """Cross-entropy on features (n, m) with labels (n,); the weights start at the class means."""
        self.centre.copy_(moments_of(x)[0])
        self.temperature.fill_(settings.temperature)
        self.weights.data.copy_(means_of(x, y, len(self.weights)) - self.centre)
        _minimise(self, [self.weights], x, y, settings)

    def forward(self, z: Tensor) -> Tensor:
        """Features (n, m) -> logits (n, classes)."""
        cosines = functional.normalize(z - self.centre) @ functional.normalize(self.weights).T
        return float(self.temperature) * cosines


class Prototype(Final):
    """Negative squared distance of features (n, m) to each class's mean -> (n, classes)."""

    matrix = "means"
    means: Tensor

    def __init__(self, dimensions: int, classes: int) -> None:
        super().__init__(dimensions, classes)
        self.register_buffer("means", torch.zeros(classes, dimensions))

    def fit(self, x: Tensor | Shuffled, y: Tensor, settings: Classify) -> None:
        """The class means of features (n, m) with labels (n,)."""
        self.means.copy_(means_of(x, y, len(self.means)))

    def forward(self, z: Tensor) -> Tensor:
        """Features (n, m) -> logits (n, classes)."""
        return -torch.cdist(z, self.means).square()


KINDS = {kind.__name__.lower(): kind for kind in Final.__subclasses__()}
"""Every final classifier, by `classify.kind`."""


@dataclass
class Classifier:
    """Classifiers of feature spaces that stand side by side in the columns; their log-probabilities are averaged.

    modules: one a feature space. classes: positions of the classes that compete, None for all.
    """

    modules: nn.ModuleList
    classes: NDArray[np.int64] | None = None

    def restrict_to(self, mask: NDArray[np.bool_]) -> "Classifier":
        """The same classifier with only the classes of `mask` (classes,) bool competing."""
        return Classifier(self.modules, np.flatnonzero(mask))

    def logits(self, x: Tensor) -> Tensor:
        """Features (n, members · m) -> mean log-probabilities (n, classes), before any restriction is normalised."""
        mean = torch.stack([functional.log_softmax(logits, dim=1) for logits in self._of_each(x)]).mean(0)
        return mean if self.classes is None else mean[:, torch.from_numpy(self.classes).to(x.device)]

    @property
    def _device(self) -> torch.device:
        return next(iter(self.modules.state_dict().values())).device

    @property
    def _block(self) -> int:
        """Images that are scored at once: each module has scores of all classes."""
        modules = cast(Iterable[Final], self.modules)
        return min(8192, max(1, AT_ONCE // sum(len(module.state_dict()[module.matrix]) for module in modules)))

    def _of_each(self, x: Tensor) -> list[Tensor]:
        """The logits of each module (n, all classes)."""
        return [module(part) for module, part in zip(self.modules, x.chunk(len(self.modules), dim=1), strict=True)]

    @torch.inference_mode()
    def scores(
        self, features: NDArray[np.float32], extra_logits: NDArray[np.float32] | None = None, block: int | None = None
    ) -> NDArray[np.float32]:
        """Log-probabilities (n, classes) float32 of features (n, m); extra_logits (n, classes) are added first."""
        device, block = self._device, block or self._block
        parts = []
        for start in range(0, len(features), block):
            rows = slice(start, start + block)
            logits = self.logits(tensor(features[rows], device))
            if extra_logits is not None:
                logits = logits + tensor(extra_logits[rows], device)
            parts.append(functional.log_softmax(logits, dim=1))
        return torch.cat(parts).cpu().numpy()

    @torch.inference_mode()
    def normaliser(
        self, features: NDArray[np.float32], extra_logits: NDArray[np.float32] | None = None, block: int | None = None
    ) -> NDArray[np.float32]:
        """(n,) what `scores` took off the mean logits: the logarithm of the sum of their exponentials."""
        device, block = self._device, block or self._block
        parts = []
        for start in range(0, len(features), block):
            x = tensor(features[start : start + block], device)
            logits = torch.stack(self._of_each(x)).mean(0)
            if extra_logits is not None:
                logits = logits + tensor(extra_logits[start : start + block], device)
            parts.append(torch.logsumexp(logits, dim=1))
        return torch.cat(parts).cpu().numpy()

    def state(self) -> dict[str, NDArray[Any]]:
        """Named arrays for saving; a restriction is not among them."""
        return numpy_state(self.modules, "classifier.")

    @classmethod
    def from_state(cls, kind: str, state: Mapping[str, NDArray[Any]], device: torch.device) -> Self:
        """What `state` described, of the kind `classify.kind`."""
        ending = f".{KINDS[kind].matrix}"
        shapes = [value.shape for name, value in sorted(state.items()) if name.endswith(ending)]
        modules = nn.ModuleList(KINDS[kind](dimensions, classes) for classes, dimensions in shapes).to(device)
        put_state(modules, state, "classifier.")
        return cls(modules)


def fit_classifier(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: int,
    settings: Classify,
    *,
    seed: int,
    device: torch.device,
    purpose: str,
    members: int = 1,
) -> Classifier:
    """Fit on (n, members · m) features, real or synthetic, with labels 0..classes-1.

    purpose: names the random stream. members: the columns are that many feature spaces, each with a classifier.
    """
    y = tensor(labels, device)
    modules = nn.ModuleList()
    for member, x in enumerate(_columns(features, members, device)):
        with seeded(seed, f"classify/{purpose}/{member}"):
            module = KINDS[settings.kind](x.shape[1], classes).to(device)
            module.fit(x, y, settings)
        modules.append(module.requires_grad_(False))
    return Classifier(modules)


def _columns(features: NDArray[np.float32], members: int, device: torch.device) -> Iterator[Tensor | Shuffled]:
    """The feature spaces that stand side by side."""
    if not isinstance(features, Rows):
        yield from tensor(features, device).chunk(members, dim=1)
        return
    for part in torch.arange(features.width).chunk(members):
        columns = slice(int(part[0]), int(part[-1]) + 1)
        yield on_device(map_rows(features, lambda rows, columns=columns: rows[:, columns]), device)  # type: ignore[misc]


def _minimise(
    logits: Callable[[Tensor], Tensor],
    parameters: Iterable[Tensor],
    x: Tensor | Shuffled,
    y: Tensor,
    settings: Classify,
) -> None:
    minimise(
        lambda rows, epoch: {"total": functional.cross_entropy(logits(x[rows]), y[rows])},
        parameters,
        count=len(x),
        epochs=number_or(settings.epochs, DEFAULT_EPOCHS),
        batch_size=settings.batch_size,
        lr=settings.lr,
        label="classify",
        draw=draw_of(x),
    )
