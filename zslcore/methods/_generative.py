"""What the generative methods share: scale, train players, draw features of unseen classes, train a classifier."""

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from zslcore import artifacts
from zslcore.checkpoint import Checkpoint
from zslcore.errors import ZSLError
from zslcore.methods.base import Method, MethodSettings, Observe, Scorer, TrainData, check_classes
from zslcore.models.weights import numpy_state, put_state
from zslcore.scaling import Scaler, Scaling
from zslcore.settings import Classify, Generate
from zslcore.steps.classify import Classifier, Labelled, fit_classifier
from zslcore.steps.label_space import label_space
from zslcore.together import Run, Together
from zslcore.training import Curve, Player, Terms, alternate, resolve_device, seeded, stream, tensor


class GenerativeSettings(MethodSettings):
    """What every generative method has. Defaults are for standardised features, chosen on validation classes."""

    scaling: Scaling = Field("standard", description="of the features, fitted on trainval")
    signatures: Scaling = Field("sphere", description="of the signatures")
    output: Literal["relu", "sigmoid", "linear"] = Field("linear", description="last activation of the generator")
    hidden: int = Field(1024, ge=1, description="units of hidden layers; 4096 in most papers")
    latent: int | None = Field(None, ge=1, description="size of z; null: as the signature")
    epochs: int = Field(20, ge=1, description="passes over trainval")
    batch_size: int = Field(256, ge=1, description="images")
    lr: float = Field(1e-3, gt=0, description="Adam's step")
    beta1: float = Field(0.9, ge=0, lt=1, description="Adam's")
    beta2: float = Field(0.999, ge=0, lt=1, description="Adam's")
    generate: Generate = Generate()
    classify: Classify = Classify()
    device: str = "auto"
    precision: Literal["fp32", "bf16", "auto"] = Field(
        "fp32", description="of matrix products in training; auto: bf16 where the device has units for it"
    )
    compile: Literal["always", "never", "auto"] = Field(
        "never", description="the loss terms by torch.compile, on CUDA as CUDA graphs; auto: on CUDA only"
    )


