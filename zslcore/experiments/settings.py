"""Settings of the experiments (experiments/params.yaml); importable without torch."""

from typing import Any

from pydantic import Field, model_validator

from zslcore.settings import Counts, Section, WholeOrAuto

Overrides = dict[str, Any]
"""Sections of the pipeline's settings and the values that replace theirs."""
Grid = dict[str, tuple[Any, ...]]
"""Setting -> values to try."""


class Ablation(Section):
    """What all rows of the ablation share."""

    settings: Overrides = Field({}, description="sections as in params.yaml, in place of the data set's own")


class Clusterability(Section):
    """k-means on the features of each space (Table 4)."""

    n_init: int = Field(10, ge=1, description="starts of k-means, of which the best counts; not stated")
    clusters: WholeOrAuto = Field("auto", description="number of clusters; auto: as many as there are classes")
    settings: Overrides = Field({}, description="sections as in params.yaml, in place of the data set's own")


class ProtoNet(Section):
    """Prototypical Networks, trained by episodes of base classes."""

    way: int = Field(20, ge=2, description="classes a training episode; not stated")
    shot: int = Field(1, ge=1, description="support images a class; not stated")
    query: int = Field(5, ge=1, description="queries a class; not stated")
    episodes: int = Field(400, ge=1, description="training episodes; not stated")
    lr: float = Field(1e-4, gt=0, description="Adam's step; not stated")
    scale: float = Field(10.0, gt=0, description="of the squared distances, over the dimension; not stated")


class DeltaEncoder(Section):
    """Δ-encoder on fixed features."""

    hidden: int = Field(512, ge=1, description="units of the hidden layers; 8192 in its paper")
    latent: int = Field(16, ge=1, description="size of z, as in its paper")
    dropout: float = Field(0.5, ge=0, lt=1, description="as in its paper")
    samples: int = Field(64, ge=1, description="synthetic features a class; 1024 in its paper")
    epochs: int = Field(12, ge=1, description="passes over the base classes, as in its paper")
    batch_size: int = Field(128, ge=1, description="pairs, as in its paper")
    lr: float = Field(1e-3, gt=0, description="Adam's step")


class Fewshot(Section):
    """Few-shot episodes on novel (unseen) classes (Table 5)."""

    way: int = Field(5, ge=2, description="classes an episode")
    shots: Counts = Field((1, 5, 10, 20), description="support images a class, one column each")
    query: int = Field(15, ge=1, description="queries a class; not stated")
    episodes: int = Field(600, ge=2, description="episodes a column; not stated")
    seed: int = Field(0, ge=0, description="of the episodes and of the fits")
    ridge: float = Field(1.0, gt=0, description="of the linear classifier, times the features' mean squared length")
    finetune: Overrides = Field(
        {"gamma": 10.0},
        description="values of F's section in place of the data set's own; γ was chosen on validation classes of CUB",
    )
    protonet: ProtoNet = ProtoNet()
    delta: DeltaEncoder = DeltaEncoder()


class Compare(Section):
    """How `compare` chooses what is not given."""

    budget: int = Field(12, ge=1, description="candidate settings to try on validation classes where none are given")
    splits: int = Field(3, ge=1, le=3, description="class splits to average over")
    holdout: float = Field(0.2, gt=0, lt=1, description="share of the remaining classes' images that play test_seen")
    lengths: int = Field(10, ge=1, description="training lengths of one run to score, evenly spaced")
    seed: int = Field(0, ge=0, description="of the candidates, derived splits, held-out images and validation fits")


class MethodGrid(Section):
    """What `grid` combines: each backbone with each signatures and each method."""

    backbones: tuple[str, ...] = Field((), description="timm models; none named: the data set's own")
    signatures: tuple[str, ...] = Field(
        (), description="sources, several joined by +; none named: each alone, and all joined"
    )
    methods: tuple[str, ...] = Field(("eszsl", "clusterable"), min_length=1, description="names of methods")


class Mining(Section):
    """Metric learning with hard negative mining: Tables 1 and 2 and Fig. 1."""

    runs: int = Field(5, ge=1, description="seeds 0..runs-1 of every row")
    negatives: Counts = Field((1, 10, 50, 100), description="n of Table 2, from 1; the last one: Table 1")
    holdout_classes: float = Field(
        0.2, gt=0, lt=1, description="share of the training classes the grid search holds out"
    )
    holdout_draws: int = Field(3, ge=1, description="times such classes are drawn, by seeds 0, 1, ...; T1 is averaged")
    grid: Grid = Field(
        {
            "lambda_attributes": (0.3, 1.0),
            "dimensions": (100, 300),
            "mu": (0.0003, 0.001, 0.003),
            "mining.growth": ("accumulate", "resample"),
        },
        description="settings of metric-learning and the values to search, for each strategy and n",
    )
    eszsl: Grid = Field(
        {"signature_scaling": ("l2", "power"), "alpha": (-1.0, 0.0, 1.0), "gamma": (-1.0, 0.0, 1.0)},
        description="the same for ESZSL, whose features have length 1",
    )
    settings: dict[str, Any] = Field({}, description="other settings of metric-learning, for every row")


class TSNESettings(Section):
    """Fig. 3: real and synthetic features of some unseen classes in the plane."""

    classes: int = Field(10, ge=2, description="unseen classes, drawn by seed; all where there are fewer")
    per_class: int = Field(40, ge=1, description="real and synthetic features a class, at most; not stated")
    perplexity: float = Field(30.0, gt=0, description="of t-SNE; not stated")
    seed: int = Field(0, ge=0, description="of the classes, the fits and t-SNE")


class Dimension(Section):
    """A range (low to high, in whole numbers where both are; log: even in the logarithm), or a list of choices."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: tuple[bool | int | float | str, ...] = ()

    @model_validator(mode="after")
    def _one_kind(self) -> "Dimension":
        if bool(self.choices) == (self.low is not None and self.high is not None):
            raise ValueError("give low and high, or choices")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("low must be below high")
        if self.log and not (self.low or 0) > 0:
            raise ValueError("log needs low above 0")
        return self

    @property
    def ends(self) -> tuple[Any, ...]:
        """Every choice, or both ends of the range."""
        return self.choices or (self.low, self.high)

    def contains(self, value: Any) -> bool:
        """Whether the search can come to this value."""
        if self.choices or isinstance(value, str | bool):
            return value in self.choices
        return self.low is not None and self.high is not None and self.low <= value <= self.high


class Tune(Section):
    """The search of `zsl tune`."""

    seed: int = Field(0, ge=0, description="of the sampler")
    space: dict[str, Dimension] = Field(min_length=1, description="section.name -> range or choices")


SECTIONS: dict[str, type[Section]] = {
    "ablation": Ablation,
    "clusterability": Clusterability,
    "tsne": TSNESettings,
    "fewshot": Fewshot,
    "compare": Compare,
    "grid": MethodGrid,
    "mining": Mining,
    "tune": Tune,
}
"""Every experiment that has settings, by name: one line each."""
