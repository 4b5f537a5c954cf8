"""What a model says of one image."""

from dataclasses import dataclass, replace

from zslcore.evaluation.explain import Contribution


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image.

    file: where it came from, None for one in memory. classes: best first. probabilities: of these, in [0, 1]; over all
    candidate classes they sum to 1. fit: share of the validation images of known classes that fit worse than this one,
    in [0, 1]; None where the model cannot tell. none: no class here fits, `fit` being below the allowed false-alarm
    rate. Where an explanation was asked for, attributes: what spoke for the winner against the runner-up, `against`,
    the largest first; nearest: the seen classes that it is most like, the nearest first.
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

    def of(self, file: str | None) -> "Prediction":
        """The same, of the image that came from there."""
        return replace(self, file=file)
