"""Experiment `fewshot`: few-shot recognition of unseen classes, with F trained on seen ones (Table 5)."""

from typing import Any

from stages.common import DatasetName, artifact, experiment, say


def command(dataset: DatasetName) -> None:
    """Fit each learner on base (seen) classes and score it on seeded episodes of novel (unseen) classes."""
    from dataclasses import asdict

    import numpy as np

    from stages.inputs import used
    from zslcore import artifacts
    from zslcore.datasets import dataset as datasets
    from zslcore.evaluation.fewshot import accuracies, draw_episodes
    from zslcore.evaluation.intervals import mean_interval
    from zslcore.fewshot.learners import BASELINE, ROWS, Base
    from zslcore.params import load_params
    from zslcore.progress import progress
    from zslcore.settings import FewshotSettings
    from zslcore.training import resolve_device, tensor

    params = load_params()
    own = params.extra("fewshot", FewshotSettings, dataset)
    device = resolve_device(params.device)
    data = used(dataset)
    base_features, novel_features = (
        datasets.load_features(artifact(dataset, "features.h5"), rows) for rows in (data.trainval, data.test_unseen)
    )
    novel = data.labels[data.test_unseen]
    episodes = {shot: draw_episodes(novel, own.way, shot, own.query, own.episodes, own.seed) for shot in own.shots}
    labels = np.searchsorted(data.seen, data.labels[data.trainval])
    base = Base(base_features, labels, own, params.resolve(dataset).finetune, own.seed, device)
    found: dict[str, dict[int, Any]] = {}
    with progress(f"{dataset}: fewshot", len(ROWS) * (1 + len(episodes))) as advance:
        for name, fit in ROWS.items():
            advance(0, name)
            mapping, learner = fit(base)
            advance(1, name)
            features = tensor(mapping(novel_features), device)
            found[name] = {}
            for shot, drawn in episodes.items():
                found[name][shot] = 100 * accuracies(learner, features, drawn)
                advance(1, name)
    rows = {
        name: {
            f"{shot}-shot": {
                **asdict(mean_interval(values)),
                "lead": asdict(mean_interval(values - found[BASELINE][shot])) if name != BASELINE else None,
            }
            for shot, values in columns.items()
        }
        for name, columns in found.items()
    }
    about = {"dataset": dataset, "split": data.split_name, "way": own.way, "query": own.query, "baseline": BASELINE}
    about |= {"order": list(rows), "columns": [f"{shot}-shot" for shot in own.shots]}
    artifacts.write_json(experiment(dataset, "fewshot.json"), {"about": about, "rows": rows})
    for name, columns in rows.items():
        figures = (f"{shot} {v['mean']:.1f} ± {v['high'] - v['mean']:.1f}" for shot, v in columns.items())
        say(f"{dataset}: {name}: " + ", ".join(figures))
