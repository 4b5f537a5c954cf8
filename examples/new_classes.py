"""A trained model as one file, and classes added to it by their description: it names pictures of them at once."""

# %%
from pathlib import Path

from birds import birds, measured, run

import zslcore as zsl
from zslcore.methods.eszsl import ESZSL


# %%
def main(folder: Path, images_per_class: int = 12) -> None:
    """Fit, write, read, add two kinds, name their pictures."""
    data = birds(folder, images_per_class)
    method, calibration, _ = measured(ESZSL, data)
    model = zsl.package(data, {0: method}, calibration=calibration, features=folder / "features.h5")
    model.save(folder / "birds.zsl")

    model = zsl.load(folder / "birds.zsl")  # on any machine
    others = zsl.draw_birds(seed=7, classes=4, images_per_class=1, unseen=2, side=96)
    described = {others.classes[k]: others.signatures[k] for k in others.unseen}  # two kinds nobody has pictures of
    model = model.with_classes(described)
    pictures = [others.images[k] for k, label in enumerate(others.labels) if label in others.unseen]
    for name, found in zip(described, model.predict(pictures, top=2, among=list(described)), strict=True):
        print(f"a {name}: {found.classes[0]} ({found.probabilities[0]:.0%}), {found.classes[1]}")


# %%
if __name__ == "__main__":
    run(main)
