"""What methods trained in batches share: the settings of Adam, and one call of the training loop."""

from collections.abc import Callable, Mapping
from typing import Annotated, TypeVar

from pydantic import Field
from torch import Tensor

from zslcore.methods._scaled import ScaledMethod, ScaledSettings
from zslcore.methods.base import Observe
from zslcore.training.loop import Terms, minimise

Epochs = Annotated[int, Field(ge=1, description="passes over the training images")]
BatchSize = Annotated[int, Field(ge=1, description="images")]
Rate = Annotated[float, Field(gt=0, description="Adam's step")]
Decay = Annotated[float, Field(ge=0, description="Adam's weight decay, of ½‖parameters‖²")]


class TrainedSettings(ScaledSettings):
    """Of Adam, whatever the paper's optimiser was."""

    epochs: Epochs = 20
    batch_size: BatchSize = 128
    lr: Rate = 0.001
    weight_decay: Decay = 0.0


TrainedS = TypeVar("TrainedS", bound=TrainedSettings)


def train_batches(
    method: ScaledMethod[TrainedS],
    loss: Callable[[Tensor], Tensor],
    parameters: Mapping[str, Tensor],
    count: int,
    observe: Observe | None,
) -> None:
    """Minimise `loss(rows)` over shuffled batches of the rows 0..count-1. Call it inside `seeded`.

    parameters: by the method's attribute, which holds a copy of the values after each epoch that is observed and after
    the last.
    """

    def terms(rows: Tensor, epoch: int) -> Terms:
        return {"total": loss(rows)}

    def store() -> None:
        for name, value in parameters.items():
            setattr(method, name, value.detach().numpy().copy())

    def watch(done: int) -> None:
        assert observe is not None
        store()
        observe(done)

    minimise(
        terms,
        parameters.values(),
        count=count,
        epochs=method.settings.epochs,
        batch_size=method.settings.batch_size,
        lr=method.settings.lr,
        weight_decay=method.settings.weight_decay,
        label=method.name,
        observe=None if observe is None else watch,
    )
    store()
