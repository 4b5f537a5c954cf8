"""What the methods on feature maps share: scaled channels, training on batches read from disk, scoring in blocks."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from zslcore.datasets.maps import Maps
from zslcore.errors import ZSLError
from zslcore.methods._scaled import SignatureScaling
from zslcore.methods._stage import Stage
from zslcore.methods._tensor_scaling import TensorScaling
from zslcore.methods._trained import BatchSize, Decay, Epochs, Rate
from zslcore.methods.base import (
    Method,
    MethodSettings,
    Observe,
    Scorer,
    TrainData,
    check_classes,
    check_distinct,
    check_input,
)
from zslcore.nn.blocks import apply_in_blocks
from zslcore.nn.state import numpy_state, put_state
from zslcore.scaling import Scaler, Scaling
from zslcore.training.device import resolve_device, tensor
from zslcore.training.loop import Curve, Terms, minimise
from zslcore.training.seeding import seeded

SCALED_ON = 256
"""Training images, evenly spaced, whose places the scaling of channels is fitted on."""
PLAIN = {"scaling": "standard", "signature_scaling": "sphere"}
"""For quick settings: places where there is nothing stay small."""
AT_ONCE = 64
"""Images scored at once."""


def searched(
    lr: tuple[float, ...] = (0.0003, 0.001, 0.003),
    weight_decay: tuple[float, ...] = (0.0, 0.0001, 0.001),
    **specific: tuple[Any, ...],
) -> dict[str, tuple[Any, ...]]:
    """A search space: values of the settings that all of these methods have, and of a method's `specific` ones."""
    return {
        "scaling": ("centred_sphere", "sphere", "standard"),
        "signature_scaling": ("centred_sphere", "sphere", "standard"),
        **specific,
        "lr": lr,
        "weight_decay": weight_decay,
        "epochs": (20,),
    }


ChannelScaling = Annotated[Scaling, Field(description="of each place, fitted on training images; not stated")]


