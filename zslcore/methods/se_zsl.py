"""SE-ZSL: a CVAE with a signature regressor as feedback (Verma, Arora, Mishra and Rai, CVPR 2018)."""

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from zslcore.methods._generative import Data
from zslcore.methods.cvae_zsl import CVAEZSL, CVAESettings
from zslcore.nn.mlp import MLP
from zslcore.training.loop import Player, Terms


class SEZSLSettings(CVAESettings):
    """Weights of the feedback; the paper states their search, not their values."""

    regressor_hidden: int = Field(512, ge=1, description="units of the regressor's hidden layer; not stated")
    feedback: float = Field(
        1.0, ge=0, description="λc: the regressor must find a drawn feature's signature; not stated"
    )
    realism: float = Field(0.1, ge=0, description="λreg: drawn features must resemble their class's images; not stated")
    cycle: float = Field(0.1, ge=0, description="λE: the encoder must find the z a feature was drawn with; not stated")


class SEZSL(CVAEZSL):
    """The CVAE plus feedback on x̂ = G(z, a), z ~ N(0, I): λc‖R(x̂) − a‖² + λreg‖x̂ − x‖² + λE‖E(x̂) − z‖².

    R: x -> a is trained in turn, on real and on drawn features. Squared errors of signatures are means over entries.
    """

    name = "se-zsl"
    title = "SE-ZSL"
    citation = "Verma et al., CVPR 2018"
    summary = "CVAE-ZSL, and a regressor of signatures that leads the generator."
    Settings = SEZSLSettings
    settings: SEZSLSettings
    quick = {**CVAEZSL.quick, "regressor_hidden": 32}
    search_space = {
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
        settings = self.settings
        terms, _ = self.evidence(x, a, epoch)
        z = self.noise(x)
        drawn = self.generator(z, a)
        dimensions = x.shape[1]
        signature_error = dimensions * functional.mse_loss(self.regressor(drawn), a)
        feature_error = dimensions * functional.mse_loss(drawn, x)
        noise_error = dimensions * functional.mse_loss(self.encode(drawn, a)[0], z)
        total = terms["total"] + settings.feedback * signature_error
        total = total + settings.realism * feature_error + settings.cycle * noise_error
        return {**terms, "total": total, "feedback": signature_error, "realism": feature_error, "cycle": noise_error}
