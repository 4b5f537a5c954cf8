"""What to run when a file of the project cannot be used."""

from zslcore.errors import BadFile, StaleFile

WRITERS = {"selected.json": "select", "selection.csv": "select", "metrics.json": "evaluate", "settings.yaml": "resolve"}
"""Results that do not say themselves which stage writes them."""


def remedy(error: BadFile) -> str:
    """The command that rebuilds a bad file, where one does."""
    folder = error.path.absolute().parent
    stage = error.stage or WRITERS.get(error.path.name, "")
    if folder.name == "models" and stage == "package":
        return f"run `dvc repro package@{error.path.stem}` to rebuild it"
    if error.remedy:
        return error.remedy
    if stage and isinstance(error, StaleFile) and folder.parent.name == "artifacts":
        return f"run `dvc repro {stage}@{folder.name}` to rebuild it and what it is made of"
    if stage and folder.parent.name in ("artifacts", "results"):  # where the pipeline has those of a data set
        return f"run `dvc repro -s {stage}@{folder.name}` to rebuild it"
    if stage:
        return f"run `dvc repro -s` for its {stage} stage to rebuild it"
    return "run `dvc repro` to rebuild it"
