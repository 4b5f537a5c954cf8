"""Stage `train`: M, C, E and G jointly (eq. 1-4, 10, 11); writes M(F(x)) of all images and the weights."""

from typing import Any

from stages.common import DatasetName, artifact, result, say


def command(dataset: DatasetName) -> None:
    """Train the projection, its classifier and the CVAE on trainval, once a seed."""
    import numpy as np
    from numpy.typing import NDArray

    from stages.inputs import used
    from zslcore import artifacts
    from zslcore.datasets import dataset as datasets
    from zslcore.params import load_params
    from zslcore.steps.train import train
    from zslcore.training import Curve, resolve_device, write_curves

    params = load_params()
    settings = params.resolve(dataset).with_chosen(result(dataset, "selected.json")).train
    device = resolve_device(params.device)
    inputs = {name: artifact(dataset, f"{name}.h5") for name in ("dataset", "finetuned")}
    data = used(dataset)
    labels = np.searchsorted(data.seen, data.labels[data.trainval])
    everything = np.arange(len(data.labels))
    about = {"train": settings.model_dump(), "seeds": params.seeds}
    weights: dict[str, NDArray[Any]] = {}
    curves: dict[int, Curve] = {}
    with artifacts.create(artifact(dataset, "projected.h5"), artifacts.PROJECTED, about, inputs) as file:
        for seed in params.seeds:
            features = datasets.load_features(inputs["finetuned"], everything, artifacts.FINETUNED, seed)
            trained = train(features[data.trainval], labels, data.signatures[data.seen], settings, seed, device)
            for warning in trained.warnings:
                say(f"{dataset}, seed {seed}: warning: {warning}")
            file[f"seed={seed}/features"] = trained.project(features)
            file[f"seed={seed}"].attrs["warnings"] = "\n".join(trained.warnings)
            weights |= {f"seed={seed}/{name}": value for name, value in trained.state().items()}
            curves[seed] = trained.curve
    artifacts.save_tensors(artifact(dataset, "model.safetensors"), artifacts.PROJECTED, weights, about, inputs)
    write_curves(result(dataset, "train.csv"), curves)
