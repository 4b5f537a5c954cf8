"""Settings of the pipeline's sections, typed and validated; importable without torch.

What a paper leaves open says so: `not stated`. `auto`: the program decides, mostly `select` on validation classes.
"""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from zslcore.io.layers import merge, validate

Auto = Literal["auto"]


def _whole_or_auto(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError("give a whole number of at least 1, or auto")


def _number_or_auto(value: Any) -> Any:
    if value == "auto" or (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
    ):
        return value
    raise ValueError("give a number, or auto")


WholeOrAuto = Annotated[int | Auto, BeforeValidator(_whole_or_auto)]
"""At least 1, or `auto`."""
NumberOrAuto = Annotated[float | Auto, BeforeValidator(_number_or_auto)]


Number = TypeVar("Number", int, float)
Default = TypeVar("Default")


def number_or(value: Number | Auto, default: Default) -> Number | Default:
    """A setting's number, or `default` where it is `auto`."""
    return default if isinstance(value, str) else value


Output = Literal["pooled", "map", "both", "before"]
Views = Literal[1, "flip", "five"]
Counts = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
"""At least one number, each at least 1."""


class Section(BaseModel):
    """Base of every section: immutable, unknown names refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Extract(Section):
    """Images to features."""

    backbone: str = Field("resnet101.tv_in1k", description="any timm model; vgg19 gives fc7")
    weights: str = Field("pretrained", description="pretrained, random, or file:PATH")
    image_size: WholeOrAuto = Field("auto", description="side of the network's input, pixels; auto: the network's")
    batch_size: WholeOrAuto = Field("auto", description="images; auto: sized to memory")
    precision: Literal["fp32", "bf16", "fp16", "auto"] = Field(
        "auto",
        description="arithmetic of the network; auto: 16 bits where fast and in agreement with 32",
    )
    compile: bool = Field(False, description="torch.compile the network; pays on some GPUs")
    workers: WholeOrAuto = Field("auto", description="decoding threads; auto: one a core")
    on_bad_image: Literal["fail", "skip"] = Field("fail", description="what to do with unreadable images")
    output: Output = Field(
        "pooled",
        description="pooled: a vector an image; map: the last feature map; both; before: both, with the map that the "
        "last stage takes",
    )
    storage: Literal["float32", "float16"] = Field("float32", description="of vectors in the file; float16: half of it")
    views: Views = Field(1, description="what features are averaged over: 1; flip: and its mirror image; five: crops")

    @model_validator(mode="after")
    def _a_map_has_one_place(self) -> Self:
        if self.views == "five" and self.output != "pooled":
            raise ValueError("views: five averages over crops, whose maps show different places; use flip or 1")
        return self


def _positive(weights: Any) -> Any:
    if isinstance(weights, dict) and not (weights and all(0 < value < float("inf") for value in weights.values())):
        raise ValueError("give each source a weight above 0; leave out a source that is not to be used")
    return weights


class Signatures(Section):
    """Which of a data set's sources describe the classes, and how they are put together."""

    weights: Annotated[Literal["first", "auto"] | dict[str, float], AfterValidator(_positive)] = Field(
        "first", description="first: the data set's first source; auto: select decides; or source: weight"
    )
    centre: Annotated[bool, Field(strict=True)] | Auto = Field(
        False, description="take off the mean of the seen classes, then to length 1; auto: select decides"
    )


class Select(Section):
    """Choices on validation classes: what the paper leaves open and what must not be seen on test."""

    splits: int = Field(3, ge=1, le=3, description="class splits to average over")
    seed: int = Field(0, ge=0, description="of derived splits, held-out images and the fits")
    train_epochs: Counts = Field((20, 40, 60, 80), description="training lengths to score")
    classify_epochs: Counts = Field((25,), description="classifier lengths to score")
    per_unseen: Counts = Field((200,), description="numbers of synthetic features to score")


class TunedBackbone(Section):
    """F as the backbone of `extract`, trained on trainval images before their features are extracted, eq. 7-9."""

    layers: Literal["last", "all"] = Field("last", description="what learns: the last stage and what follows, or all")
    epochs: WholeOrAuto = Field(
        "auto", description="passes over trainval; auto: none, half of the longest or all, chosen on validation classes"
    )
    longest: int = Field(20, ge=2, description="epochs in which the learning rate falls to 0 by a cosine")
    lr: float = Field(1e-4, gt=0, description="first learning rate of the backbone and W′ (Adam)")
    seed: int = Field(0, ge=0, description="of the views and batches; all seeds of the run share one backbone")

    @property
    def lengths(self) -> list[int]:
        """Numbers of epochs to try, ascending."""
        return [self.epochs] if isinstance(self.epochs, int) else [0, self.longest // 2, self.longest]

    @model_validator(mode="after")
    def _check_epochs(self) -> Self:
        if self.lengths[-1] > self.longest:
            raise ValueError(
                f"{self.epochs} epochs, and the rate is 0 after {self.longest}; set longest to {self.epochs}"
            )
        return self


class TuningImages(Section):
    """How images come to a backbone that is fine-tuned."""

    views: int = Field(
        4, ge=0, description="of each image, drawn once and stored as they reach the last stage; 0: new ones each epoch"
    )
    crop: float = Field(0.5, gt=0, le=1, description="smallest share of a picture that a view shows; 1: no crops")
    flip: bool = Field(True, description="half of the views are mirrored, at random")
    batch_size: int = Field(32, ge=1, description="images a step")
    parts: int = Field(1, ge=1, description="of a batch, one in memory at a time; gradients add up")


OF_BACKBONES = ("level", "backbone", "images", "precision")
"""Settings of `finetune` that leave no trace in artifacts at their defaults, which have the bytes from before."""


class Finetune(Section):
    """F, trained on trainval before the CVAE, eq. 7-9."""

    level: Literal["features", "backbone"] = Field(
        "features", description="F is a layer on the features, or the backbone that makes them (docs/backbone.md)"
    )
    backbone: TunedBackbone = TunedBackbone()
    images: TuningImages = TuningImages()
    precision: Literal["fp32", "bf16", "auto"] = Field(
        "auto", description="of a backbone while it learns; auto: bf16 where the device has units for it"
    )
    enabled: bool = Field(True, description="false: features are scaled only")
    loss: Literal["gaussian", "cce"] = Field("gaussian", description="eq. 8, or the plain cross-entropy of eq. 5")
    scaling: Literal["none", "standard", "root", "minmax", "max", "l2", "sphere"] = Field(
        "standard",
        description="of the features, fitted on trainval: none, standard (mean 0, spread 1 a dimension), root (signed "
        "square root, then standard), minmax (0 to 1 a dimension), max (by the largest value), l2 (length 1), sphere "
        "(length √d); not stated",
    )
    gamma: float = Field(50.0, gt=0, description="start of γ in eq. 7, times the dimension; not stated")
    learn_gamma: bool = Field(True, description="learn γ with F; not stated")
    epochs: int = Field(10, ge=0, description="passes over trainval; not stated")
    lr: float = Field(1e-4, gt=0, description="learning rate of F (Adam); not stated")
    batch_size: int = Field(256, ge=1, description="images; not stated")
    rescale: bool = Field(True, description="scale F(x) as x was, by trainval statistics; not stated")

    @model_serializer(mode="wrap")
    def _without_unused(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        defaults = {name: type(self).model_fields[name].default for name in OF_BACKBONES}
        unused = [name for name, default in defaults.items() if getattr(self, name) == default]
        return {name: value for name, value in plain(self).items() if name not in unused}


class Noise(Section):
    """Gaussian noise, eq. 10: x̃′ = x′ + strength · ε."""

    strength: float = Field(0.2, ge=0, description="α of eq. 10; 0.2 for CUB and SUN, 1 for AWA2")
    applies_to: Literal["target", "encoder", "both", "synthetic", "none"] = Field(
        "target",
        description="what gets the noise: the reconstruction's target (the paper), the encoder's input, both of them, "
        "synthetic features as they are drawn, or none",
    )


class Train(Section):
    """M, C, E and G, trained jointly, eq. 1-4, 10 and 11."""

    epochs: WholeOrAuto = Field("auto", description="passes over trainval; auto: select decides")
    lr: float = Field(1e-3, gt=0, description="learning rate of M, C and the CVAE, E and G (Adam)")
    beta1: float = Field(0.9, ge=0, lt=1, description="Adam's")
    beta2: float = Field(0.999, ge=0, lt=1, description="Adam's")
    batch_size: int = Field(256, ge=1, description="images; not stated")
    hidden: int = Field(4096, ge=1, description="units of the hidden layer of E and of G")
    latent: WholeOrAuto = Field("auto", description="size of z; auto: as the signature")
    members: int = Field(1, ge=1, description="sets of M, C, E and G whose scores are averaged; 1 in the paper")
    projection: int = Field(512, ge=0, description="outputs of M; 0: no M and no C, the plain CVAE (NA)")
    lambda_cls: float = Field(1.0, ge=0, description="λcls of eq. 4")
    lambda_synthetic: float = Field(0.1, ge=0, description="λcls′ of eq. 4")
    feedback: float = Field(0.0, ge=0, description="weight of R, which predicts the signature; not in the paper")
    feedback_loss: Literal["regression", "cosine"] = Field(
        "regression", description="R's: squared error (from x̂′ too), or softmax of cosines over seen classes"
    )
    feedback_from: Literal["projection", "features"] = Field(
        "projection", description="R's input: x′, so that it leads M, or F(x), apart from M"
    )
    feedback_noise: float = Field(0.0, ge=0, description="spread of Gaussian noise on R's input while training")
    kl_weight: float = Field(
        5e-4, ge=0, description="of the KL term, next to a mean over dimensions; not stated: one that keeps z in use"
    )
    target_grad: bool = Field(True, description="whether the reconstruction loss also pulls on M, as eq. 4 is printed")
    encoder_signature: bool = Field(False, description="E gets the signature too; E(x) in eq. 1")
    output: Literal["relu", "sigmoid", "linear"] = Field("relu", description="last activation of G")
    precision: Literal["fp32", "bf16", "auto"] = Field(
        "fp32", description="of the matrix products while training; auto: bf16 where the device has units for it"
    )
    signatures: Literal["none", "l2", "sphere", "standard"] = Field(
        "sphere", description="scaling of signatures (sphere: length √a); not stated"
    )
    noise: Noise = Noise()


class Generate(Section):
    """Synthetic features from z ~ N(0, I) and the signature."""

    per_unseen: WholeOrAuto = Field("auto", description="features an unseen class; auto: select decides")
    per_seen: int = Field(
        0, ge=0, description="features a seen class, for classify.seen: synthetic or both; not stated"
    )
    noise: float = Field(0.0, ge=0, description="spread of Gaussian noise added to them; not in the paper")


class Classify(Section):
    """The final classifiers: unseen classes only (ZSL), all classes jointly (GZSL)."""

    kind: Literal["softmax", "cosine", "prototype"] = Field(
        "softmax",
        description="softmax (the paper), softmax of scaled cosines, or the nearest mean of a class's features",
    )
    epochs: WholeOrAuto = Field("auto", description="passes; auto: select decides")
    lr: float = Field(1e-3, gt=0, description="learning rate of the classifiers (Adam); not stated")
    batch_size: int = Field(512, ge=1, description="features; not stated")
    standardise: bool = Field(True, description="inputs, by the training set's statistics (softmax); not stated")
    temperature: float = Field(20.0, gt=0, description="scale of cosine similarities (kind: cosine)")
    seen: Literal["real", "synthetic", "both"] = Field("real", description="what seen classes learn from; not stated")
    feedback: float = Field(0.0, ge=0, description="weight of R's scaled cosines, added to log-probabilities")
    zsl: Literal["own", "joint"] = Field(
        "own", description="ZSL by a classifier of the unseen classes alone, or by the joint one restricted to them"
    )
    calibration: NumberOrAuto = Field("auto", description="factor off seen scores; auto: select decides")


class Package(Section):
    """The trained model as one file."""

    method: Literal["clusterable", "auto"] = Field(
        "clusterable", description="the main method; auto: ESZSL in its place where validation classes prefer it"
    )
    seeds: Literal["all", "first"] = Field("all", description="whose models vote, by the mean of their probabilities")
    include_backbone: bool = Field(False, description="put the backbone's weights into the file, not their hash alone")


class Settings(Section):
    """Everything the pipeline takes for one data set."""

    extract: Extract = Extract()
    signatures: Signatures = Signatures()
    select: Select = Select()
    finetune: Finetune = Finetune()
    train: Train = Train()
    generate: Generate = Generate()
    classify: Classify = Classify()
    package: Package = Package()

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.classify.feedback and not self.train.feedback:
            raise ValueError(
                "classify.feedback needs the mapping R that train.feedback trains; set train.feedback above 0, or "
                "classify.feedback to 0"
            )
        if self.classify.seen != "real" and not self.generate.per_seen:
            raise ValueError(
                f"classify.seen: {self.classify.seen} learns seen classes from synthetic features, but "
                "generate.per_seen is 0; set it above 0, or classify.seen to real"
            )
        return self

    def override(self, values: dict[str, Any], where: str = "settings") -> Self:
        """The same settings with other values: {"train": {"lr": 0.01}}.

        where: what messages call `values`. Raises ZSLError for unknown names and for values that make no sense.
        """
        changed: Self = validate(type(self), merge(self.model_dump(), values), where)
        return changed
