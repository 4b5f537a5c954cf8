"""Stage `generate`: synthetic features of unseen (and, where asked, seen) classes."""

from stages.common import DatasetName, artifact, result


def command(dataset: DatasetName) -> None:
    """Draw synthetic features from z ~ N(0, I) and the signatures, once a seed."""
    import numpy as np

    from stages.inputs import used
    from zslcore import artifacts
    from zslcore.params import load_params
    from zslcore.progress import track
    from zslcore.steps.generate import generate
    from zslcore.steps.train import Trained
    from zslcore.training import resolve_device

    params = load_params()
    settings = params.resolve(dataset).with_chosen(result(dataset, "selected.json"))
    device = resolve_device(params.device)
    inputs = {"dataset": artifact(dataset, "dataset.h5"), "model": artifact(dataset, "model.safetensors")}
    data = used(dataset)
    weights = artifacts.load_tensors(inputs["model"], artifacts.PROJECTED)
    sides = {
        "unseen": (data.unseen, settings.generate.per_unseen or 0),
        "seen": (data.seen, settings.generate.per_seen),
    }
    about = {**settings.section("generate", "train"), "seeds": params.seeds}
    with artifacts.create(artifact(dataset, "synthetic.h5"), artifacts.SYNTHETIC, about, inputs) as file:
        for seed in track(params.seeds, f"{dataset}: generate", len(params.seeds)):
            own = artifacts.under(weights, f"seed={seed}/")
            model = Trained.from_state(settings.train, own, device)
            for side, (classes, per_class) in sides.items():
                features, labels = generate(
                    model, data.signatures[classes], per_class, seed, side, settings.generate.noise
                )
                file[f"seed={seed}/{side}/features"] = features.astype(settings.generate.storage)
                file[f"seed={seed}/{side}/labels"] = labels.astype(np.int64)
