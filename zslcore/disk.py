"""How much disk the cached artifacts of a data set need, before any is made."""

from dataclasses import dataclass
from typing import Any

from zslcore.datasets.dataset import Dataset
from zslcore.errors import ZSLError
from zslcore.params import Settings

FLOAT, INTEGER = 4, 8


def dimensions_of(backbone: str) -> int:
    """How many features a timm network gives, without its weights. Raises ZSLError for an unknown one."""
    import timm
    import torch

    if not timm.is_model(backbone):
        raise ZSLError(f"unknown backbone '{backbone}'; timm.list_models() has all, or give --dimensions")
    with torch.device("meta"):
        module: Any = timm.create_model(backbone, num_classes=0)
    return int(getattr(module, "head_hidden_size", module.num_features))


@dataclass(frozen=True)
class Size:
    """What decides the size of the artifacts.

    images: n; test_seen, test_unseen: parts of n; dimensions: d; attributes: a; seen, unseen: numbers of classes.
    own_bytes: bytes of features, pictures and per-image attributes that the data set carries itself.
    """

    images: int
    test_seen: int
    test_unseen: int
    dimensions: int
    attributes: int
    seen: int
    unseen: int
    own_bytes: int

    @classmethod
    def of(cls, data: Dataset, images: int | None, dimensions: int) -> "Size":
        """Size of a data set, as it is or scaled to another number of images of other dimensions."""
        n = len(data.labels)
        images = images or n
        a_picture = sum(map(len, data.pictures)) / n
        attributes = data.signatures.shape[1]
        a_row = dimensions * (data.features is not None) + attributes * (data.image_attributes is not None)
        return cls(
            images=images,
            test_seen=round(images * len(data.test_seen) / n),
            test_unseen=round(images * len(data.test_unseen) / n),
            dimensions=dimensions,
            attributes=attributes,
            seen=len(data.seen),
            unseen=len(data.unseen),
            own_bytes=round(images * (a_picture + FLOAT * a_row)),
        )


def artifact_sizes(size: Size, settings: Settings, seeds: int) -> dict[str, int]:
    """File name -> bytes of each cached artifact, to a few per cent.

    Where `select` is yet to choose the number of synthetic features, the largest it may choose is taken.
    """
    n, d, a = size.images, size.dimensions, size.attributes
    train, generate = settings.train, settings.generate
    m, latent = train.projection or d, train.latent or a
    per_unseen = generate.per_unseen or max(settings.select.per_unseen)
    synthetic = size.unseen * per_unseen + size.seen * generate.per_seen
    mapping = ((d if train.feedback_from == "features" else m) + 1) * a if train.feedback else 0
    mapping += d * m + m + m * size.seen + size.seen if train.projection else 0
    encoder = (m + a * train.encoder_signature) * train.hidden + train.hidden + (train.hidden + 1) * 2 * latent
    generator = (latent + a) * train.hidden + train.hidden + (train.hidden + 1) * m
    scores = size.test_unseen * size.unseen + (size.test_seen + size.test_unseen) * (size.seen + size.unseen)
    storage = 2 if generate.storage == "float16" else FLOAT
    return {
        "dataset.h5": size.own_bytes + FLOAT * a * (size.seen + size.unseen) + 2 * INTEGER * n,
        "features.h5": FLOAT * n * d,
        "finetuned.h5": seeds * FLOAT * n * d,
        "F.safetensors": seeds * FLOAT * (d * d + d) * (settings.finetune.enabled + bool(settings.finetune.whiten)),
        "projected.h5": seeds * FLOAT * n * (m * train.members + a * bool(train.feedback)),
        "model.safetensors": seeds * FLOAT * train.members * (mapping + encoder + generator),
        "synthetic.h5": seeds * synthetic * (storage * m * train.members + INTEGER),
        "scores.h5": seeds * FLOAT * scores,
    }
