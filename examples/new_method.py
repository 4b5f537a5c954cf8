"""A method of your own: a class with its settings and `learn`; everything else is there."""

# %%
from pathlib import Path

from birds import birds, line, measured, run
from pydantic import Field

from zslcore.methods._linalg import one_hot, ridge
from zslcore.methods._scaled import LinearMethod, ScaledSettings
from zslcore.methods.base import Observe, TrainData
from zslcore.methods.eszsl import ESZSL


# %%
class PlainRidgeSettings(ScaledSettings):
    """What is searched on validation classes."""

    strength: float = Field(10.0, ge=0, description="λ, of the ridge term")


class PlainRidge(LinearMethod[PlainRidgeSettings]):
    """min over W of ‖X W − S‖² + λ ‖W‖²: features to signatures; scores xᵀ W s."""

    name = "plain-ridge"
    title = "Plain ridge"
    summary = "Features are regressed to the signature of their class."
    Settings = PlainRidgeSettings
    search_space = {"strength": (1.0, 10.0, 100.0)}  # noqa: RUF012
    random = False

    def learn(self, train: TrainData, seed: int, observe: Observe | None) -> None:
        """From scaled features (n, d) and signatures (K, a)."""
        signatures = one_hot(train.labels, self.seen_classes) @ train.signatures
        self.weights = ridge(train.features, signatures, self.settings.strength)


# %%
def main(folder: Path, images_per_class: int = 12) -> None:
    """Next to ESZSL. In a project: `zsl compare --methods new_method:PlainRidge,eszsl`."""
    data = birds(folder, images_per_class)
    for kind in (PlainRidge, ESZSL):
        _, _, figures = measured(kind, data)
        print(line(kind.title, figures))


# %%
if __name__ == "__main__":
    run(main)
