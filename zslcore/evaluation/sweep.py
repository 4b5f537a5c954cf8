"""Many runs of the main method: settings × data sets × seeds, each chosen on validation classes like the main run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from zslcore import artifacts
from zslcore.datasets.dataset import Seen
from zslcore.errors import ZSLError
from zslcore.evaluation.cells import STORE, fingerprint, place
from zslcore.evaluation.protocol import Task, evaluate, score, summarise
from zslcore.evaluation.select import select
from zslcore.jobs import EngineName, Job, run_jobs
from zslcore.methods.clusterable import Clusterable, ClusterableSettings
from zslcore.params import Params, Settings, nested
from zslcore.progress import progress
from zslcore.training import resolve_device

Point = dict[str, Any]
"""section.name -> value: one combination of the grid."""


@dataclass(frozen=True)
class Material:
    """What the runs of a data set work on; split: its name, shown with every result."""

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
    """A file name that tells the settings: `train.lr=0.01,train.hidden=512`, or `as-is`."""
    text = ",".join(f"{name}={value}" for name, value in point.items()) or "as-is"
    return "".join(letter if letter.isalnum() or letter in "=,.-_" else "_" for letter in text)


def choose(material: Material, settings: Settings, device: str) -> dict[str, Any]:
    """What `select` chooses for these settings."""
    return select(material.seen, settings, device)[0]


def measure(material: Material, settings: Settings, chosen: Mapping[str, Any], seed: int, device: str) -> Any:
    """The metrics of one seed."""
    filled = settings.filled(chosen)
    method = Clusterable(ClusterableSettings.of(filled, device)).fit(material.task.train, seed)
    return evaluate(score(method, material.task, seed), filled.classify.calibration or 0.0)


def sweep(
    params: Params,
    materials: Mapping[str, Material],
    points: Sequence[Point],
    seeds: Sequence[int],
    engine: EngineName = "local",
    address: str | None = None,
    threads: int = 1,
    store: Path = STORE,
) -> dict[tuple[str, str], dict[str, Any]]:
    """(data set, label) -> metrics with mean, std and seeds, and what was chosen.

    First every choice on validation classes, then every seed's fit: jobs that need nothing of each other. Each is kept
    as it is done, so that an interrupted sweep goes on where it was. Settings are validated before any job starts.
    What device `auto` means is decided on this machine, also for a cluster; `cuda` asks the cluster for a GPU a job.
    """
    device = str(resolve_device()) if params.device == "auto" else params.device
    if engine == "ray":  # a job sees the GPU it is given as the first
        device = device.partition(":")[0]
    named = {label(point): point for point in points}
    cases = {(name, label(point)): params.resolve(name, nested(point)) for name in materials for point in points}
    if len(cases) < len(materials) * len(points):
        raise ZSLError("--set: two combinations of values cannot be told apart; give each value once")
    prints = {
        name: [fingerprint(material.task), *(held_out.tolist() for held_out in material.seen.validation_splits)]
        for name, material in materials.items()
    }

    def run(function: Any, keys: Sequence[Any], jobs: Sequence[Job], what: str) -> list[Any]:
        """The value of each job; what an earlier sweep computed is read back."""
        described = [
            {"sweep": what, "data": prints[name], "key": key, "threads": threads, "device": device}
            for (name, _), key in zip(jobs, keys, strict=True)
        ]
        places = [place(key, store) for key in described]
        missing = [position for position, path in enumerate(places) if not path.exists()]
        with progress(f"sweep: {what}", len(missing)) as advance:
            todo = [jobs[position] for position in missing]
            gpus = 1 if device.startswith("cuda") else 0
            for position, value in run_jobs(function, materials, todo, engine, address, threads, gpus):
                artifacts.write_json(places[missing[position]], value)
                advance(1)
        return [artifacts.read_json(path) for path in places]

    sections = {
        case: settings.section("select", "finetune", "train", "generate", "classify")
        for case, settings in cases.items()
    }
    jobs: list[Job] = [(name, (settings, device)) for (name, _), settings in cases.items()]
    chosen = dict(zip(cases, run(choose, list(sections.values()), jobs, "choose"), strict=True))
    fits = [(case, seed) for case in cases for seed in seeds]
    jobs = [(case[0], (cases[case], chosen[case], seed, device)) for case, seed in fits]
    keys = [[sections[case], chosen[case], seed] for case, seed in fits]
    found = dict(zip(fits, run(measure, keys, jobs, "fit"), strict=True))
    return {
        case: {
            "about": {
                "dataset": case[0],
                "settings": named[case[1]],
                "split": materials[case[0]].split,
                "seeds": list(seeds),
            },
            "chosen": chosen[case],
            **summarise({seed: found[case, seed] for seed in seeds}),
        }
        for case in cases
    }
