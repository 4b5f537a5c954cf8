"""One method on one data set under the one protocol: settings given or chosen on validation classes, then scored."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from zslcore.datasets.dataset import Dataset, Seen
from zslcore.errors import ZSLError
from zslcore.evaluation.choose import Trial, assess, choose, validation_tasks
from zslcore.evaluation.protocol import benchmark_task, evaluate, fit_seeds, score, summarise
from zslcore.methods.base import Method, Transductive, check_distinct
from zslcore.params import read_yaml, validate
from zslcore.progress import progress
from zslcore.settings import Section


class CompareSettings(Section):
    """How `compare` chooses what is not given."""

    budget: int = Field(12, ge=1, description="candidate settings to try on validation classes where none are given")
    splits: int = Field(3, ge=1, le=3, description="class splits to average over")
    holdout: float = Field(0.2, gt=0, lt=1, description="share of the remaining classes' images that play test_seen")
    lengths: int = Field(10, ge=1, description="training lengths of one run to score, evenly spaced")
    seeds_together: bool = Field(
        False, description="train the seeds of the measurement in one batched product, where a method can"
    )
    seed: int = Field(0, ge=0, description="of the candidates, derived splits, held-out images and validation fits")


class Given(Section):
    """What was chosen before: settings of a method for a data set, and the calibration factor that goes with them."""

    settings: dict[str, Any] = Field({}, description="the method's settings; the others keep their defaults")
    calibration: float | None = Field(None, description="factor off seen scores; null: chosen on validation classes")


def load_given(path: Path) -> dict[str, dict[str, Given]]:
    """A table of chosen settings: method -> data set -> values.

    Raises ZSLError naming the file and what is wrong in it.
    """
    return {
        method: {
            dataset: validate(Given, row, f"{path}: {method}: {dataset}")
            for dataset, row in (rows or {}).items()
            if row is not None
        }
        for method, rows in read_yaml(path).items()
    }


def load_candidates(path: Path, method: str) -> list[dict[str, Any]] | None:
    """A row of a table of candidates, method -> list of settings; None where it has none.

    Raises ZSLError naming the file and what is wrong in it.
    """
    row = read_yaml(path).get(method)
    if row is not None and not (isinstance(row, list) and row and all(isinstance(one, dict) for one in row)):
        raise ZSLError(f"{path}: {method}: expected a list of settings, each a mapping of names to values")
    return row


def check_data(data: Dataset) -> None:
    """Raise ZSLError for a data set on which no zero-shot method makes sense, naming the classes."""
    if len(data.seen) < 2:
        raise ZSLError(
            f"data set '{data.name}': only one seen class ('{data.classes[data.seen[0]]}'); "
            "a zero-shot method needs at least two to learn from"
        )
    try:
        check_distinct(data.signatures, data.classes)
    except ZSLError as error:
        raise ZSLError(f"data set '{data.name}': {error}") from error


def compare(
    method: type[Method],
    data: Dataset,
    seen: Seen,
    features: np.ndarray[Any, np.dtype[np.float32]],
    given: Given | None,
    own: CompareSettings,
    seeds: Sequence[int],
    device: str = "auto",
    among: Sequence[Mapping[str, Any]] | None = None,
    checkpoints: Path | None = None,
    store: Path | None = None,
) -> dict[str, Any]:
    """The figures of one method: mean and standard deviation over seeds (one seed for closed forms), in percent.

    features: (n, d) of all images. What `given` leaves open is chosen on validation classes, from `seen` alone: out of
    `among`, or of the method's search space. device: where a method that is trained is. checkpoints: as in `fit_seeds`.
    store: as in `choose`.
    """
    name = method.name
    fixed = {"device": device} if "device" in method.Settings.model_fields else {}
    chosen = _choose(method, seen, given, own, among, store, fixed)
    settings = validate(method.Settings, chosen["settings"], f"method '{name}'")
    task = benchmark_task(data, features)
    used = seeds if method.random else seeds[:1]
    runs = {}
    with progress(f"{data.name}: {name}", len(used)) as advance:
        fitted = fit_seeds(
            method, settings, task, used, own.seeds_together, checkpoints, lambda done: advance(0, f"epoch {done}")
        )
        for seed, one in fitted:
            runs[seed] = evaluate(score(one, task, seed), chosen["calibration"])
            advance(1)
    transductive = issubclass(method, Transductive)
    about = {
        "title": f"{name} (TRANSDUCTIVE: has seen the unlabelled test images)" if transductive else name,
        "method": name,
        "citation": method.citation,
        "transductive": transductive,
        "dataset": data.name,
        "split": data.split_name,
        "seeds": list(runs),
        "settings": settings.model_dump(mode="json"),
        "calibration": chosen["calibration"],
        "validation": chosen["validation"],
    }
    return {"about": about, **summarise(runs)}


def _choose(
    method: type[Method],
    seen: Seen,
    given: Given | None,
    own: CompareSettings,
    among: Sequence[Mapping[str, Any]] | None,
    store: Path | None,
    fixed: Mapping[str, Any],
) -> dict[str, Any]:
    given_settings = {**fixed, **given.settings} if given is not None else {}
    if given is not None and given.calibration is not None:
        return {"settings": given_settings, "calibration": given.calibration, "validation": None}
    tried: list[Trial] = []
    if given is not None:
        tasks = validation_tasks(seen, own.splits, own.holdout, own.seed)
        trial = assess(method, given_settings, tasks, own.seed, lengths=1)
    else:
        how = own.model_dump(exclude={"seeds_together"})
        trial, tried = choose(method, seen, **how, among=among, store=store, fixed=fixed)
    validation: dict[str, Any] = {"T1": trial.top1, "H": trial.harmonic, "splits": trial.tasks}
    if tried:
        validation["tried"] = [one.summary() for one in tried]
    return {"settings": trial.settings, "calibration": trial.calibration, "validation": validation}
