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
    from zslcore.progress import progress
    from zslcore.steps.train import DEFAULT_EPOCHS, train
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
    epochs = len(params.seeds) * (settings.epochs or DEFAULT_EPOCHS)
    with (
        artifacts.create(artifact(dataset, "projected.h5"), artifacts.PROJECTED, about, inputs) as file,
        progress(f"{dataset}: train", epochs, "epochs") as advance,
    ):
        for seed in params.seeds:
            features = datasets.load_features(inputs["finetuned"], everything, artifacts.FINETUNED, seed)
            of_seen = features[data.trainval], labels, data.signatures[data.seen]
            trained = train(*of_seen, settings, seed, device, lambda done, model: advance())
            for warning in trained.warnings:
                say(f"{dataset}, seed {seed}: warning: {warning}")
            file[f"seed={seed}/features"] = trained.project(features)
            if settings.feedback:
                file[f"seed={seed}/told"] = trained.told(features)
            file[f"seed={seed}"].attrs["warnings"] = "\n".join(trained.warnings)
            weights |= {f"seed={seed}/{name}": value for name, value in trained.state().items()}
            curves[seed] = trained.curve
        file.flush()  # a full disk is noticed here, before either output is replaced
        artifacts.save_tensors(artifact(dataset, "model.safetensors"), artifacts.PROJECTED, weights, about, inputs)
    write_curves(result(dataset, "train.csv"), curves)
