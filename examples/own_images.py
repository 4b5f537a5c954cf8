"""Your own images: a folder a class, a table that describes classes, a list of unseen ones; then the protocol."""

# %%
import csv
from pathlib import Path

from birds import BACKBONE, line, measured, run, with_features

import zslcore as zsl
from zslcore.datasets.folder import FolderSource
from zslcore.methods.eszsl import ESZSL


def photos(folder: Path, images_per_class: int) -> None:
    """Pictures to stand for yours: photos/<class>/<number>.png, signatures.csv and unseen.txt."""
    from PIL import Image

    drawn = zsl.draw_birds(classes=12, images_per_class=images_per_class, unseen=3, side=96)
    for k, picture in enumerate(drawn.images):
        place = folder / "photos" / drawn.classes[drawn.labels[k]]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place / f"{k}.png")
    with (folder / "signatures.csv").open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["class", *drawn.attribute_names])
        rows.writerows([name, *values] for name, values in zip(drawn.classes, drawn.signatures, strict=True))
    (folder / "unseen.txt").write_text("".join(f"{drawn.classes[k]}\n" for k in drawn.unseen))


# %%
def main(folder: Path, images_per_class: int = 12) -> None:
    """From a folder of images to figures. In a project: `zsl import folder`, with the same three paths."""
    photos(folder, images_per_class)
    source = FolderSource(images=folder / "photos", signatures=folder / "signatures.csv", unseen=folder / "unseen.txt")
    data = source.dataset("mine", folder)
    print(f"{len(data.labels)} images, {len(data.seen)} seen and {len(data.unseen)} unseen classes")
    data = with_features(data, folder, BACKBONE)
    _, _, figures = measured(ESZSL, data)
    print(line("your images, ESZSL", figures))


# %%
if __name__ == "__main__":
    run(main)
