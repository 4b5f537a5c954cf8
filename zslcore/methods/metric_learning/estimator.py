"""Metric learning with hard negative mining (Bucher, Herbin and Jurie, TASK-CV at ECCV 2016)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse
from torch import Tensor

from zslcore.errors import ZSLError
from zslcore.methods.base import Method, MethodSettings, Observe, Scorer, TrainData, check_classes
from zslcore.methods.metric_learning.losses import HINGES, attribute_loss, objective, regulariser
from zslcore.methods.metric_learning.metric import AttributeMetric
from zslcore.methods.metric_learning.mining import Growth, Miner, Normalise, check_correlation, log_correlation
from zslcore.nn.blocks import apply_in_blocks
from zslcore.nn.state import numpy_state, put_state
from zslcore.scaling import Scaler, Scaling
from zslcore.training.device import PrecisionName, in_bf16, resolve_device, tensor
from zslcore.training.loop import Curve, OptimiserName, Terms, minimise
from zslcore.training.seeding import seeded


class Mining(MethodSettings):
    """How D₋ is chosen (section 2.2)."""

    strategy: Literal["random", "uncertainty", "uncertainty-correlation"] = Field(
        "uncertainty", description="uniform; u_t of eq. 8; p_t of eq. 10, for attributes that vary within a class"
    )
    n: int = Field(10, ge=1, description="negative pairs a positive one; random with 1 is the parent method")
    growth: Growth = Field(
        "accumulate",
        description="after a first epoch of one random pair an image: add, up to n, or draw n new ones each epoch",
    )
    normalise: Normalise = Field(
        "image", description="what eq. 8 is made a probability over: each image's candidates, or all pairs; not stated"
    )
    block: int = Field(2**22, ge=1, description="most scores held at a time")


class MetricLearningSettings(MethodSettings):
    """What the paper searches (λ, m, μ), its choices, and what it leaves open."""

    mining: Mining = Mining()
    hinge: Literal["printed", "parent"] = Field("printed", description="(τ − S)² or τ − S²; see MetricLearning")
    weighting: Literal["frequency", "none"] = Field("frequency", description="eq. 11, or eq. 6 (divided by |D₊|)")
    lambda_attributes: float = Field(1.0, ge=0, description="λ of eq. 6")
    dimensions: int | None = Field(None, ge=1, description="m, columns of W_A; null: as many as attributes")
    mu: float = Field(1e-3, ge=0, description="μ of eq. 6")
    tau: float = Field(1.0, description="start of τ; not stated")
    scale_x: float = Field(0.01, gt=0, description="start of W_X: standard deviation times √d; not stated")
    scale_a: float = Field(1.0, gt=0, description="start of W_A: standard deviation times √m; not stated")
    attributes: Literal["auto", "image", "class"] = Field(
        "auto", description="vectors to train with: of each image, of its class, or auto: of images where given"
    )
    scaling: Scaling = Field("power", description="of the features; not stated")
    signature_scaling: Scaling = Field("power", description="of the attribute vectors; not stated")
    optimiser: OptimiserName = Field("sgd", description="the paper's, or adam")
    lr: float = Field(0.03, gt=0, description="not stated")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD; not stated")
    epochs: int = Field(20, ge=1, description="not stated")
    batch_size: int = Field(128, ge=1, description="images; not stated")
    precision: PrecisionName = Field(
        "fp32", description="of the product of features and W_X; auto: bf16 where the device has units for it"
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")


class MetricLearning(Method[MetricLearningSettings]):
    """min over W_X, b_X, W_A, τ of eq. 11: hinge on S of positive and mined negative pairs + λ l_A + μ R.

    Eq. 3 is printed with (τ − S)²; the parent method has τ − S², so that the square may have slipped. `hinge` selects,
    and is `printed` by default, chosen on validation classes (docs/lab/metric-learning.md): with l_A, which keeps
    positives from fleeing beyond τ + 1, it holds them within τ − 1 and negatives at τ, a bounded fit.
    Scaled attributes below 0, which Â ≥ 0 cannot reach, are shifted so that the least in training is 0: S depends on
    differences alone. Images are scored with class signatures alone: −S, eq. 7.
    """

    name = "metric-learning"
    title = "Hard negative mining"
    citation = "Bucher, Herbin and Jurie, ECCV workshops 2016"
    summary = (
        "A regression of attributes and a metric between attribute vectors, learned from pairs; the negative "
        "pairs are mined by how uncertain they are."
    )
    family = "metric"
    needs_image_attributes = True
    Settings = MetricLearningSettings
    quick = {"epochs": 40, "batch_size": 32, "lr": 0.02}
    search_space = {
        "lambda_attributes": (0.1, 0.3, 1.0, 3.0),
        "dimensions": (100, 300, None),
        "mu": (3e-4, 1e-3, 3e-3),
    }

    def fit(self, train: TrainData, seed: int = 0, observe: Observe | None = None) -> Self:
        """Learn the embedding and the metric, mining D₋ before each epoch."""
        settings = self.settings
        mining, device = settings.mining, resolve_device(settings.device)
        self.seen_classes = len(train.signatures)
        self.scaler = Scaler.fit(train.features, settings.scaling)
        self.attribute_scaler = Scaler.fit(train.signatures, settings.signature_scaling)
        vectors, classes, true = self._candidates(train)
        self.floor = np.minimum(vectors.min(axis=0), 0)
        vectors = vectors - self.floor
        log_q = None
        if mining.strategy == "uncertainty-correlation":
            check_correlation(vectors, classes)
            log_q = log_correlation(tensor(vectors, device), classes, mining.block)
        miner = Miner(
            train.labels,
            classes,
            true,
            mining.n,
            settings.epochs,
            mined=mining.strategy != "random",
            log_q=log_q,
            growth=mining.growth,
            normalise=mining.normalise,
            seed=seed,
            block=mining.block,
        )
        with seeded(seed, self.name):
            self.model = self._new_model(train.features.shape[1], vectors.mean(axis=0)).to(device)
            features = tensor(self.scaler(train.features), device)
            problem = Problem(self.model, features, tensor(vectors, device), tensor(true, device), settings)

            def terms(rows: Tensor, epoch: int) -> Terms:
                return {"total": problem.loss(rows, miner.pairs, miner.size)}

            self.curve: Curve = minimise(
                terms,
                self.model.parameters(),
                count=len(features),
                epochs=settings.epochs,
                batch_size=settings.batch_size,
                lr=settings.lr,
                optimiser=settings.optimiser,
                momentum=settings.momentum,
                label=self.name,
                begin=lambda epoch: miner.mine(epoch, problem.distances),
                observe=observe,
            )
        return self

    def for_classes(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_], seed: int = 0) -> Scorer:
        """Distances to each signature, eq. 7."""
        check_classes(signatures, seen_mask, self.seen_classes, len(self.model.b_x))
        return MetricScorer(self.scaler, self.model, self.attribute_scaler(signatures) - self.floor)

    def state(self) -> dict[str, NDArray[Any]]:
        """W_X, b_X, W_A, τ, the scalers and the floor."""
        return {
            **numpy_state(self.model, "model."),
            **self.scaler.state(),
            **self.attribute_scaler.state("attribute_scaler."),
            "floor": self.floor,
            "seen_classes": np.array(self.seen_classes),
        }

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `state` returned."""
        settings = self.settings
        self.seen_classes, self.floor = int(state["seen_classes"]), state["floor"]
        self.scaler = Scaler.from_state(settings.scaling, state)
        self.attribute_scaler = Scaler.from_state(settings.signature_scaling, state, "attribute_scaler.")
        self.model = self._new_model(len(state["model.w_x"]), state["model.b_x"]).to(resolve_device(settings.device))
        put_state(self.model, state, "model.")

    def _new_model(self, features: int, mean: NDArray[np.float32]) -> AttributeMetric:
        settings = self.settings
        dimensions = settings.dimensions or len(mean)
        bf16 = in_bf16(settings.precision, resolve_device(settings.device))
        return AttributeMetric(features, mean, dimensions, settings.scale_x, settings.scale_a, settings.tau, bf16)

    def _candidates(self, train: TrainData) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
        """Attribute vectors (c, a), the class of each (c,), and the row of each image's true vector (n,)."""
        settings = self.settings
        vectors = train.image_attributes
        if vectors is None and settings.attributes == "image":
            raise ZSLError("metric-learning: attributes: image, but the data set has none an image; use class or auto")
        if vectors is None or settings.attributes == "class":
            if settings.mining.strategy == "uncertainty-correlation":
                raise ZSLError(
                    "metric-learning: uncertainty-correlation compares the attribute vectors within a class (q of "
                    "eq. 9), and here each class has one signature; use strategy: uncertainty (the paper leaves AwA "
                    "out as well)"
                )
            return self.attribute_scaler(train.signatures), np.arange(len(train.signatures)), train.labels
        if vectors.shape != (len(train.labels), train.signatures.shape[1]) or not np.isfinite(vectors).all():
            raise ZSLError(
                f"metric-learning: per-image attributes of shape {vectors.shape}, or with NaN or infinity; expected "
                f"({len(train.labels)}, {train.signatures.shape[1]}) finite numbers"
            )
        return self.attribute_scaler(vectors), train.labels, np.arange(len(train.labels))


