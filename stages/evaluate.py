"""Stage `evaluate`: T1, U, S, H and what else a reader needs, as mean ± std over the seeds."""

from stages.common import DatasetName, artifact, result, say


def command(dataset: DatasetName) -> None:
    """Compute the metrics and the plots' data from the scores of the test images."""
    import numpy as np

    from stages.inputs import used
    from zslcore import artifacts
    from zslcore.evaluation import protocol, tables
    from zslcore.params import load_params
    from zslcore.progress import track
    from zslcore.report.cells import spread

    params = load_params()
    calibration = params.resolve(dataset).with_chosen(result(dataset, "selected.json")).classify.calibration
    data = used(dataset)
    order = np.concatenate([data.seen, data.unseen])
    position = np.full(len(data.classes), -1)
    position[order] = np.arange(len(order))
    runs = {}
    with artifacts.open_artifact(artifact(dataset, "scores.h5"), artifacts.SCORES) as file:
        for seed in track(params.seeds, f"{dataset}: evaluate", len(params.seeds)):
            runs[seed] = protocol.Scores(
                zsl=artifacts.array(file, f"seed={seed}/zsl", np.float32, ndim=2),
                joint_seen=artifacts.array(file, f"seed={seed}/joint_seen", np.float32, ndim=2),
                joint_unseen=artifacts.array(file, f"seed={seed}/joint_unseen", np.float32, ndim=2),
                seen_labels=position[data.labels[data.test_seen]],
                unseen_labels=position[data.labels[data.test_unseen]],
                seen_count=len(data.seen),
            )
    factor = calibration or 0.0
    metrics = protocol.summarise({seed: protocol.evaluate(scores, factor) for seed, scores in runs.items()})
    about = {"dataset": dataset, "split": data.split_name, "preset": params.preset, "seeds": len(runs)}
    names = [data.classes[k] for k in order]
    tables.write_csv(result(dataset, "classes.csv"), tables.by_class(runs, names, factor))
    tables.write_csv(result(dataset, "curve.csv"), tables.seen_unseen(runs))
    tables.write_csv(result(dataset, "confusion.csv"), tables.confusion(next(iter(runs.values())), names))
    artifacts.write_json(result(dataset, "metrics.json"), {"about": about, **metrics})
    zsl, gzsl = metrics["zsl"], metrics["gzsl"]
    figures = [("T1", zsl["T1"]), *((name, gzsl[name]) for name in "USH")]
    say(f"{dataset}: " + ", ".join(f"{name} {spread(value)}" for name, value in figures))
