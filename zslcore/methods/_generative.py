"""What the generative methods share: scale, train players, draw features of unseen classes, train a classifier."""

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Literal, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from zslcore.io import artifacts
from zslcore.methods._scaled import FeatureScaling, SignatureScaling
from zslcore.methods.base import Method, MethodSettings, Observe, Scorer, TrainData, check_classes
from zslcore.nn.blocks import apply_in_blocks
from zslcore.nn.state import numpy_state, put_state
from zslcore.scaling import Scaler
from zslcore.settings import Classify, Generate
from zslcore.synthesis.classifier import Classifier, FeaturesAndLabels, fit_classifier
from zslcore.synthesis.training_set import draw_training_set
from zslcore.training.checkpoint import Checkpoint
from zslcore.training.device import PrecisionName, resolve_device, tensor
from zslcore.training.loop import Curve, Player, Terms, alternate
from zslcore.training.replica import ALONE, Replica
from zslcore.training.seeding import seeded


class GenerativeSettings(MethodSettings):
    """What every generative method has. Defaults are for standardised features, chosen on validation classes."""

    scaling: FeatureScaling = "standard"
    signature_scaling: SignatureScaling = "sphere"
    output: Literal["relu", "sigmoid", "linear"] = Field("linear", description="last activation of the generator")
    hidden: int = Field(1024, ge=1, description="units of hidden layers; 4096 in most papers")
    latent: int | None = Field(None, ge=1, description="size of z; null: as the signature")
    epochs: int = Field(20, ge=1, description="passes over the training images")
    batch_size: int = Field(256, ge=1, description="images")
    lr: float = Field(1e-3, gt=0, description="Adam's step")
    beta1: float = Field(0.9, ge=0, lt=1, description="Adam's")
    beta2: float = Field(0.999, ge=0, lt=1, description="Adam's")
    generate: Generate = Generate()
    classify: Classify = Classify()
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    precision: PrecisionName = Field(
        "fp32", description="of matrix products in training; auto: bf16 where the device has units for it"
    )


GenerativeS = TypeVar("GenerativeS", bound=GenerativeSettings)


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


