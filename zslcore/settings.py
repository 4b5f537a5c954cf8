"""Settings of the pipeline's sections, typed and validated; importable without torch.

What a paper leaves open says so: `not stated`. `None` where `select` decides on validation classes.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Counts = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
"""At least one number, each at least 1."""


class Section(BaseModel):
    """Base of every section: immutable, unknown names refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Noise(Section):
    """Gaussian noise, eq. 10: x̃′ = x′ + strength · ε."""

    strength: float = Field(0.2, ge=0, description="α of eq. 10; 0.2 for CUB and SUN, 1 for AWA2")
    on: Literal["target", "encoder", "both", "synthetic", "none"] = Field(
        "target",
        description="what gets the noise: the reconstruction's target (the paper), the encoder's input, both of them, "
        "synthetic features as they are drawn, or none",
    )


class Finetune(Section):
    """F, trained on trainval before the CVAE, eq. 7-9."""

    enabled: bool = Field(True, description="off: features pass through scaled only")
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
    lr: float = Field(1e-4, gt=0, description="Adam's step; not stated")
    batch_size: int = Field(256, ge=1, description="images; not stated")
    weight_decay: float = Field(0.0, ge=0, description="not stated")
    rescale: bool = Field(True, description="scale F(x) again as x was, by trainval statistics; not stated")
    whiten: float = Field(
        0.0,
        ge=0,
        description="ridge of whitening F(x) by its within-class covariance; 0: no whitening, as in the paper",
    )


class Train(Section):
    """M, C, E and G, trained jointly, eq. 1-4, 10 and 11."""

    epochs: int | None = Field(None, ge=1, description="passes over trainval; null: select decides")
    lr: float = Field(1e-3, gt=0, description="Adam's step")
    beta1: float = Field(0.9, ge=0, lt=1, description="Adam's")
    beta2: float = Field(0.999, ge=0, lt=1, description="Adam's")
    batch_size: int = Field(256, ge=1, description="images; not stated")
    hidden: int = Field(4096, ge=1, description="units of the hidden layer of E and of G")
    latent: int | None = Field(None, ge=1, description="size of z; null: as the signature")
    members: int = Field(1, ge=1, description="sets of M, C, E and G whose scores are averaged; 1 in the paper")
    projection: int = Field(512, ge=0, description="outputs of M; 0: no M and no C, the plain CVAE (NA)")
    lambda_cls: float = Field(1.0, ge=0, description="λcls of eq. 4")
    lambda_synthetic: float = Field(0.1, ge=0, description="λcls′ of eq. 4")
    feedback: float = Field(0.0, ge=0, description="weight of R, which tells the signature; not in the paper")
    feedback_loss: Literal["regression", "cosine"] = Field(
        "regression", description="R's: squared error (from x̂′ too), or softmax of cosines over seen classes"
    )
    feedback_scale: float = Field(15.0, gt=0, description="of R's cosines")
    feedback_from: Literal["projection", "features"] = Field(
        "projection", description="R sees x′ and so leads M, or sees F(x) and stands beside M"
    )
    feedback_noise: float = Field(0.0, ge=0, description="spread of Gaussian noise on what R sees while training")
    kl_weight: float = Field(0.005, ge=0, description="of the KL term, beside a mean over dimensions; not stated")
    kl_warmup: int = Field(0, ge=0, description="epochs over which the KL weight rises from 0; not stated")
    reconstruction: Literal["mean", "sum"] = Field("mean", description="squared error over dimensions; not stated")
    target_grad: bool = Field(True, description="whether the reconstruction loss also pulls on M, as eq. 4 is printed")
    encoder_signature: bool = Field(False, description="E sees the signature too; E(x) in eq. 1")
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

    per_unseen: int | None = Field(None, ge=1, description="features an unseen class; null: select decides")
    per_seen: int = Field(
        0, ge=0, description="features a seen class, for classify.seen: synthetic or both; not stated"
    )
    noise: float = Field(0.0, ge=0, description="spread of Gaussian noise added to them; not in the paper")
    storage: Literal["float32", "float16"] = Field("float32", description="type on disk")


