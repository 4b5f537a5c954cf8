"""What to run when a file of the project cannot be used."""

from zslcore.errors import BadFile, StaleFile, nearest
from zslcore.project.params import PARAMS_FILE

WRITERS = {"selected.json": "select", "selection.csv": "select", "metrics.json": "evaluate", "settings.yaml": "resolve"}
"""Results that do not say themselves which stage writes them."""


def remedy(error: BadFile) -> str:
    """The command that rebuilds a bad file, where one does."""
    folder = error.path.absolute().parent
    stage = error.stage or WRITERS.get(error.path.name, "")
    if folder.name == "models" and stage == "package":
        if not error.path.exists() and not (folder.parent / PARAMS_FILE).exists():
            return "check the path, or run the command in the project's folder"
        near = nearest(error.path.stem, sorted(path.stem for path in folder.glob("*.zsl") if path != error.path))
        if near and not error.path.exists():
            return f"did you mean {error.path.with_stem(near)}?"
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
