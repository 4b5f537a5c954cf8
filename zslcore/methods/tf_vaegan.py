"""TF-VAEGAN: latent embedding feedback (Narayan, Gupta, Khan, Snoek and Shao, ECCV 2020)."""

from copy import deepcopy
from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from zslcore.methods._generative import Data
from zslcore.methods.f_vaegan_d2 import FVAEGAN, FVAEGANSettings
from zslcore.nn.mlp import MLP
from zslcore.training.loop import Player, Terms


class TFVAEGANSettings(FVAEGANSettings):
    """The semantic decoder and its feedback."""

    decoding: float = Field(0.01, ge=0, description="weight of the decoded signatures' L1 error")
    strength: float = Field(1.0, ge=0, description="a₁ = a₂, of the feedback into the generator")
    embedding: bool = Field(True, description="the classifier sees x ⊕ hidden layer of Dec ⊕ Dec(x), not x alone")


class TFVAEGAN(FVAEGAN):
    """f-VAEGAN + λ‖Dec(x̂) − a‖₁; G's hidden layer gets a₁ F(h), with h the hidden layer of Dec at a first G(z, a).

    Dec: x -> a is trained on real features, in turn with the critic. Half of each batch goes without feedback, so that
    the first pass stays a sound generator. The classifier learns from x ⊕ h(x) ⊕ Dec(x).

    Departures from the authors' code: Dec(x) is not scaled to length 1, its L1 error does not weigh the entries of a
    signature, F's output is linear, and one strength of the feedback serves training and drawing (a₂ = a₁).
    """

    name = "tf-vaegan"
    title = "TF-VAEGAN"
    citation = "Narayan et al., ECCV 2020"
    summary = "f-VAEGAN, and a decoder of signatures, fed back into the generator and shown to the classifier."
    Settings = TFVAEGANSettings
    coupled = ("critic", "generator")
    settings: TFVAEGANSettings
    quick = {**FVAEGAN.quick, "strength": 0.3, "adversarial": 1.0}

    def build(self, dimensions: int, attributes: int, classes: int) -> None:
        """E, G, D, Dec and F."""
        super().build(dimensions, attributes, classes)
        hidden = self.settings.hidden
        self.decoder = MLP(dimensions, hidden, attributes)
        self.feedback = MLP(hidden, hidden, hidden)
        self.averaged_feedback = deepcopy(self.feedback)

    def averages(self) -> list[tuple[nn.Module, nn.Module]]:
        """G and F."""
        return [*super().averages(), (self.averaged_feedback, self.feedback)]

    def players(self, data: Data) -> list[Player]:
        """Dec; D; then E, G and F together; the running mean."""
        decoder = self.player(lambda rows, epoch: self.decoder_terms(*data[rows]), [self.decoder], "decoder")
        critic, generator, mean = super().players(data)
        both = [*generator.parameters, *self.feedback.parameters()]
        return [decoder, critic, replace(generator, parameters=both), mean]

    def decoder_terms(self, x: Tensor, a: Tensor, y: Tensor) -> Terms:
        """What Dec minimises: the L1 error of signatures decoded from real features."""
        return {"total": functional.l1_loss(self.decoder(x), a)}

    def guidance(self, drawn: Tensor, output: Tensor, x: Tensor, a: Tensor, y: Tensor) -> Terms:
        """Drawn and rebuilt features must decode to their signature (L1, summed over entries)."""
        error = functional.l1_loss(self.decoder(torch.cat([drawn, output])), torch.cat([a, a]))
        return {"decoding": self.settings.decoding * a.shape[1] * error}

    def synthesise(self, z: Tensor, a: Tensor) -> Tensor:
        """G(z, a) in a second pass, with feedback; in training, the first pass alone for half of the rows."""
        first = super().synthesise(z, a)
        if self.generator.training:
            alone, generator, feedback = len(z) // 2, self.generator, self.feedback
        else:
            alone, generator, feedback = 0, self.averaged, self.averaged_feedback
        hidden = self.decoder.hidden(first[alone:])
        second = generator(z[alone:], a[alone:], self.settings.strength * feedback(hidden))
        return torch.cat([first[:alone], second])

    def embed(self, x: Tensor) -> Tensor:
        """x ⊕ h(x) ⊕ Dec(x)."""
        if not self.settings.embedding:
            return x
        hidden = self.decoder.hidden(x)
        return torch.cat([x, hidden, self.decoder.out(hidden)], dim=1)