class Generative(Method[GenerativeS], Generic[GenerativeS]):
    """Base of the methods that train a generator and then a classifier on what it draws.

    A subclass makes its modules in `build` (every torch module it keeps as an attribute is saved), says in `players`
    who minimises what, and where its classifier does not see plain features, in `embed` what it sees instead.
    """

    family = "generative"
    generates = True
    quick = {
        "hidden": 64,
        "latent": 4,
        "batch_size": 32,
        "epochs": 30,
        "lr": 3e-3,
        "generate": {"per_unseen": 40},
        "classify": {"lr": 0.03, "batch_size": 128, "epochs": 5},
    }
    coupled: Sequence[str] = ()
    """Names of the players whose loss is no mean over rows: `Player.whole`."""
    checkpoints: Path | None = None
    """Folder for resumable checkpoints, or None for none."""
    checkpoint_every: int = 10
    replica: Replica = ALONE
    """This process among those that fit together, which go on from its checkpoint."""

    generator: nn.Module
    _known: Mapping[Any, Classifier] = {}
    """Classifiers that `set_classifiers` put back, by label space and seed."""

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
        """A player that moves all parameters of some modules, with this method's learning rate where `lr` is None."""
        settings = self.settings
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
        return apply_in_blocks(lambda x: self.embed(tensor(x, self.device)).cpu().numpy(), scaled, block)

    def draw(self, z: Tensor, signatures: Tensor) -> Tensor:
        """Synthetic features as the classifier sees them (n, m), from z (n, latent) and scaled signatures (n, a)."""
        return self.embed(self.generator(z, signatures))

    def real(self, seed: int) -> FeaturesAndLabels:
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
                [replace(player, whole=player.name in self.coupled) for player in self.players(data)],
                count=len(data.x),
                epochs=self.settings.epochs,
                batch_size=self.settings.batch_size,
                precision=self.settings.precision,
                label=self.name,
                observe=None if observe is None else watch,
                checkpoint=self.replica.checkpoint or self._checkpoint(train, seed),
                replica=self.replica,
            )
        self._mode(training=False)
        return self

    def _begin(self, train: TrainData, seed: int) -> Data:
        """All that comes before the main training."""
        self.device, self._known = resolve_device(self.settings.device), {}
        self.scaler = Scaler.fit(train.features, self.settings.scaling)
        self.signature_scaler = Scaler.fit(train.signatures, self.settings.signature_scaling)
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

    def for_classes(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_], seed: int = 0) -> Scorer:
        """Draw features of the unseen classes, and train the classifier of this label space."""
        check_classes(signatures, seen_mask, self.seen_classes, self.attributes)
        known = self._known.get((signatures.tobytes(), seen_mask.tobytes(), seed))
        return GenerativeScorer(self, known or self._classifier(signatures, seen_mask, seed))

    def classifiers(
        self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_], seed: int = 0
    ) -> dict[str, NDArray[Any]]:
        """The joint classifier, and that of the unseen classes."""
        return {
            f"{purpose}.{name}": value
            for purpose, space in spaces(signatures, seen_mask).items()
            for name, value in self._classifier(*space, seed).state().items()
        }

    def set_classifiers(
        self,
        state: Mapping[str, NDArray[Any]],
        signatures: NDArray[np.float32],
        seen_mask: NDArray[np.bool_],
        seed: int = 0,
    ) -> None:
        """Put back what `classifiers` returned for these classes."""
        kind = self.settings.classify.kind
        self._known = {
            (*(array.tobytes() for array in space), seed): Classifier.from_state(
                kind, artifacts.under(state, f"{purpose}."), self.device
            )
            for purpose, space in spaces(signatures, seen_mask).items()
        }

    def _classifier(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_], seed: int) -> Classifier:
        x, y = self.training_set(signatures, seen_mask, seed)
        purpose = "joint" if seen_mask.any() else "zsl"
        return fit_classifier(
            x, y, len(signatures), self.settings.classify, seed=seed, device=self.device, purpose=purpose
        )

    def training_set(
        self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_], seed: int
    ) -> FeaturesAndLabels:
        """What the classifier of this label space learns from: features (n, m), labels (n,)."""
        real = self.real(seed) if seen_mask.any() else None
        return draw_training_set(
            self, real, signatures, seen_mask, self.settings.generate, self.settings.classify, seed
        )

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
        self.device, self._known = resolve_device(self.settings.device), {}
        self.scaler = Scaler.from_state(self.settings.scaling, state)
        self.signature_scaler = Scaler.from_state(self.settings.signature_scaling, state, "signatures.")
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

    def _mode(self, *, training: bool) -> None:
        for _, module in self._modules():
            module.train(training)

    def _checkpoint(self, train: TrainData, seed: int) -> Checkpoint | None:
        """One file for each method, settings, data, seed, code and versions of libraries."""
        if self.checkpoints is None:
            return None
        made_by = f"{artifacts.code()}/{artifacts.library_versions()}"
        run = hashlib.sha256(f"{self.settings.model_dump_json()}/{seed}/{made_by}".encode())
        for array in (train.features, train.labels, train.signatures):
            run.update(np.ascontiguousarray(array).tobytes())
        return Checkpoint(
            self.checkpoints / f"{self.name}-{seed}-{run.hexdigest()[:16]}.safetensors", self.checkpoint_every
        )


def spaces(
    signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_]
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """The label spaces that classes make: all jointly, where some are seen, and the unseen ones; no empty one."""
    unseen = {"zsl": (signatures[~seen_mask], seen_mask[~seen_mask])} if not seen_mask.all() else {}
    return {"joint": (signatures, seen_mask), **unseen} if seen_mask.any() else unseen


@dataclass(frozen=True)
class GenerativeScorer:
    """Scores images with the classifier of one label space."""

    method: Generative[Any]
    classifier: Classifier

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, d) unscaled features -> (n, classes) log-probabilities."""
        return self.classifier.scores(self.method.embed_rows(self.method.scaler(features)))
