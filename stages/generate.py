"""Stage `generate`: synthetic features of unseen (and, where asked, seen) classes."""

from stages.common import DatasetName
from stages.workspace import Workspace
from zslcore.io import artifacts
from zslcore.methods.clusterable.train import Trained
from zslcore.progress import track
from zslcore.settings import Train, number_or
from zslcore.synthesis.generate import DEFAULT_PER_UNSEEN, generate
from zslcore.training.device import resolve_device


def command(dataset: DatasetName) -> None:
    """Draw synthetic features from z ~ N(0, I) and the signatures, once a seed."""
    workspace = Workspace(dataset)
    settings, data = workspace.filled.generate, workspace.data
    device = resolve_device(workspace.device)
    inputs = workspace.inputs("dataset.h5", "trained.safetensors")
    made_with, weights = artifacts.read_tensors(inputs["trained"], artifacts.PROJECTED)
    sides = {
        "unseen": (data.unseen, number_or(settings.per_unseen, DEFAULT_PER_UNSEEN)),
        "seen": (data.seen, settings.per_seen),
    }
    about = {"generate": settings.model_dump(), "train": made_with["train"], "seeds": workspace.seeds}
    with artifacts.create(workspace.artifact("synthetic.h5"), artifacts.SYNTHETIC, about, inputs) as file:
        for seed in track(workspace.seeds, f"{dataset}: generate", len(workspace.seeds)):
            state = artifacts.under(weights, f"seed={seed}/")
            model = Trained.from_state(Train(**made_with["train"]), state, device)
            for side, (classes, per_class) in sides.items():
                features, labels = generate(model, data.signatures[classes], per_class, seed, side, settings.noise)
                file[f"seed={seed}/{side}/features"] = features
                file[f"seed={seed}/{side}/labels"] = labels
