"""SE-ZSL: a CVAE with a signature regressor as feedback (Verma, Arora, Mishra and Rai, CVPR 2018)."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from zslcore.methods._generative import Data
from zslcore.methods.base import MethodSettings
from zslcore.methods.cvae_zsl import CVAEZSL, CVAESettings
from zslcore.models.mlp import MLP
from zslcore.training import Player, Terms


class SEZSLSettings(CVAESettings):
    """Weights of the feedback; the paper states their search, not their values."""

    regressor_hidden: int = Field(512, ge=1, description="units of the regressor's hidden layer; not stated")
    feedback: float = Field(1.0, ge=0, description="λc: drawn features must tell their signature; not stated")
    realism: float = Field(0.1, ge=0, description="λreg: drawn features must resemble their class's images; not stated")
    cycle: float = Field(0.1, ge=0, description="λE: the encoder must find the z a feature was drawn with; not stated")


class SEZSL(CVAEZSL):
    """The CVAE plus feedback on x̂ = G(z, a), z ~ N(0, I): λc‖R(x̂) − a‖² + λreg‖x̂ − x‖² + λE‖E(x̂) − z‖².

    R: x -> a is trained in turn, on real and on drawn features. Squared errors of signatures are means over entries.
    """

    name: ClassVar[str] = "se-zsl"
    citation: ClassVar[str] = "Verma et al., CVPR 2018"
    Settings: ClassVar[type[MethodSettings]] = SEZSLSettings
    search_space: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        **CVAEZSL.search_space,
        "feedback": (0.1, 1.0),
        "realism": (0.0, 0.1),
    }

    def build(self, dimensions: int, attributes: int, classes: int) -> None:
        """The CVAE and R."""
        super().build(dimensions, attributes, classes)
        self.regressor = MLP(dimensions, self.settings.regressor_hidden, attributes)

    def players(self, data: Data) -> list[Player]:
        """R, then E and G."""
        regressor = self.player(lambda rows, epoch: self.regression(*data[rows]), [self.regressor], name="regressor")
        return [regressor, *super().players(data)]

    def regression(self, x: Tensor, a: Tensor, y: Tensor) -> Terms:
        """R on real features and on features drawn for the same classes."""
        drawn = self.generator(self.noise(x), a).detach()
        real = functional.mse_loss(self.regressor(x), a)
        synthetic = functional.mse_loss(self.regressor(drawn), a)
        return {"total": real + synthetic, "real": real, "synthetic": synthetic}

    def terms(self, x: Tensor, a: Tensor, y: Tensor, epoch: int) -> Terms:
        """The CVAE's terms and the three kinds of feedback on features drawn from the prior."""
        settings: SEZSLSettings = self.settings
        terms, _ = self.evidence(x, a, epoch)
        z = self.noise(x)
        drawn = self.generator(z, a)
        dimensions = x.shape[1]
        told = dimensions * functional.mse_loss(self.regressor(drawn), a)
        near = dimensions * functional.mse_loss(drawn, x)
        found = dimensions * functional.mse_loss(self.encode(drawn, a)[0], z)
        total = terms["total"] + settings.feedback * told + settings.realism * near + settings.cycle * found
        return {**terms, "total": total, "feedback": told, "realism": near, "cycle": found}
