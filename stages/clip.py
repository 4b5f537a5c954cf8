"""Reference `clip`: zero-shot CLIP by prompts, in a block of its own, since its pretraining has seen the classes."""

from typing import Annotated

import typer

from zslcore.datasets import dataset as datasets
from zslcore.errors import ZSLError
from zslcore.evaluation.protocol import evaluate, summarise
from zslcore.experiments.clip import score
from zslcore.features import image_sources
from zslcore.features.clip import PROMPTS, load
from zslcore.io import artifacts

from .common import DatasetName, say
from .lines import headline
from .workspace import Workspace


def command(
    dataset: DatasetName,
    model: Annotated[str, typer.Option(help="Name of an open_clip model.")] = "ViT-B-32",
    weights: Annotated[
        str, typer.Option(help="Tag of pretrained weights (downloaded once), or a local file.")
    ] = "laion2b_s34b_b79k",
    prompt: Annotated[list[str] | None, typer.Option(help="Text with {} for the class name; may be repeated.")] = None,
) -> None:
    """Score a data set's test images against prompts of its class names; nothing is fitted, nothing is calibrated."""
    workspace = Workspace(dataset)
    path = workspace.artifact("dataset.h5")
    data = datasets.load(path)
    if datasets.has_features(path):
        raise ZSLError(f"{path}: this data set has features but no images, which CLIP needs; import it from its images")
    scores = score(load(model, weights), data, list(image_sources.of_dataset(path)), prompt or PROMPTS)
    about = {
        "title": f"CLIP {model}, {weights} (REFERENCE: its pretraining has seen the classes)",
        "prompts": list(prompt or PROMPTS),
        "dataset": data.name,
        "split": data.split_name,
    }
    metrics = summarise({0: evaluate(scores, 0.0)})
    artifacts.write_json(workspace.experiment("reference/clip.json"), {"about": about, **metrics})
    say(f"{dataset}, CLIP (reference): {headline(metrics)}")
