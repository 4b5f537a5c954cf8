"""The CLIP reference: a data set's test images scored against prompts of its class names."""

from collections.abc import Sequence

import numpy as np

from zslcore.datasets.dataset import Dataset
from zslcore.errors import ZSLError
from zslcore.evaluation.metrics import Scores
from zslcore.features.clip import PROMPTS, Clip
from zslcore.features.image_sources import ImageRef, Missing, read
from zslcore.features.images import BadImage
from zslcore.progress import track


def score(clip: Clip, data: Dataset, images: Sequence[ImageRef | Missing], prompts: Sequence[str] = PROMPTS) -> Scores:
    """Score both test splits over all classes; nothing is fitted, nothing is calibrated.

    images: one for each row of the data set; only test images are read. prompts: texts with `{}` for the class name.
    Raises ZSLError that names an image which is missing or cannot be read.
    """
    names = [data.classes[k] for k in data.class_order]
    tracked = track(names, f"{data.name}: clip, classes", len(names))
    classes = np.concatenate([clip.classes([name], prompts) for name in tracked])
    joint = {}
    for split, rows in (("test_seen", data.test_seen), ("test_unseen", data.test_unseen)):
        contents = (_read(images[row]) for row in track(rows, f"{data.name}: clip, {split}", len(rows)))
        joint[split] = clip.scores(clip.images(contents), classes)
    zsl = joint["test_unseen"][:, len(data.seen) :]
    return Scores.of(data, zsl, joint_seen=joint["test_seen"], joint_unseen=joint["test_unseen"])


def _read(image: ImageRef | Missing) -> bytes:
    if isinstance(image, Missing):
        raise ZSLError(f"{image.name}: {image.reason}; put it back, or import the data set again")
    try:
        return read(image)
    except BadImage as error:
        raise ZSLError(f"{image.name}: {error}") from error
