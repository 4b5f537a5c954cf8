"""The ablation: variants of the main method, each chosen on validation classes and scored like the main run."""

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import Field

from zslcore.artifacts import read_json
from zslcore.datasets.dataset import Dataset, Seen
from zslcore.errors import ZSLError, unknown
from zslcore.evaluation.protocol import Task, benchmark_task, evaluate, score, summarise
from zslcore.evaluation.select import select
from zslcore.methods.clusterable import Clusterable, ClusterableSettings
from zslcore.params import Params, Settings, flat, merge, read_yaml, validate
from zslcore.progress import Advance, progress, track
from zslcore.settings import Section
from zslcore.steps.train import DEFAULT_EPOCHS

Overrides = dict[str, Any]
"""Sections of params.yaml and the values that replace theirs."""


class AblationSettings(Section):
    """What all rows share."""

    settings: Overrides = Field({}, description="sections as in params.yaml, in place of the data set's own")


class Variant(Section):
    """A row of the ablation."""

    title: str
    against: str | None = Field(None, description="the row it is compared with, seed by seed")
    settings: Overrides = Field({}, description="sections as in params.yaml")
    grid: tuple[tuple[Overrides, ...], ...] = Field((), description="axes of candidates, chosen on validation classes")

    @property
    def candidates(self) -> list[Overrides]:
        """Every combination of the grid on top of the settings; the settings alone where there is no grid."""
        found = []
        for choice in product(*self.grid):
            candidate: Overrides = dict(self.settings)
            for overrides in choice:
                candidate = merge(candidate, overrides)
            found.append(candidate)
        return found


def load_variants(path: Path) -> dict[str, Variant]:
    """The table of variants, by name. Raises ZSLError naming the file and what is wrong in it."""
    variants = {name: validate(Variant, row, f"{path}: {name}") for name, row in read_yaml(path).items()}
    for name, variant in variants.items():
        if variant.against is not None and variant.against not in variants:
            raise ZSLError(f"{path}: {name}: against: {unknown('variant', variant.against, variants)}")
    return variants


def get_variant(variants: Mapping[str, Variant], name: str) -> Variant:
    """A row by name. Raises ZSLError for an unknown one, with the nearest known one."""
    if name not in variants:
        raise unknown("ablation variant", name, variants)
    return variants[name]


def run_variant(
    params: Params,
    dataset: str,
    name: str,
    variants: Mapping[str, Variant],
    data: Dataset,
    seen: Seen,
    features: Any,
    main: tuple[Path, Path],
) -> dict[str, Any]:
    """The figures of one variant, in memory: choose on validation classes, fit once a seed, score the test images.

    features: (n, d) float32 of all images. main: the main run's selected.json and metrics.json, whose figures are
    reused where the variant's settings equal the main run's.
    """
    variant = get_variant(variants, name)
    common = params.extra("ablation", AblationSettings, dataset).settings
    overrides = [merge(common, candidate) for candidate in variant.candidates]
    candidates = {str(position): params.resolve(dataset, over) for position, over in enumerate(overrides)}
    about = {
        "dataset": dataset,
        "variant": name,
        "row": list(variants).index(name),
        "title": variant.title,
        "against": variant.against,
        "split": data.split_name,
        "preset": params.preset,
        "candidates": len(candidates),
        "common": flat(common),
        "splits": candidates["0"].select.splits,
        "members": candidates["0"].train.members,
    }
    if list(candidates.values()) == [params.resolve(dataset)]:
        selected, metrics = (read_json(path) for path in main)
        return {**metrics, "about": {**about, "reused": True}, "chosen": selected, "settings": {}, "warnings": []}
    title = f"{dataset}: {name}"
    chosen, position = _choose(seen, candidates, params.device, title)
    settings = candidates[position].filled(chosen)
    task = benchmark_task(data, features)
    runs, warnings = {}, []
    with progress(title, len(params.seeds) * (settings.train.epochs or DEFAULT_EPOCHS)) as advance:
        for seed in params.seeds:
            runs[seed], found = _run(settings, task, seed, params.device, advance)
            warnings += [f"seed {seed}: {warning}" for warning in found]
    return {
        **summarise(runs),
        "about": {**about, "reused": False},
        "chosen": chosen,
        "settings": overrides[int(position)],
        "warnings": warnings,
    }


def _run(settings: Settings, task: Task, seed: int, device: str, advance: Advance) -> tuple[dict[str, Any], list[str]]:
    """The figures of one seed, and what training warned of; `advance` is called for each epoch."""
    advance(0, f"seed {seed}: F")
    method = Clusterable(ClusterableSettings.of(settings, device))
    method.fit(task.train, seed, lambda done: advance(1, f"seed {seed}: M, C, E and G"))
    advance(0, f"seed {seed}: classifiers")
    figures = evaluate(score(method, task, seed), settings.classify.calibration or 0.0)
    return figures, method.model.warnings


def _choose(seen: Seen, candidates: Mapping[str, Settings], device: str, title: str) -> tuple[dict[str, Any], str]:
    """What `select` chose for the candidate with the best validation score, and which candidate that is."""
    found = {}
    for name, settings in track(candidates.items(), f"{title}: candidates", len(candidates)):
        chosen, _ = select(seen, settings, device)
        found[name] = chosen
    best = max(found, key=lambda name: found[name]["validation"]["T1"] + found[name]["validation"]["H"])
    return found[best], best