@dataclass(frozen=True)
class Data:
    """Scaled training data on the device: x (n, d), y (n,), a (K, attributes)."""

    x: Tensor
    y: Tensor
    a: Tensor

    def __getitem__(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features, signatures and labels of a batch."""
        y = self.y[rows]
        return self.x[rows], self.a[y], y


class Generative(Method):
    """Base of the methods that train a generator and then a classifier on what it draws.

    A subclass makes its modules in `build` (every torch module it keeps as an attribute is saved), says in `players`
    who minimises what, and where its classifier does not see plain features, in `embed` what it sees instead.
    """

    Settings: ClassVar[type[MethodSettings]] = GenerativeSettings
    checkpoints: Path | None = None
    """Folder for resumable checkpoints, or None for none."""
    checkpoint_every: int = 10

    generator: nn.Module

    @abstractmethod
    def build(self, dimensions: int, attributes: int, classes: int) -> None:
        """Make the modules for (n, dimensions) features and (K, attributes) signatures of K seen classes."""

    @abstractmethod
    def players(self, data: Data) -> list[Player]:
        """Who minimises what, in turn."""

    def player(
        self,
        terms: Callable[[Tensor, int], Terms],
        modules: Sequence[nn.Module],
        name: str = "",
        steps: int = 1,
        amsgrad: bool = False,
        lr: float | None = None,
    ) -> Player:
        """A player that moves all parameters of some modules, with this method's learning rate unless told another."""
        settings: GenerativeSettings = self.settings
        return Player(
            terms,
            [parameter for module in modules for parameter in module.parameters()],
            lr=lr or settings.lr,
            betas=(settings.beta1, settings.beta2),
            amsgrad=amsgrad,
            steps=steps,
            name=name,
        )

    def prepare(self, data: Data, seed: int) -> None:
        """What comes before the main training, such as a pretrained classifier."""

    def embed(self, x: Tensor) -> Tensor:
        """Features (n, d), real or drawn, -> what the classifier sees (n, m)."""
        return x

    @torch.inference_mode()
    def embed_rows(self, scaled: NDArray[np.float32], block: int = 4096) -> NDArray[np.float32]:
        """`embed` for scaled features (n, d) in memory, by blocks of rows."""
        starts = range(0, max(len(scaled), 1), block)
        parts = [self.embed(tensor(scaled[start : start + block], self.device)).cpu().numpy() for start in starts]
        return np.concatenate(parts)

    def draw(self, z: Tensor, signatures: Tensor) -> Tensor:
        """Synthetic features as the classifier sees them (n, m), from z (n, latent) and scaled signatures (n, a)."""
        return self.embed(self.generator(z, signatures))

    def real(self, seed: int) -> Labelled:
        """The training images as the classifier sees them, with their labels among the seen classes."""
        return self.embed_rows(self.features), self.labels

    @property
    def latent(self) -> int:
        """Size of z."""
        return int(self.settings.latent or self.attributes)

    def noise(self, like: Tensor) -> Tensor:
        """z ~ N(0, I) (n, latent), as many rows as `like`."""
        return torch.randn(len(like), self.latent, device=like.device)

    def fit(self, train: TrainData, seed: int = 0, observe: Observe | None = None) -> Self:
        """Scale, build, prepare, and let the players take turns."""
        data = self._begin(train, seed)

        def watch(done: int) -> None:
            assert observe is not None
            self._mode(training=False)
            observe(done)
            self._mode(training=True)

        with seeded(seed, f"{self.name}/train"):
            self.curve: Curve = alternate(
                self.players(data),
                **self._training(data),
                label=self.name,
                observe=None if observe is None else watch,
                checkpoint=self._checkpoint(train, seed),
            )
        self._mode(training=False)
        return self

    @classmethod
    def fit_together(cls, settings: MethodSettings, train: TrainData, seeds: Sequence[int]) -> list[Self]:
        """What `fit` makes of each seed, up to rounding, trained in one batched product. It writes no checkpoints.

        Raises ZSLError where the settings want it compiled always.
        """
        methods = [cls(settings) for _ in seeds]
        first = methods[0]
        if first.settings.compile == "always":
            raise ZSLError("seeds trained together are not compiled: use compile: never, or seeds_together: false")
        data, *_ = [method._begin(train, seed) for method, seed in zip(methods, seeds, strict=True)]
        together = Together(
            [method.modules() for method in methods], [stream(seed, f"{cls.name}/train") for seed in seeds]
        )
        players = [together.player(player) for player in first.players(data)]
        with together.streams:
            label = f"{cls.name}, seeds {', '.join(map(str, seeds))} together"
            curves: list[Any] = alternate(players, **{**first._training(data), "compile": "never"}, label=label)
        together.spread()
        for number, method in enumerate(methods):
            method.curve = [{name: each[number] for name, each in means.items()} for means in curves]
            method._mode(training=False)
        return methods

    def _begin(self, train: TrainData, seed: int) -> Data:
        """All that comes before the main training."""
        settings: GenerativeSettings = self.settings
        self.device = resolve_device(settings.device)
        self.scaler = Scaler.fit(train.features, settings.scaling)
        self.signature_scaler = Scaler.fit(train.signatures, settings.signatures)
        self.features, self.labels = self.scaler(train.features), train.labels
        self.seen_classes, self.attributes = train.signatures.shape
        data = Data(
            tensor(self.features, self.device),
            tensor(self.labels, self.device),
            tensor(self.signature_scaler(train.signatures), self.device),
        )
        with seeded(seed, f"{self.name}/build"):
            self._build(self.features.shape[1])
        self.prepare(data, seed)
        self._mode(training=True)
        return data

    def _training(self, data: Data) -> dict[str, Any]:
        """What the training loop is told, whoever plays."""
        settings: GenerativeSettings = self.settings
        own = settings.model_dump(include={"epochs", "batch_size", "precision", "compile"})
        return {"count": len(data.x), **own}

    def for_classes(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_], seed: int = 0) -> Scorer:
        """Draw features of the unseen classes, and train the classifier of this label space."""
        check_classes(signatures, seen_mask, self.seen_classes, self.attributes)
        taught = self.taught(signatures, seen_mask, seed)
        purpose = "joint" if seen_mask.any() else "zsl"
        classifier = fit_classifier(*taught, len(signatures), self.settings.classify, seed, self.device, purpose)
        return GenerativeScorer(self, classifier)

    def taught(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_], seed: int) -> Labelled:
        """What the classifier of this label space learns from."""
        settings: GenerativeSettings = self.settings
        real = self.real(seed) if seen_mask.any() else None
        return label_space(self, real, signatures, seen_mask, settings.generate, settings.classify, seed)

    def state(self) -> dict[str, NDArray[Any]]:
        """Weights of all modules, the scalers, and the scaled training images that GZSL classifiers learn from."""
        arrays: dict[str, NDArray[Any]] = {
            "features": self.features,
            "labels": self.labels,
            "attributes": np.array(self.attributes),
        }
        for name, module in self._modules():
            arrays |= numpy_state(module, f"{name}.")
        return {**arrays, **self.scaler.state(), **self.signature_scaler.state("signatures.")}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `state` returned."""
        settings: GenerativeSettings = self.settings
        self.device = resolve_device(settings.device)
        self.scaler = Scaler.from_state(settings.scaling, state)
        self.signature_scaler = Scaler.from_state(settings.signatures, state, "signatures.")
        self.features, self.labels = state["features"], state["labels"]
        self.seen_classes, self.attributes = int(self.labels.max()) + 1, int(state["attributes"])
        with seeded(0, "unused"):
            self._build(self.features.shape[1])
        for name, module in self._modules():
            put_state(module, state, f"{name}.")

    def _build(self, dimensions: int) -> None:
        self.build(dimensions, self.attributes, self.seen_classes)
        for _, module in self._modules():
            module.to(self.device)

    def _modules(self) -> list[tuple[str, nn.Module]]:
        return [(name, value) for name, value in vars(self).items() if isinstance(value, nn.Module)]

    def modules(self) -> Run:
        """All modules as one."""
        return Run(dict(self._modules()))

    def _mode(self, *, training: bool) -> None:
        for _, module in self._modules():
            module.train(training)

    def _checkpoint(self, train: TrainData, seed: int) -> Checkpoint | None:
        """A file of its own for this method, these settings, this data and this seed, this code and its libraries."""
        if self.checkpoints is None:
            return None
        made_by = f"{artifacts.code()}/{artifacts.library_versions()}"
        run = hashlib.sha256(f"{self.settings.model_dump_json()}/{seed}/{made_by}".encode())
        for array in (train.features, train.labels, train.signatures):
            run.update(np.ascontiguousarray(array).tobytes())
        return Checkpoint(
            self.checkpoints / f"{self.name}-{seed}-{run.hexdigest()[:16]}.safetensors", self.checkpoint_every
        )


@dataclass(frozen=True)
class GenerativeScorer:
    """Scores images with the classifier of one label space."""

    method: Generative
    classifier: Classifier

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, d) unscaled features -> (n, classes) log-probabilities."""
        return self.classifier.scores(self.method.embed_rows(self.method.scaler(features)))
