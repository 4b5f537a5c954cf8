"""Stage `extract`: images to features through a backbone; given features pass through unchanged."""

from stages.common import DatasetName, artifact, say


def command(dataset: DatasetName) -> None:
    """Extract the features of a data set's images; computed batches are kept, so an interrupted run goes on."""
    from zslcore.features.extract import extract
    from zslcore.params import load_params

    params = load_params()
    settings = params.resolve(dataset).extract
    summary = extract(artifact(dataset, "dataset.h5"), artifact(dataset, "features.h5"), settings, params.device)
    for name, reason in summary.skipped:
        say(f"skipped {name}: {reason}")
    say(f"{dataset}: {summary.images} images, {summary.computed} computed, {len(summary.skipped)} skipped")
