"""Stage `select`: what the paper leaves open, chosen on validation classes; no test row is opened."""

from stages.common import DatasetName, artifact, result, say


def command(dataset: DatasetName) -> None:
    """Choose training length, calibration, numbers of synthetic features and classifier length."""
    import pandas as pd

    from zslcore import artifacts
    from zslcore.datasets.dataset import load_seen
    from zslcore.evaluation.select import select
    from zslcore.params import load_params
    from zslcore.report.cells import named

    params = load_params()
    settings = params.resolve(dataset)
    seen = load_seen(artifact(dataset, "dataset.h5"), artifact(dataset, "features.h5"))
    selected, table = select(seen, settings, params.device)
    with artifacts.atomic(result(dataset, "selection.csv")) as temporary:
        pd.DataFrame(table).to_csv(temporary, index=False, float_format="%.6g")
    artifacts.write_json(result(dataset, "selected.json"), selected)
    chosen, given = settings.chosen_and_given(selected)
    say(f"{dataset}: chosen on validation classes: {named(chosen) or 'nothing'}; given: {named(given) or 'nothing'}")