class MapSettings(MethodSettings):
    """Scaling and training, chosen on validation classes of birds; Adam, whatever the paper's optimiser was."""

    scaling: ChannelScaling = "centred_sphere"
    signature_scaling: SignatureScaling = "centred_sphere"
    epochs: Epochs = 10
    batch_size: BatchSize = 64
    lr: Rate = 0.001
    weight_decay: Decay = 0.0
    stage_rate: float = Field(
        0.1, ge=0, description="rate of the backbone's last stage, as a share of lr, on maps of extract.output: before"
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")


MapS = TypeVar("MapS", bound=MapSettings)


class MapMethod(Method[MapS], Generic[MapS]):
    """A network on feature maps (n, h, w, c), whose classes are given by scaled signatures (K, a).

    `train.features` is an array, or `datasets.maps.Maps`, of which a batch at a time is read. Scores are
    ψ(x)ᵀ s(y) / √a, ψ the attributes found in an image. A subclass gives the network, its loss and ψ. Of `Maps`
    that a backbone's last stage takes, that stage makes the maps here, and learns; other maps are frozen.
    """

    input = "maps"
    network: nn.Module
    stage: Stage | None = None

    @abstractmethod
    def build(self, image: tuple[int, int, int], attributes: int) -> nn.Module:
        """The network for maps of shape (h, w, c) and signatures of so many attributes."""

    @abstractmethod
    def terms(self, maps: Tensor, labels: Tensor, signatures: Tensor) -> Terms:
        """Loss terms of a batch: scaled maps (n, h, w, c), labels (n,) of rows of the scaled signatures (K, a)."""

    @abstractmethod
    def found(self, maps: Tensor) -> Tensor:
        """ψ (n, a): how far each attribute is found in scaled maps."""

    def logits(self, maps: Tensor, signatures: Tensor) -> Tensor:
        """Scores (n, classes) of scaled maps over scaled signatures."""
        return compatibility(self.found(maps), signatures)

    def fit(self, train: TrainData, seed: int = 0, observe: Observe | None = None) -> Self:
        """Scale, build, train. Raises ZSLError for vectors, and when two seen classes have the same signature."""
        features = train.features
        check_input(self, features)
        check_distinct(train.signatures)
        self.image: tuple[int, int, int] = features.shape[1:]
        self.seen_classes, self.attributes = train.signatures.shape
        self.device = resolve_device(self.settings.device)
        self.stage = None
        if isinstance(features, Maps) and features.before is not None:
            if self.settings.scaling in ("root", "power"):
                raise ZSLError(f"scaling: {self.settings.scaling} is steep without end at 0; use another for a stage")
            self.stage = Stage.of_maps(features.before, self.image, self.settings.stage_rate).to(self.device).eval()
        sampled = np.unique(np.linspace(0, len(features) - 1, SCALED_ON).round().astype(np.int64))
        made = self.made_in_blocks(features[sampled])
        self.scaler = Scaler.fit(_places(made), self.settings.scaling)
        self.signature_scaler = Scaler.fit(train.signatures, self.settings.signature_scaling)
        signatures = tensor(self.signature_scaler(train.signatures), self.device)
        labels = tensor(train.labels, self.device)
        with seeded(seed, f"{self.name}/build"):
            self.network = self.build(made.shape[1:], self.attributes).to(self.device)
        learned = [*self.network.parameters(), *([] if self.stage is None else self.stage.parameters())]

        def terms(rows: Tensor, epoch: int) -> Terms:
            return self.terms(self.scaled(features[np.sort(rows.cpu().numpy())]), labels[rows.sort()[0]], signatures)

        def watch(done: int) -> None:
            assert observe is not None
            self.network.eval()
            observe(done)
            self.network.train()

        settings = self.settings
        with seeded(seed, f"{self.name}/train"):
            self.network.train()
            self.curve: Curve = minimise(
                terms,
                learned,
                count=len(features),
                epochs=settings.epochs,
                batch_size=settings.batch_size,
                lr=settings.lr,
                weight_decay=settings.weight_decay,
                label=self.name,
                observe=None if observe is None else watch,
            )
            self.network.eval()
        return self

    def made_by_stage(self, maps: NDArray[Any]) -> Tensor:
        """What the stage makes of maps (n, h, w, c), in memory or not."""
        assert self.stage is not None
        found: Tensor = self.stage(tensor(np.asarray(maps, np.float32), self.device))
        return found

    @torch.inference_mode()
    def made_in_blocks(self, maps: NDArray[Any]) -> NDArray[np.float32]:
        """The same, of some images at once; without a stage the maps themselves."""
        if self.stage is None:
            return np.asarray(maps, np.float32)
        return apply_in_blocks(lambda block: self.made_by_stage(block).cpu().numpy(), maps, AT_ONCE)

    def scaled(self, maps: NDArray[Any]) -> Tensor:
        """Unscaled maps (n, h, w, c), in memory or not, as a scaled tensor on the device, through the stage first."""
        if self.stage is None:
            return tensor(self.scaler(_places(maps)).reshape(-1, *self.image), self.device)
        scaled: Tensor = TensorScaling(self.scaler).to(self.device)(self.made_by_stage(maps))
        return scaled

    def for_classes(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_], seed: int = 0) -> Scorer:
        """Score with what was learned; nothing is trained here."""
        check_classes(signatures, seen_mask, self.seen_classes, self.attributes)
        return MapScorer(self, signatures, self.signature_scaler(signatures))

    def in_blocks(self, function: Any, maps: NDArray[Any]) -> NDArray[np.float32]:
        """`function` of scaled maps, of some images at once. Raises ZSLError for another shape than in `fit`."""
        if maps.ndim != 4 or tuple(maps.shape[1:]) != self.image:
            raise ZSLError(f"features of shape {maps.shape}; {self.name} was fitted on maps (n, {_times(self.image)})")

        @torch.inference_mode()
        def one(block: NDArray[Any]) -> NDArray[np.float32]:
            return function(self.scaled(block)).float().cpu().numpy()

        return apply_in_blocks(one, maps, AT_ONCE)

    def state(self) -> dict[str, NDArray[Any]]:
        """The network's weights, the scalers, and the shapes of what was fitted."""
        return {
            **numpy_state(self.network, "network."),
            **({} if self.stage is None else self.stage.state()),
            "shape": np.array([self.seen_classes, self.attributes, *self.image]),
            **self.scaler.state(),
            **self.signature_scaler.state("signature_scaler."),
        }

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `state` returned."""
        self.seen_classes, self.attributes, *image = map(int, state["shape"])
        self.image = image[0], image[1], image[2]
        self.device = resolve_device(self.settings.device)
        self.scaler = Scaler.from_state(self.settings.scaling, state)
        self.signature_scaler = Scaler.from_state(self.settings.signature_scaling, state, "signature_scaler.")
        self.stage = Stage.from_state(state)
        if self.stage is not None:
            self.stage.to(self.device)
        made = self.made_in_blocks(np.zeros((1, *self.image), np.float32)).shape
        with seeded(0, "unused"):
            self.network = self.build((made[1], made[2], made[3]), self.attributes)
        put_state(self.network, state, "network.")
        self.network.to(self.device)


@dataclass(frozen=True)
class MapScorer:
    """Scores feature maps over signatures (classes, a): as given, and scaled."""

    method: MapMethod[Any]
    signatures: NDArray[np.float32]
    scaled: NDArray[np.float32]

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, h, w, c) unscaled maps, in memory or not -> (n, classes) float32. Raises ZSLError for another shape."""
        signatures = tensor(self.scaled, self.method.device)
        return self.method.in_blocks(lambda maps: self.method.logits(maps, signatures), features)

    def contributions(self, features: NDArray[np.float32], winner: int, runner_up: int) -> NDArray[np.float32]:
        """(n, h, w, c) unscaled maps -> (n, a): ψₖ (s − s′)ₖ / √a, what each attribute adds to the lead."""
        lead = self.scaled[winner] - self.scaled[runner_up]
        return self.method.in_blocks(self.method.found, features) * lead / np.float32(len(lead) ** 0.5)


def compatibility(found: Tensor, signatures: Tensor) -> Tensor:
    """ψᵀ s(y) / √a of attributes found (n, a) and scaled signatures (classes, a): (n, classes)."""
    return found @ signatures.T / signatures.shape[1] ** 0.5


def _places(maps: NDArray[Any]) -> NDArray[np.float32]:
    """(n, h, w, c), in memory or not -> (n·h·w, c) float32."""
    values = np.asarray(maps, np.float32)
    return values.reshape(-1, values.shape[-1])


def _times(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))
