"""Reference `clip`: zero-shot CLIP by prompts, in a block of its own, since its pretraining has seen the classes."""

from typing import TYPE_CHECKING, Annotated

import typer

from stages.common import DatasetName, artifact, experiment, say

if TYPE_CHECKING:
    from zslcore.features.sources import ImageRef, Missing


def command(
    dataset: DatasetName,
    model: Annotated[str, typer.Option(help="Name of an open_clip model.")] = "ViT-B-32",
    weights: Annotated[
        str, typer.Option(help="Tag of pretrained weights (downloaded once), or a local file.")
    ] = "laion2b_s34b_b79k",
    prompt: Annotated[list[str] | None, typer.Option(help="Text with {} for the class name; may be repeated.")] = None,
) -> None:
    """Score a data set's test images against prompts of its class names; nothing is fitted, nothing is calibrated."""
    import numpy as np

    from zslcore import artifacts
    from zslcore.datasets import dataset as datasets
    from zslcore.errors import ZSLError
    from zslcore.evaluation.protocol import Scores, evaluate, summarise
    from zslcore.features import sources
    from zslcore.features.clip import PROMPTS, load
    from zslcore.progress import track

    path = artifact(dataset, "dataset.h5")
    data = datasets.load(path)
    if datasets.has_features(path):
        raise ZSLError(f"{path}: this data set has features but no images, which CLIP needs; import it from its images")
    pictures = list(sources.of_dataset(path))
    clip = load(model, weights)
    order = np.concatenate([data.seen, data.unseen])
    names = [data.classes[k] for k in order]
    named = track(names, f"{dataset}: clip, classes", len(names))
    classes = np.concatenate([clip.classes([name], prompt or PROMPTS) for name in named])
    position = np.empty(len(data.classes), dtype=np.int64)
    position[order] = np.arange(len(order))
    joint = {}
    for split in ("test_seen", "test_unseen"):
        references = [pictures[row] for row in getattr(data, split)]
        shown = track(references, f"{dataset}: clip, {split}", len(references))
        joint[split] = clip.scores(clip.images(map(_bytes, shown)), classes)
    scores = Scores(
        zsl=joint["test_unseen"][:, len(data.seen) :],
        joint_seen=joint["test_seen"],
        joint_unseen=joint["test_unseen"],
        seen_labels=position[data.labels[data.test_seen]],
        unseen_labels=position[data.labels[data.test_unseen]],
        seen_count=len(data.seen),
    )
    about = {
        "title": f"CLIP {model}, {weights} (REFERENCE: its pretraining has seen the classes)",
        "prompts": list(prompt or PROMPTS),
        "dataset": data.name,
        "split": data.split_name,
    }
    found = {"about": about, **summarise({0: evaluate(scores, 0.0)})}
    artifacts.write_json(experiment(dataset, "reference/clip.json"), found)
    say(f"{dataset}, CLIP (reference): T1 {found['zsl']['T1']['mean']:.1f}, H {found['gzsl']['H']['mean']:.1f}")


def _bytes(reference: "ImageRef | Missing") -> bytes:
    from zslcore.errors import ZSLError
    from zslcore.features.images import BadImage
    from zslcore.features.sources import Missing, read

    if isinstance(reference, Missing):
        raise ZSLError(f"{reference.name}: {reference.reason}; put it back, or import the data set again")
    try:
        return read(reference)
    except BadImage as error:
        raise ZSLError(f"{reference.name}: {error}") from error
