"""Which network's features suit? The same images through two, the same method on both."""

# %%
from pathlib import Path

from birds import BACKBONE, drawn, line, measured, run, with_features

from zslcore.methods.eszsl import ESZSL

BACKBONES = {"pretrained": (BACKBONE, "pretrained"), "random weights": ("test_resnet.r160_in1k", "random")}


# %%
def main(folder: Path, images_per_class: int = 12) -> None:
    """Name any model of timm. In a project: `dvc exp run --temp -S extract.backbone=NAME`."""
    for name, (backbone, weights) in BACKBONES.items():
        place = folder / name
        place.mkdir(exist_ok=True)
        _, _, figures = measured(ESZSL, with_features(drawn(images_per_class), place, backbone, weights))
        print(line(name, figures))


# %%
if __name__ == "__main__":
    run(main)
