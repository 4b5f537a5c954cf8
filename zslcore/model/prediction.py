"""What a model says of one image."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zslcore.evaluation.explain import Contribution


class Question(NamedTuple):
    """What is asked of images; each as in `Model.predict`."""

    top: int = 5
    among: str | Collection[str] = "all"
    none: float = 0.05
    explain: bool = False
    maps: bool = False


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image.

    file: where it came from, None for one in memory. classes: best first. probabilities: of these, in [0, 1]; over all
    candidate classes they sum to 1. fit: share of the validation images of known classes that fit worse than this one,
    in [0, 1]; None where the model cannot tell. none: no class here fits, `fit` being below the allowed false-alarm
    rate. Where an explanation was asked for, attributes: what spoke for the winner against the runner-up, `against`,
    the largest first; nearest: the seen classes that it is most like, the nearest first. Where maps were asked for,
    maps: (a, rows, columns) float32, where in what the network sees of the image each of the model's attributes is
    seen; overlays: by attribute, the file of the picture with its map over it.
    failure: why the image could not be read; then everything else is empty.
    """

    file: str | None
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    fit: float | None = None
    none: bool = False
    attributes: tuple[Contribution, ...] = ()
    against: str | None = None
    nearest: tuple[str, ...] = ()
    failure: str | None = None
    maps: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    overlays: Mapping[str, str] = field(default_factory=dict)

    def of(self, file: str | None) -> "Prediction":
        """The same, of the image that came from there."""
        return replace(self, file=file)