@dataclass(frozen=True)
class Problem:
    """Eq. 11 on training data: features (n, d), candidates (c, a), true: (n,) the row of each image's true vector."""

    model: AttributeMetric
    features: Tensor
    candidates: Tensor
    true: Tensor
    settings: MetricLearningSettings

    @torch.inference_mode()
    def distances(self, rows: NDArray[np.int64]) -> Tensor:
        """S_t of these images to every candidate: (b, c)."""
        predicted = self.model.attributes(self.features[tensor(rows, self.features.device)])
        return self.model.squared_to_each(predicted, self.candidates).sqrt_()

    def loss(self, rows: Tensor, pairs: sparse.csr_matrix, negatives: int) -> Tensor:
        """Eq. 11 of a batch of images with their pairs in D₋, of which there are `negatives` in all.

        Weighted so that the mean over the images of an epoch is eq. 11 itself; eq. 6 / |D₊| with weighting: none.
        """
        settings, model, count = self.settings, self.model, len(self.features)
        hinge, frequency = HINGES[settings.hinge], settings.weighting == "frequency"
        used, counts = dense_columns(pairs[rows.cpu().numpy()])
        predicted, true = model.attributes(self.features[rows]), self.candidates[self.true[rows]]
        others = self.candidates[tensor(used, rows.device)]
        return objective(
            hinge(model.squared_to_one(predicted, true), model.tau, 1),
            attribute_loss(predicted, true),
            hinge(model.squared_to_each(predicted, others), model.tau, -1),
            tensor(counts, rows.device),
            regulariser(model.w_x, model.b_x, model.w_a),
            lambda_attributes=settings.lambda_attributes,
            mu=settings.mu if frequency else settings.mu / count,
            positive_weight=1 / len(rows),
            negative_weight=(count / negatives if frequency else 1) / len(rows),
        )


def dense_columns(counts: sparse.csr_matrix) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The candidates (k,) that occur at all, and their counts as a dense (images, k) array."""
    used, where = np.unique(counts.indices, return_inverse=True)
    dense = np.zeros((counts.shape[0], len(used)), dtype=np.float32)
    dense[np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr)), where] = counts.data
    return used.astype(np.int64), dense


@dataclass(frozen=True)
class MetricScorer:
    """Scores −S(x, y) for the signature y of each class, eq. 7."""

    scaler: Scaler
    model: AttributeMetric
    signatures: NDArray[np.float32]

    @torch.inference_mode()
    def scores(self, features: NDArray[np.float32], block: int = 8192) -> NDArray[np.float32]:
        """(n, d) unscaled features -> (n, classes), all ≤ 0, by blocks of rows."""
        device = self.model.w_x.device
        vectors = tensor(self.signatures, device)

        def score(x: NDArray[np.float32]) -> NDArray[np.float32]:
            predicted = self.model.attributes(tensor(self.scaler(x), device))
            return -self.model.squared_to_each(predicted, vectors).sqrt().cpu().numpy()

        return apply_in_blocks(score, features, block)
