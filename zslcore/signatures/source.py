"""Signatures of one kind, with what made them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Source:
    """Signatures of one kind.

    values: (classes, a) float32. about: what made them: plain values, `recipe`, `fingerprint` and `texts_sha256` where
    that was an encoder. texts: what they were made of, class by class in the order of the rows; () for numbers given.
    """

    values: NDArray[np.float32]
    about: Mapping[str, Any] = field(default_factory=dict)
    texts: tuple[tuple[str, ...], ...] = ()

    @property
    def made(self) -> str:
        """What made them, in a word or two: "given", or the encoder."""
        return str(self.about["recipe"]["encoder"]) if "recipe" in self.about else "given"