class Classify(Section):
    """The final classifiers: unseen classes only (ZSL), all classes jointly (GZSL)."""

    kind: Literal["softmax", "cosine", "prototype"] = Field(
        "softmax",
        description="softmax (the paper), softmax of scaled cosines, or the nearest mean of a class's features",
    )
    epochs: int | None = Field(None, ge=1, description="passes; null: select decides")
    lr: float = Field(1e-3, gt=0, description="Adam's step; not stated")
    batch_size: int = Field(512, ge=1, description="features; not stated")
    weight_decay: float = Field(0.0, ge=0, description="not stated")
    standardise: bool = Field(True, description="inputs, by the training set's statistics (softmax); not stated")
    temperature: float = Field(20.0, gt=0, description="scale of cosine similarities (kind: cosine)")
    seen: Literal["real", "synthetic", "both"] = Field("real", description="what seen classes learn from; not stated")
    feedback: float = Field(0.0, ge=0, description="weight of R's scaled cosines beside log-probabilities")
    zsl: Literal["own", "joint"] = Field(
        "own", description="ZSL by a classifier of the unseen classes alone, or by the joint one kept to them"
    )
    calibration: float | None = Field(None, description="factor off seen scores; null: select decides")


class Select(Section):
    """Choices on validation classes: what the paper leaves open and what must not be seen on test."""

    splits: int = Field(3, ge=1, le=3, description="class splits to average over")
    holdout: float = Field(0.2, gt=0, lt=1, description="share of the remaining classes' images that play test_seen")
    seed: int = Field(0, ge=0, description="of derived splits, held-out images and the fits")
    train_epochs: Counts = Field((20, 40, 60, 80), description="training lengths to score")
    classify_epochs: Counts = Field((25,), description="classifier lengths to score")
    per_unseen: Counts = Field((200,), description="numbers of synthetic features to score")


class ClusterabilitySettings(Section):
    """k-means on the features of each space (Table 4)."""

    n_init: int = Field(10, ge=1, description="starts of k-means, the best kept; not stated")
    clusters: int | None = Field(None, ge=2, description="null: as many as there are classes")
    settings: dict[str, Any] = Field({}, description="sections as in params.yaml, in place of the data set's own")


class ProtoNet(Section):
    """Prototypical Networks, trained by episodes of base classes."""

    way: int = Field(20, ge=2, description="classes a training episode; not stated")
    shot: int = Field(1, ge=1, description="support images a class; not stated")
    query: int = Field(5, ge=1, description="queries a class; not stated")
    episodes: int = Field(400, ge=1, description="training episodes; not stated")
    lr: float = Field(1e-4, gt=0, description="Adam's step; not stated")
    scale: float = Field(10.0, gt=0, description="of the squared distances, over the dimension; not stated")


class DeltaEncoderSettings(Section):
    """Δ-encoder on fixed features."""

    hidden: int = Field(512, ge=1, description="units of the hidden layers; 8192 in its paper")
    latent: int = Field(16, ge=1, description="size of z, as in its paper")
    dropout: float = Field(0.5, ge=0, lt=1, description="as in its paper")
    samples: int = Field(64, ge=1, description="synthetic features a class; 1024 in its paper")
    epochs: int = Field(12, ge=1, description="passes over the base classes, as in its paper")
    batch_size: int = Field(128, ge=1, description="pairs, as in its paper")
    lr: float = Field(1e-3, gt=0, description="Adam's step")


class FewshotFinetune(Section):
    """F for few-shot: null as in the data set's own `finetune`."""

    epochs: int | None = Field(None, ge=0, description="passes over the base classes")
    lr: float | None = Field(None, gt=0, description="Adam's step")
    gamma: float | None = Field(
        10.0, gt=0, description="start of γ in eq. 7, times the dimension; chosen on validation classes of CUB"
    )


class FewshotSettings(Section):
    """Few-shot episodes on novel (unseen) classes (Table 5)."""

    way: int = Field(5, ge=2, description="classes an episode")
    shots: Counts = Field((1, 5, 10, 20), description="support images a class, one column each")
    query: int = Field(15, ge=1, description="queries a class; not stated")
    episodes: int = Field(600, ge=2, description="episodes a column; not stated")
    seed: int = Field(0, ge=0, description="of the episodes and of the fits")
    ridge: float = Field(1.0, gt=0, description="of the linear classifier, times the features' mean squared length")
    finetune: FewshotFinetune = FewshotFinetune()
    protonet: ProtoNet = ProtoNet()
    delta: DeltaEncoderSettings = DeltaEncoderSettings()


class TSNESettings(Section):
    """Fig. 3: real and synthetic features of some unseen classes in the plane."""

    classes: int = Field(10, ge=2, description="unseen classes, drawn by seed; all where there are fewer")
    per_class: int = Field(40, ge=1, description="real and synthetic features a class, at most; not stated")
    perplexity: float = Field(30.0, gt=0, description="of t-SNE; not stated")
    seed: int = Field(0, ge=0, description="of the classes, the fits and t-SNE")
