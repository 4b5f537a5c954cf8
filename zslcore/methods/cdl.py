"""CDL: class prototypes by coupled dictionaries (Jiang et al., ECCV 2018)."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.linalg import svd

from zslcore.methods._linalg import ridge, solve_positive
from zslcore.methods._scaled import FeatureScaling, ScaledMethod, ScaledSettings, Score, cosine
from zslcore.methods.base import Observe, TrainData
from zslcore.scaling import class_means


class CDLSettings(ScaledSettings):
    """Weights of eq. 3, and the ridge terms of codes."""

    coupling: float = Field(10.0, gt=0, description="λ of eq. 3, of both spaces' codes against the fit to the images")
    alpha: float = Field(1.0, gt=0, description="weight of signatures against prototypes")
    code: float = Field(0.1, ge=0, description="ridge term of the classes' codes; not stated")
    image_code: float = Field(0.1, ge=0, description="ridge term of the images' codes; not stated")
    space: Literal["visual", "aligned", "both"] = Field(
        "visual", description="where images and classes are compared: as features, as codes, or both"
    )
    atoms: int = Field(100, ge=1, description="of each dictionary; at most as many as seen classes are used")
    steps: int = Field(10, ge=1, description="alternations of prototypes and dictionaries; not stated")
    scaling: FeatureScaling = "l2"


class CDL(ScaledMethod[CDLSettings]):
    """min over P, Z, D of ‖X − H P‖² + λ (‖P − Z D_v‖² + α ‖S − Z D_s‖²) (eq. 3): prototypes that fit both spaces.

    X (n, d) features, H (n, K) one-hot labels, P (K, d) prototypes, S (K, a) signatures, Z (K, atoms) shared codes.
    The codes and dictionaries are a truncated singular value decomposition, the prototypes a weighted mean: in turn.
    Other classes get ridge codes z of their signature and prototypes z D_v. They score the cosine of prototype and
    image (`visual`), of z and the image's ridge code (`aligned`), or both, summed.
    """

    name = "cdl"
    title = "CDL"
    citation = "Jiang et al., ECCV 2018"
    summary = (
        "Coupled dictionaries of both spaces share one code a class, which gives every class a prototype in "
        "feature space. The nearest by angle wins."
    )
    family = "dictionaries"
    Settings = CDLSettings
    search_space = {
        "scaling": ("l2", "standard", "sphere"),
        "signature_scaling": ("l2", "standard", "centred"),
        "coupling": (1.0, 10.0, 100.0),
        "alpha": (0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
        "code": (0.001, 0.01, 0.1, 1.0, 10.0),
        "image_code": (0.01, 0.1, 1.0, 10.0),
        "space": ("visual", "aligned", "both"),
        "atoms": (20, 40, 60, 80, 100, 140),
    }
    random = False
    learned = ("visual", "semantic")

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """Alternate prototypes and dictionaries, from the class means."""
        settings = self.settings
        means = class_means(train.features, train.labels, self.seen_classes)
        counts = np.bincount(train.labels)[:, None]
        signatures = np.sqrt(settings.alpha) * train.signatures.astype(np.float64)
        prototypes = means
        for _ in range(settings.steps):
            left, values, right = svd(np.hstack([prototypes, signatures]), full_matrices=False)
            atoms = slice(min(settings.atoms, len(values)))
            dictionaries = np.sqrt(values[atoms, None]) * right[atoms]
            reconstructed = (left[:, atoms] * np.sqrt(values[atoms])) @ dictionaries[:, : means.shape[1]]
            prototypes = (counts * means + settings.coupling * reconstructed) / (counts + settings.coupling)
        self.visual = dictionaries[:, : means.shape[1]]
        self.semantic = dictionaries[:, means.shape[1] :] / np.sqrt(settings.alpha)

    def classifier(self, signatures: NDArray[np.float32], seen_mask: NDArray[np.bool_]) -> Score:
        """Cosine of the image and each class's prototype."""
        codes = ridge(self.semantic.T, signatures.T, self.settings.code).T
        prototypes = codes @ self.visual
        if self.settings.space == "visual":
            return lambda x: cosine(x, prototypes)
        encoder = solve_positive(self.visual @ self.visual.T, self.visual, self.settings.image_code).T
        if self.settings.space == "aligned":
            return lambda x: cosine(x @ encoder, codes)
        return lambda x: cosine(x, prototypes) + cosine(x @ encoder, codes)
