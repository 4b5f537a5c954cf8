"""Stage `classify`: softmax classifiers for ZSL and GZSL; writes the scores of the test images."""

from stages.common import DatasetName, artifact, result


def command(dataset: DatasetName) -> None:
    """Train the ZSL and the joint GZSL classifier, once a seed, and score the test images."""
    import numpy as np
    from numpy.typing import NDArray

    from stages.inputs import used
    from zslcore import artifacts
    from zslcore.datasets import dataset as datasets
    from zslcore.params import load_params
    from zslcore.progress import track
    from zslcore.settings import Train
    from zslcore.steps.classify import fit_classifier, training_set
    from zslcore.steps.train import Trained
    from zslcore.training import resolve_device

    params = load_params()
    settings = params.resolve(dataset).with_chosen(result(dataset, "selected.json")).classify
    device = resolve_device(params.device)
    inputs = {name: artifact(dataset, f"{name}.h5") for name in ("dataset", "projected", "synthetic")}
    inputs["model"] = artifact(dataset, "model.safetensors")
    data = used(dataset)
    trained_as = Train(**artifacts.params(inputs["projected"], artifacts.PROJECTED)["train"])
    mask = np.arange(len(data.seen) + len(data.unseen)) < len(data.seen)
    labels = np.searchsorted(data.seen, data.labels[data.trainval])
    weights = artifacts.load_tensors(inputs["model"], artifacts.PROJECTED) if settings.feedback else {}
    about = {"classify": settings.model_dump(), "seeds": params.seeds}
    everyone = np.concatenate([data.seen, data.unseen])

    def beside(
        model: Trained | None, rows: NDArray[np.int64], classes: NDArray[np.int64], seed: int
    ) -> NDArray[np.float32] | None:
        if model is None:
            return None
        told = datasets.load_features(inputs["projected"], rows, artifacts.PROJECTED, seed, "told")
        return settings.feedback * model.cosines(told, data.signatures[classes])

    with (
        artifacts.create(artifact(dataset, "scores.h5"), artifacts.SCORES, about, inputs) as out,
        artifacts.open_artifact(inputs["synthetic"], artifacts.SYNTHETIC) as synthetic,
    ):
        for seed in track(params.seeds, f"{dataset}: classify", len(params.seeds)):
            seen, unseen = (
                (
                    artifacts.array(synthetic, f"seed={seed}/{side}/features", ndim=2).astype(np.float32),
                    artifacts.array(synthetic, f"seed={seed}/{side}/labels", np.int64, ndim=1),
                )
                for side in ("seen", "unseen")
            )
            real, test_seen, test_unseen = (
                datasets.load_features(inputs["projected"], rows, artifacts.PROJECTED, seed)
                for rows in (data.trainval, data.test_seen, data.test_unseen)
            )
            joint = training_set((real, labels), seen, unseen, mask, settings)
            gzsl = fit_classifier(*joint, len(mask), settings, seed, device, "joint", trained_as.members)
            if settings.zsl == "joint":
                zsl = gzsl.kept_to(~mask)
            else:
                own = training_set(None, seen, unseen, mask[~mask], settings)
                zsl = fit_classifier(*own, int((~mask).sum()), settings, seed, device, "zsl", trained_as.members)
            group = out.create_group(f"seed={seed}")
            model = None
            if settings.feedback:
                model = Trained.from_state(trained_as, artifacts.under(weights, f"seed={seed}/"), device)
            group["zsl"] = zsl.scores(test_unseen, beside(model, data.test_unseen, data.unseen, seed))
            group["joint_seen"] = gzsl.scores(test_seen, beside(model, data.test_seen, everyone, seed))
            group["joint_unseen"] = gzsl.scores(test_unseen, beside(model, data.test_unseen, everyone, seed))
