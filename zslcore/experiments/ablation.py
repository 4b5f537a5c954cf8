"""The ablation: variants of the main method, each chosen on validation classes and scored like the main run."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import Field

from zslcore.compute.jobs import in_order
from zslcore.datasets.dataset import Dataset, Seen
from zslcore.errors import ZSLError, unknown
from zslcore.evaluation import per_class
from zslcore.evaluation.metrics import Scores
from zslcore.evaluation.protocol import Task, benchmark_task, evaluate, score, summarise
from zslcore.evaluation.select import select_each
from zslcore.evaluation.selected import at_an_end, fill
from zslcore.experiments.settings import Ablation, Overrides
from zslcore.io.artifacts import read_json
from zslcore.io.layers import flat, merge, validate
from zslcore.io.yaml import read_yaml
from zslcore.methods.clusterable.estimator import Clusterable, ClusterableSettings
from zslcore.settings import Section, Settings, number_or


class Variant(Section):
    """A row of the ablation."""

    title: str
    against: str | None = Field(None, description="the row it is compared with, seed by seed")
    settings: Overrides = Field({}, description="sections as in params.yaml")
    grid: tuple[tuple[Overrides, ...], ...] = Field((), description="axes of candidates, chosen on validation classes")

    @property
    def candidates(self) -> list[Overrides]:
        """Every combination of the grid on top of the settings; the settings alone where there is no grid."""
        candidates = []
        for choice in product(*self.grid):
            candidate: Overrides = dict(self.settings)
            for overrides in choice:
                candidate = merge(candidate, overrides)
            candidates.append(candidate)
        return candidates


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
    settings: Settings,
    ablation: Ablation,
    name: str,
    variants: Mapping[str, Variant],
    data: Dataset,
    seen: Seen,
    features: Any,
    main: tuple[Path, Path],
    *,
    preset: str,
    seeds: Sequence[int],
    device: str,
) -> dict[str, Any]:
    """The metrics of one variant, in memory: choose on validation classes, fit once a seed, score the test images.

    settings: the data set's own. features: (n, d) float32 of all images. main: the main run's selected.json and
    metrics.json, whose metrics are reused where the variant's settings equal the main run's.
    Raises ZSLError for an unknown variant, settings that are not valid, or a fit that fails.
    """
    variant = get_variant(variants, name)
    common = ablation.settings
    overrides = [merge(common, candidate) for candidate in variant.candidates]
    candidates = {str(position): settings.override(over, name) for position, over in enumerate(overrides)}
    about = {
        "dataset": data.name,
        "variant": name,
        "row": list(variants).index(name),
        "title": variant.title,
        "against": variant.against,
        "split": data.split_name,
        "preset": preset,
        "candidates": len(candidates),
        "common": flat(common),
        "splits": candidates["0"].select.splits,
        "members": candidates["0"].train.members,
    }
    if list(candidates.values()) == [settings]:
        selected, metrics = (read_json(path) for path in main)
        metrics.pop("eszsl", None)
        return {**metrics, "about": {**about, "reused": True}, "chosen": selected, "settings": {}, "warnings": []}
    title = f"{data.name}: {name}"
    chosen, position = _choose(seen, candidates, device, title)
    filled = fill(candidates[position], chosen)
    task, factor = benchmark_task(data, features), number_or(filled.classify.calibration, 0.0)
    runs, scored, warnings = {}, {}, at_an_end(candidates[position], chosen)
    fits = in_order(title, partial(_run, filled, task, device), [(seed,) for seed in seeds], device)
    for seed, (scores, of_seed) in zip(seeds, fits, strict=True):
        scored[seed], runs[seed] = scores, evaluate(scores, factor)
        warnings += [f"seed {seed}: {warning}" for warning in of_seed]
    return {
        **summarise(runs),
        "classes": per_class.accuracies(data, scored, factor).lists(),
        "about": {**about, "reused": False},
        "chosen": chosen,
        "settings": overrides[int(position)],
        "warnings": warnings,
    }


def _run(settings: Settings, task: Task, device: str, seed: int) -> tuple[Scores, list[str]]:
    """The scores of one seed, and what training warned of."""
    method = Clusterable(ClusterableSettings.of(settings, device)).fit(task.train, seed)
    return score(method, task, seed), method.model.warnings


def _choose(seen: Seen, candidates: Mapping[str, Settings], device: str, title: str) -> tuple[dict[str, Any], str]:
    """What `select` chose for the candidate with the best validation score, and which candidate that is."""
    found = select_each(seen, list(candidates.values()), device, f"{title}: candidates")
    chosen = {name: choice for name, (choice, _) in zip(candidates, found, strict=True)}
    best = max(chosen, key=lambda name: chosen[name]["validation"]["T1"] + chosen[name]["validation"]["H"])
    return chosen[best], best
