"""The bodies of requests and answers: what clients write, and what they read."""

import base64
import binascii
from dataclasses import asdict
from typing import Any, Literal

from fastapi import HTTPException
from pydantic import BaseModel, ConfigDict, Field

from zslcore.model.prediction import Prediction, Question


class Body(BaseModel):
    """Unknown names are refused."""

    model_config = ConfigDict(extra="forbid")


class Options(Body):
    """What is asked of a picture."""

    top: int = Field(5, ge=1, le=1000, description="classes in the answer, best first")
    among: Literal["all", "seen", "unseen"] | tuple[str, ...] = Field(
        "all", description="which classes compete: all, seen, unseen, or their names"
    )
    none: float = Field(0.05, ge=0, le=1, description="share of pictures of known classes that may be called strangers")
    explain: bool = Field(False, description="say which attributes spoke for the first class against the second")
    maps: bool = Field(False, description="show where in the picture the attributes that spoke most are seen")
    label_space: str | None = Field(None, description="of `POST /classes`: the classes described there compete")

    def question(self) -> Question:
        """For `Namer`."""
        return Question(self.top, self.among, self.none, self.explain or self.maps, self.maps)


class Picture(Options):
    """A picture and what is asked of it."""

    image: str = Field(description="the picture's file in base64: JPEG, PNG, WebP and what else Pillow reads; no URL")


class Labels(BaseModel):
    """Parameters of the Hugging Face task; others are not used."""

    candidate_labels: tuple[str, ...] | None = Field(None, description="names of classes that compete; default: all")


class ZeroShotImageClassification(BaseModel):
    """The body of the Hugging Face task zero-shot-image-classification."""

    inputs: str = Field(description="the picture's file in base64")
    parameters: Labels = Labels()


class Label(BaseModel):
    """An element of the answer to that task."""

    label: str
    score: float


class Spoke(BaseModel):
    """An attribute, and what it added to the lead of the first class over the second.

    more: whether the first class has more of it; where not, its lack is what spoke.
    """

    attribute: str
    value: float
    more: bool


class Shown(BaseModel):
    """Where an attribute is seen: what the network sees of the picture, under a map, as the address of a PNG."""

    attribute: str
    picture: str = Field(description="data:image/png;base64,...")


class Answer(BaseModel):
    """A prediction."""

    classes: list[str] = Field(description="best first")
    probabilities: list[float] = Field(description="of these classes; over all that compete they sum to 1")
    fit: float | None = Field(description="share of pictures of known classes that fit worse, where it is known")
    none: bool = Field(description="none of these classes fits")
    attributes: list[Spoke] = Field(description="what spoke for the first class against the second, if asked for")
    maps: list[Shown] = Field(description="where those that spoke most are seen, if asked for")
    model: str


class NewClasses(Body):
    """Classes by their description."""

    classes: dict[str, dict[str, float] | list[float]] = Field(
        min_length=1, description="name -> each attribute's value by its name, or all values in order"
    )
    replace: bool = Field(False, description="the model's own classes do not compete")


class LabelSpace(BaseModel):
    """Classes that compete."""

    label_space: str = Field(description="for `label_space` of `POST /predict`")
    classes: list[str]


class Attribute(BaseModel):
    """An entry of a class's description. graded: it has more than two values."""

    name: str
    low: float
    high: float
    graded: bool


class Known(BaseModel):
    """What the model knows."""

    model: str
    classes: list[str]
    seen: list[bool] = Field(description="whether there were pictures of the class in training")
    attributes: list[Attribute]
    explains: bool = Field(description="whether it can say which attributes spoke")
    locates: bool = Field(description="whether it can show where in a picture they are seen")


def picture_bytes(text: str) -> bytes:
    """The bytes of a picture in base64, with or without `data:...;base64,` before it. Raises 422 for anything else."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise HTTPException(422, f"the picture is not base64 ({error}); paths and URLs are not opened") from error


def answer(prediction: Prediction, model: str) -> dict[str, Any]:
    """What `Answer` describes."""
    return {
        "classes": prediction.classes,
        "probabilities": prediction.probabilities,
        "fit": prediction.fit,
        "none": prediction.none,
        "attributes": [asdict(one) for one in prediction.attributes],
        "maps": [{"attribute": name, "picture": address} for name, address in prediction.overlays.items()],
        "model": model,
    }


def labels(prediction: Prediction) -> list[dict[str, Any]]:
    """The answer to the Hugging Face task."""
    pairs = zip(prediction.classes, prediction.probabilities, strict=True)
    return [{"label": name, "score": probability} for name, probability in pairs]
