"""Stage `finetune`: F with the Gaussian similarity loss (eq. 7-9); writes F(x) of all images and F."""

from typing import Any

from numpy.typing import NDArray

from stages.common import DatasetName
from stages.workspace import Workspace
from zslcore.datasets.dataset import copy_skipped
from zslcore.io import artifacts
from zslcore.methods.clusterable.finetune import finetune
from zslcore.progress import progress
from zslcore.training.device import resolve_device
from zslcore.training.loop import write_curves


def command(dataset: DatasetName) -> None:
    """Train F on trainval, once a seed, and apply it to all images."""
    workspace = Workspace(dataset)
    settings, data, features = workspace.settings.finetune, workspace.data, workspace.features()
    device = resolve_device(workspace.device)
    inputs = workspace.inputs("dataset.h5", "features.h5")
    about = {"finetune": settings.model_dump(), "seeds": workspace.seeds}
    weights: dict[str, NDArray[Any]] = {}
    curves = {}
    with artifacts.create(workspace.artifact("finetuned.h5"), artifacts.FINETUNED, about, inputs) as file:
        with progress(f"{dataset}: finetune", len(workspace.seeds) * settings.epochs) as advance:
            for seed in workspace.seeds:
                tuned = finetune(
                    features[data.trainval], data.train_labels, settings, seed, device, lambda _: advance()
                )
                file[f"seed={seed}/features"] = tuned(features)
                weights |= {f"seed={seed}/{name}": value for name, value in tuned.state().items()}
                curves[seed] = tuned.curve
        copy_skipped(inputs["features"], artifacts.FEATURES, file)
        file.flush()  # a full disk is noticed here, before either output is replaced
        path = workspace.artifact("finetuned.safetensors")
        artifacts.save_tensors(path, artifacts.FINETUNED, weights, about, inputs)
    write_curves(workspace.result("finetune.csv"), curves)
