"""One method on one data set under the one protocol: settings given or chosen on validation classes, then scored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from zslcore.compute.jobs import in_order
from zslcore.datasets.dataset import Dataset, Seen, sources_of
from zslcore.errors import ZSLError
from zslcore.evaluation import per_class
from zslcore.evaluation.protocol import benchmark_task, evaluate, fit_and_score, summarise
from zslcore.evaluation.result_cache import CACHE, cached_result
from zslcore.evaluation.search import Trial, assess, choose, validation_tasks
from zslcore.experiments.settings import Compare
from zslcore.io.layers import validate
from zslcore.io.yaml import read_yaml
from zslcore.methods.base import Method, check_distinct
from zslcore.settings import Section
from zslcore.signatures.compose import provenance


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


@dataclass(frozen=True)
class Job:
    """A method to measure on a data set; row: its settings in `table`, both None where they are to be chosen."""

    dataset: str
    method: str
    table: str | None
    row: Given | None


def list_jobs(
    datasets: Sequence[str],
    methods: Sequence[str],
    tables: Mapping[str, Mapping[str, Mapping[str, Given]]],
    required: str | None = None,
) -> list[Job]:
    """Every method on every data set, each with its row of the first table that has one.

    tables: name -> what `load_given` read. required: the table that must have a row for each. Raises ZSLError where it
    has not.
    """
    jobs = []
    for dataset, method in product(datasets, methods):
        rows = ((table, known[method][dataset]) for table, known in tables.items() if dataset in known.get(method, {}))
        job = Job(dataset, method, *next(rows, (None, None)))
        if job.row is None and required in tables:
            like = f"by copying the row of the data set that {dataset} is like"
            raise ZSLError(f"{required}: no row {method}: {dataset}; add one, {like}")
        jobs.append(job)
    return jobs


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
    method: type[Method[Any]],
    data: Dataset,
    seen: Seen,
    features: NDArray[np.float32],
    given: Given | None,
    choice: Compare,
    seeds: Sequence[int],
    device: str = "auto",
    among: Sequence[Mapping[str, Any]] | None = None,
    checkpoints: Path | None = None,
    store: Path | None = None,
) -> dict[str, Any]:
    """The figures of one method: mean and standard deviation over seeds (one seed for closed forms), in percent.

    features: (n, d), or maps, of all images. What `given` leaves open is chosen on validation classes, from `seen`
    alone: out of `among`, or of the method's search space. device: where a method that is trained is. checkpoints: as
    in `fit_and_score`. store: as in `choose`.
    Raises ZSLError for settings the method has not, data it cannot use, or where no candidate can be fitted.
    """
    name = method.name
    fixed = {"device": device} if "device" in method.Settings.model_fields else {}
    for number, one in enumerate(among or (), start=1):
        validate(method.Settings, dict(one), f"method '{name}', candidate {number}")
    chosen = chosen_settings(method, seen, given, choice, among, store, fixed)
    settings = validate(method.Settings, chosen["settings"], f"method '{name}'")
    task = benchmark_task(data, features)
    used = seeds if method.random else seeds[:1]
    runs, scored = {}, {}
    fit = partial(fit_and_score, method, settings, task, checkpoints)
    fits = in_order(f"{data.name}: {name}", fit, [(seed,) for seed in used], device)
    for seed, scores in zip(used, fits, strict=True):
        scored[seed], runs[seed] = scores, evaluate(scores, chosen["calibration"])
    about = {
        "title": f"{name} (TRANSDUCTIVE: has seen the unlabelled test images)" if method.transductive else name,
        "method": name,
        "citation": method.citation,
        "family": method.family,
        "transductive": method.transductive,
        "input": method.input,
        "dataset": data.name,
        "split": data.split_name,
        "signatures": provenance(sources_of(seen), seen.composition),
        "seeds": list(runs),
        "settings": settings.model_dump(mode="json"),
        "calibration": chosen["calibration"],
        "validation": chosen["validation"],
    }
    by_class = per_class.accuracies(data, scored, chosen["calibration"])
    return {"about": about, **summarise(runs), "classes": by_class.lists()}


def cached_compare(
    load: Callable[[], tuple[type[Method[Any]], Dataset, Seen, NDArray[np.float32]]],
    given: Given | None,
    settings: Compare,
    seeds: Sequence[int],
    device: str,
    among: Sequence[Mapping[str, Any]] | None,
    versions: Mapping[str, Any],
    checkpoints: Path | None = None,
    store: Path = CACHE,
) -> dict[str, Any]:
    """What `compare` gives; read from `store` where the same data, settings, seeds and code gave it before.

    load: gives the method, the data set, what choices may be made on, and the features (n, d) of all images; called
    only where something is to be measured. versions: the method's name, and hashes of its code and of the data's files.
    Raises ZSLError as `compare` does; an error is not stored.
    """
    key = {
        **versions,
        "given": given and given.model_dump(),
        "settings": settings.model_dump(),
        "seeds": seeds,
        "device": device,
        "among": among,
    }

    def measured() -> dict[str, Any]:
        return compare(*load(), given, settings, seeds, device, among, checkpoints, store)

    return cached_result(key, measured, store)


def chosen_settings(
    method: type[Method[Any]],
    seen: Seen,
    given: Given | None,
    choice: Compare,
    among: Sequence[Mapping[str, Any]] | None,
    store: Path | None,
    fixed: Mapping[str, Any],
) -> dict[str, Any]:
    """`settings`, `calibration` and the `validation` figures of a method: as given, or chosen on validation classes.

    fixed: settings that every candidate has. The other arguments are as in `compare`.
    """
    given_settings = {**fixed, **given.settings} if given is not None else {}
    if given is not None and given.calibration is not None:
        return {"settings": given_settings, "calibration": given.calibration, "validation": None}
    tried: list[Trial] = []
    if given is not None:
        tasks = validation_tasks(seen, choice.splits, choice.holdout, choice.seed)
        trial = assess(method, given_settings, tasks, choice.seed, lengths=1)
    else:
        trial, tried = choose(method, seen, **choice.model_dump(), among=among, store=store, fixed=fixed)
    validation: dict[str, Any] = {"T1": trial.top1, "H": trial.harmonic, "splits": trial.tasks}
    if trial.longest:
        validation["longest"] = True
    if tried:
        validation["tried"] = [one.summary() for one in tried]
    return {"settings": trial.settings, "calibration": trial.calibration, "validation": validation}
