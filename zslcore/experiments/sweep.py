"""Many runs of the main method: settings × data sets × seeds, each chosen on validation classes like the main run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from zslcore.compute.jobs import EngineName, Job, run_jobs
from zslcore.datasets.dataset import Seen
from zslcore.errors import ZSLError
from zslcore.evaluation.protocol import Task, evaluate, score, summarise
from zslcore.evaluation.result_cache import CACHE, fingerprint, result_path
from zslcore.evaluation.select import select
from zslcore.evaluation.selected import fill
from zslcore.io import artifacts
from zslcore.io.layers import nested
from zslcore.methods.clusterable.estimator import Clusterable, ClusterableSettings
from zslcore.progress import progress
from zslcore.settings import OF_BACKBONES, Settings, number_or
from zslcore.training.device import resolve_device

Point = dict[str, Any]
"""section.name -> value: one combination of the grid."""


@dataclass(frozen=True)
class SweepData:
    """A data set as the runs need it: what choices may be made on, the benchmark's task, and the name of its split."""

    seen: Seen
    task: Task
    split: str


def parse_grid(assignments: Sequence[str]) -> list[Point]:
    """["train.lr=0.001,0.01", …] -> every combination of the values, read as YAML. Raises ZSLError for bad ones."""
    axes: dict[str, list[Any]] = {}
    for text in assignments:
        name, equals, values = text.partition("=")
        if not (equals and name.strip() and values.strip()):
            raise ZSLError(f"--set {text}: expected section.name=value,value,…")
        if name.strip() in axes:
            raise ZSLError(f"--set {name.strip()}: given twice; put all its values into one list")
        try:
            axes[name.strip()] = YAML(typ="safe", pure=True).load(f"[{values}]")
        except YAMLError as error:
            raise ZSLError(f"--set {text}: not a list of values: {error}") from error
    return [dict(zip(axes, combination, strict=True)) for combination in product(*axes.values())]


def label(point: Point) -> str:
    """A file name made of the settings: `train.lr=0.01,train.hidden=512`; `as-is` where there are none."""
    text = ",".join(f"{name}={value}" for name, value in point.items()) or "as-is"
    return "".join(letter if letter.isalnum() or letter in "=,.-_" else "_" for letter in text)


def choose_settings(data: SweepData, settings: Settings, device: str) -> dict[str, Any]:
    """What `select` chooses for these settings, as a job."""
    return select(data.seen, settings, device)[0]


def fit_seed(data: SweepData, settings: Settings, chosen: Mapping[str, Any], seed: int, device: str) -> Any:
    """The metrics of one seed, as a job."""
    filled = fill(settings, chosen)
    method = Clusterable(ClusterableSettings.of(filled, device)).fit(data.task.train, seed)
    return evaluate(score(method, data.task, seed), number_or(filled.classify.calibration, 0.0))


def sweep(
    settings: Mapping[str, Settings],
    data_sets: Mapping[str, SweepData],
    points: Sequence[Point],
    seeds: Sequence[int],
    device: str = "auto",
    engine: EngineName = "local",
    address: str | None = None,
    store: Path = CACHE,
) -> dict[tuple[str, str], dict[str, Any]]:
    """(data set, label) -> metrics with mean, std and seeds, and what was chosen.

    settings: of each data set. First every choice on validation classes, then every seed's fit: independent jobs. Each
    result is cached when its job ends, so that an interrupted sweep goes on where it was. Settings are validated before
    any job.
    What device `auto` means is decided on this machine, also for a cluster; `cuda` asks the cluster for a GPU a job.
    Raises ZSLError for settings that are not valid, combinations that cannot be told apart, and what a job raises.
    """
    device = str(resolve_device()) if device == "auto" else device
    if engine == "ray":  # a job sees the GPU it is given as the first
        device = device.partition(":")[0]
    labelled = {label(point): point for point in points}
    cases = {
        (name, label(point)): settings[name].override(nested(point), f"--set, data set '{name}'")
        for name in data_sets
        for point in points
    }
    for (name, _), case in cases.items():
        if any(getattr(case.finetune, part) != getattr(settings[name].finetune, part) for part in OF_BACKBONES):
            raise ZSLError(
                "--set finetune: a backbone is fine-tuned before a sweep begins; change it in data/NAME.yaml"
            )
    if len(cases) < len(data_sets) * len(points):
        raise ZSLError("--set: two combinations of values cannot be told apart; give each value once")
    fingerprints = {
        name: [fingerprint(data.task), *(held_out.tolist() for held_out in data.seen.validation_splits)]
        for name, data in data_sets.items()
    }

    def run(function: Any, keys: Sequence[Any], jobs: Sequence[Job], what: str) -> list[Any]:
        """The result of each job; what an earlier sweep computed is read from the cache."""
        described = [
            {"sweep": what, "data": fingerprints[name], "key": key, "device": device}
            for (name, _), key in zip(jobs, keys, strict=True)
        ]
        paths = [result_path(key, store) for key in described]
        missing = [position for position, path in enumerate(paths) if not path.exists()]
        with progress(f"sweep: {what}", len(missing)) as advance:
            todo = [jobs[position] for position in missing]
            gpus = 1 if device.startswith("cuda") else 0
            for position, value in run_jobs(function, data_sets, todo, engine, address, gpus):
                artifacts.write_json(paths[missing[position]], value)
                advance(1)
        return [artifacts.read_json(path) for path in paths]

    sections = {
        case: of_case.model_dump(mode="json", include={"select", "finetune", "train", "generate", "classify"})
        for case, of_case in cases.items()
    }
    jobs: list[Job] = [(name, (of_case, device)) for (name, _), of_case in cases.items()]
    chosen = dict(zip(cases, run(choose_settings, list(sections.values()), jobs, "choose"), strict=True))
    fits = [(case, seed) for case in cases for seed in seeds]
    jobs = [(case[0], (cases[case], chosen[case], seed, device)) for case, seed in fits]
    keys = [[sections[case], chosen[case], seed] for case, seed in fits]
    metrics = dict(zip(fits, run(fit_seed, keys, jobs, "fit"), strict=True))
    return {
        case: {
            "about": {
                "dataset": case[0],
                "settings": labelled[case[1]],
                "split": data_sets[case[0]].split,
                "seeds": list(seeds),
            },
            "chosen": chosen[case],
            **summarise({seed: metrics[case, seed] for seed in seeds}),
        }
        for case in cases
    }
