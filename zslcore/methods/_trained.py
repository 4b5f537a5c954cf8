"""What methods trained in batches share: the settings of Adam, and one call of the training loop."""

from collections.abc import Callable, Iterable

from torch import Tensor

from zslcore.methods._scaled import ScaledSettings
from zslcore.methods.base import Observe
from zslcore.training import Terms, minimise


class TrainedSettings(ScaledSettings):
    """epochs, batch_size, lr, weight_decay: of Adam, whatever the paper's own optimiser was."""

    epochs: int = 20
    batch_size: int = 128
    lr: float = 0.001
    weight_decay: float = 0.0


def train_batches(
    loss: Callable[[Tensor], Tensor],
    parameters: Iterable[Tensor],
    settings: TrainedSettings,
    count: int,
    label: str,
    observe: Observe | None,
) -> None:
    """Minimise `loss(rows)` over shuffled batches of the rows 0..count-1. Call it inside `seeded`."""

    def terms(rows: Tensor, epoch: int) -> Terms:
        return {"total": loss(rows)}

    minimise(
        terms,
        parameters,
        count=count,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        label=label,
        observe=observe,
    )
