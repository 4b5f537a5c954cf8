"""Stage `finetune`: F with the Gaussian similarity loss (eq. 7-9); writes F(x) of all images."""

from typing import Any

from stages.common import DatasetName, artifact, result


def command(dataset: DatasetName) -> None:
    """Train F on trainval, once a seed, and apply it to all images."""
    import numpy as np
    from numpy.typing import NDArray

    from stages.inputs import used
    from zslcore import artifacts
    from zslcore.datasets import dataset as datasets
    from zslcore.params import load_params
    from zslcore.progress import progress
    from zslcore.steps.finetune import finetune
    from zslcore.training import Curve, resolve_device, write_curves

    params = load_params()
    settings = params.resolve(dataset).finetune
    device = resolve_device(params.device)
    inputs = {name: artifact(dataset, f"{name}.h5") for name in ("dataset", "features")}
    data = used(dataset)
    features = datasets.load_features(inputs["features"], np.arange(len(data.labels)))
    labels = np.searchsorted(data.seen, data.labels[data.trainval])
    about = {"finetune": settings.model_dump(), "seeds": params.seeds}
    weights: dict[str, NDArray[Any]] = {}
    curves: dict[int, Curve] = {}
    with artifacts.create(artifact(dataset, "finetuned.h5"), artifacts.FINETUNED, about, inputs) as file:
        with progress(f"{dataset}: finetune", len(params.seeds) * settings.epochs) as advance:
            for seed in params.seeds:
                tuned = finetune(features[data.trainval], labels, settings, seed, device, lambda _: advance())
                file[f"seed={seed}/features"] = tuned(features)
                weights |= {f"seed={seed}/{name}": value for name, value in tuned.state().items()}
                curves[seed] = tuned.curve
        file.flush()  # a full disk is noticed here, before either output is replaced
        artifacts.save_tensors(artifact(dataset, "F.safetensors"), artifacts.FINETUNED, weights, about, inputs)
    write_curves(result(dataset, "finetune.csv"), curves)
