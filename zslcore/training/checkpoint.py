"""Training that survives being killed: everything the next epoch depends on, as safetensors, every few epochs."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from zslcore.errors import ZSLError
from zslcore.io import artifacts
from zslcore.training.optimisers import Optimiser


@dataclass(frozen=True)
class Checkpoint:
    """One file for one training run: parameters, the optimisers' moments, the random state and the curve so far.

    path: the file, another one for each run (settings, data, seed). every: epochs between two writes.
    """

    path: Path
    every: int = 10

    def due(self, curve: list[dict[str, float]], last: bool) -> bool:
        """Whether `store` writes after so many epochs."""
        return last or len(curve) % self.every == 0

    def store(self, optimisers: Sequence[Optimiser], curve: list[dict[str, float]], last: bool) -> None:
        """Write the state after `len(curve)` epochs, where that is a multiple of `every` or the last epoch.

        Raises ZSLError when it cannot be written.
        """
        if not self.due(curve, last):
            return
        tensors = {"random": torch.get_rng_state()}
        for name, parameter, state in _slots(optimisers):
            tensors[name] = parameter.detach()
            tensors |= {f"{name}.{key}": value for key, value in state.items()}
        arrays = {name: value.cpu().numpy() for name, value in tensors.items()}
        about = {"curve": json.dumps(curve)}  # as text, which keeps the order of its terms
        artifacts.save_tensors(self.path, artifacts.CHECKPOINT, arrays, about)

    def restore(self, optimisers: Sequence[Optimiser]) -> list[dict[str, float]]:
        """Restore what `store` wrote and return the curve, which is empty where there is no checkpoint yet.

        Raises ZSLError when the file is damaged or of another training run.
        """
        if not self.path.exists():
            return []
        about, arrays = artifacts.read_tensors(self.path, artifacts.CHECKPOINT)
        try:
            tensors = {name: torch.from_numpy(value.copy()) for name, value in arrays.items()}
            curve: list[dict[str, float]] = json.loads(about["curve"])
            for name, parameter, state in _slots(optimisers):
                if tensors[name].shape != parameter.shape:
                    raise KeyError(name)
                parameter.data.copy_(tensors[name])
                state.clear()
                prefix = f"{name}."
                state.update(
                    {
                        key.removeprefix(prefix): value.to(parameter.device)
                        for key, value in tensors.items()
                        if key.startswith(prefix)
                    }
                )
            torch.set_rng_state(tensors["random"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ZSLError(
                f"{self.path}: damaged, or of another training run ({error}); delete it to train from the start"
            ) from error
        return curve

    def last(self) -> str:
        """The path of the last checkpoint, or a phrase for none, for a message."""
        return str(self.path) if self.path.exists() else f"none yet (one is written every {self.every} epochs)"


def _slots(optimisers: Sequence[Optimiser]) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
    """(name, parameter, the optimiser's state of it) of everything that is trained, in a fixed order."""
    for player, optimiser in enumerate(optimisers):
        for number, parameter in enumerate(optimiser.parameters):
            yield f"{player}/{number}", parameter, optimiser.state[parameter]
