"""What a model file says of its model besides arrays."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from zslcore.methods.base import MethodSettings


class Part(BaseModel):
    """Immutable; unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Temperature(Part):
    """What joint log-scores, and those among unseen classes, are divided by before the softmax."""

    joint: float = Field(1.0, gt=0)
    unseen: float = Field(1.0, gt=0)


class Confidence(Part):
    """Chosen on validation classes. stranger: a score of `STRANGERS`, larger where an image fits better.

    quantiles: of that score on validation images of known classes, ascending; none where the model cannot tell.
    """

    temperature: Temperature = Temperature()
    stranger: str | None = None
    quantiles: tuple[float, ...] = ()


class BackboneHeader(Part):
    """How features were made of images. plan: `ExtractionPlan.as_dict()`, with the SHA-256 of the network's weights."""

    plan: dict[str, Any]
    preprocessing: dict[str, Any]


class SourceHeader(Part):
    """A source of signatures. attributes: names of its columns. about, texts: as in `signatures.source.Source`."""

    name: str
    weight: float = Field(gt=0)
    attributes: tuple[str, ...]
    about: dict[str, Any] = {}
    texts: tuple[tuple[str, ...], ...] = ()


class BasisHeader(Part):
    """What signatures are put together of, of which classes, and whether centred."""

    classes: tuple[str, ...]
    sources: tuple[SourceHeader, ...] = Field(min_length=1)
    centre: bool = False

    @property
    def of_texts(self) -> bool:
        """Whether every source is made of texts."""
        return all(source.texts for source in self.sources)


class Header(Part):
    """All of a model but its arrays.

    name: as in params.yaml. method: by its name in the registry. calibration: taken off the scores of seen classes.
    backbone: None where features were given. basis: of signatures that are not simply the numbers of a table; in files
    of older versions None whatever they are. about: data, split, sources, metrics, for people.
    """

    name: str
    method: str
    settings: dict[str, Any]
    seeds: tuple[int, ...] = Field(min_length=1)
    classes: tuple[str, ...]
    attributes: tuple[str, ...]
    calibration: float = 0.0
    confidence: Confidence = Confidence()
    backbone: BackboneHeader | None = None
    basis: BasisHeader | None = None
    about: dict[str, Any] = {}

    @property
    def of_texts(self) -> bool:
        """Whether texts alone describe the classes."""
        return self.basis is not None and self.basis.of_texts


def of_method(settings: MethodSettings) -> dict[str, Any]:
    """The settings of a method as a header holds them: where it was fitted does not bind where it is used."""
    return {name: value for name, value in settings.model_dump(mode="json").items() if name != "device"}
