"""Stage `package`: the trained model as one file that names images anywhere, and its card."""

import base64
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from zslcore.compute.jobs import in_order
from zslcore.datasets.maps import load_maps
from zslcore.evaluation import protocol
from zslcore.evaluation.explain import in_words
from zslcore.evaluation.result_cache import CACHE
from zslcore.evaluation.search import validation_tasks
from zslcore.experiments.compare import Given, check_data, chosen_settings, load_given
from zslcore.experiments.settings import Compare
from zslcore.features import image_sources
from zslcore.features.batches import decode_image
from zslcore.features.image_sources import Chosen, Missing
from zslcore.io.artifacts import DATASET, params, read_json, write_json, write_text
from zslcore.io.layers import validate
from zslcore.methods import registry
from zslcore.methods.base import Localised, Method
from zslcore.methods.clusterable.estimator import Clusterable, ClusterableSettings
from zslcore.methods.eszsl import ESZSL
from zslcore.model.basis import basis_of
from zslcore.model.card import card
from zslcore.model.model import Model
from zslcore.model.overlays import deciding, overlays, png
from zslcore.model.package import of_pipeline, package
from zslcore.settings import number_or

from .common import DatasetName, say, say_git_add
from .evaluate import as_select
from .workspace import Workspace

MODELS = Path("models")
GIVEN = Path("experiments/methods.yaml")
SHOWN = 4
"""Images whose maps the report shows."""
PANEL = 160, 160
"""Pixels of each picture there."""


def command(
    dataset: DatasetName,
    method: Annotated[
        str | None,
        typer.Option(
            help=f"Another method: its settings in {GIVEN}, else chosen on validation classes as `compare` does, then "
            "fitted here. Default: what `package.method` says, mostly the main method, as the pipeline trained it."
        ),
    ] = None,
) -> None:
    """Write the model that `zsl predict` reads, models/<data set>.zsl (-<method>.zsl), and its card."""
    workspace = Workspace(dataset)
    if method in (None, Clusterable.name):
        model, path = _preferred(workspace, method), MODELS / f"{dataset}.zsl"
    else:
        kind = registry.get(str(method))
        given = load_given(GIVEN).get(kind.name, {}).get(dataset) if GIVEN.exists() else None
        model = _other(workspace, kind, given, workspace.section("compare"))
        path = MODELS / f"{dataset}-{kind.name}.zsl"
        if issubclass(kind, Localised) and model.on_maps and model.extractor is not None:
            write_json(workspace.experiment(f"maps/{kind.name}.json"), _shown(workspace, model))
    model.save(path)
    write_text(path.with_suffix(".md"), card(model.header, path))
    seeds = f"{len(model.methods)} seed{'s' * (len(model.methods) > 1)}"
    say(f"{path}: {len(model.classes)} classes, {seeds}, {path.stat().st_size / 1e6:.1f} MB; {path.with_suffix('.md')}")
    say_git_add("dvc.lock")  # it may run after `report`, which says the same


def _preferred(workspace: Workspace, method: str | None) -> Model:
    """The main method, or ESZSL as `evaluate` chose it, where the settings leave it open and it is preferred."""
    if method is None and workspace.settings.package.method == "auto":
        selected, metrics = (read_json(workspace.result(f"{name}.json")) for name in ("selected", "metrics"))
        name = preferred(selected, metrics)
        say(f"{workspace.dataset}: preferred on validation classes: {name}")
        if name == ESZSL.name:
            about = metrics[name]["about"]
            given = Given(settings=about["settings"], calibration=about["calibration"])
            return _other(workspace, ESZSL, given, as_select(workspace.settings.select))
    return _main(workspace)


def preferred(selected: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """The better of the main method and ESZSL by T1 and H on validation classes; the main one where that is unknown.

    selected: what `select` wrote; metrics: what `evaluate` wrote, of which no test figure is looked at.
    """
    simple = metrics.get(ESZSL.name, {}).get("about", {}).get("validation") or {}
    main = selected.get("validation", {})
    known = {"T1", "H"} <= simple.keys() & main.keys()
    return ESZSL.name if known and simple["T1"] + simple["H"] > main["T1"] + main["H"] else Clusterable.name


def _main(workspace: Workspace) -> Model:
    settings, data = workspace.filled, workspace.data
    fitted, of_method = workspace.artifact("model.safetensors"), ClusterableSettings.of(settings, workspace.device)
    methods = of_pipeline(data, workspace.rows(data.trainval), fitted, of_method, _seeds(workspace))
    return package(
        data,
        methods,
        calibration=number_or(settings.classify.calibration, 0.0),
        confidence=read_json(workspace.result("selected.json")).get("confidence"),
        features=workspace.artifact("features.h5"),
        about=_about(workspace, read_json(workspace.result("metrics.json"))),
        include_backbone=settings.package.include_backbone,
        basis=basis_of(workspace.data_sources(), workspace.composition),
    )


def _other(workspace: Workspace, kind: type[Method[Any]], given: Given | None, choice: Compare) -> Model:
    on_maps = kind.input == "maps"
    data, seen = workspace.data, workspace.seen_sources(maps=on_maps).composed(workspace.composition)
    check_data(data)
    fixed = {"device": workspace.device} if "device" in kind.Settings.model_fields else {}
    chosen = chosen_settings(kind, seen, given, choice, None, CACHE, fixed)
    settings = validate(kind.Settings, chosen["settings"], f"method '{kind.name}'")
    tasks = validation_tasks(seen, choice.splits, choice.holdout, choice.seed)
    held_out = [protocol.score(protocol.fit(kind(settings), held, choice.seed), held, choice.seed) for held in tasks]
    confidence, _ = protocol.choose_confidence(held_out, chosen["calibration"])
    task = protocol.benchmark_task(data, workspace.maps() if on_maps else workspace.rows())
    seeds = _seeds(workspace) if kind.random else _seeds(workspace)[:1]
    fit = partial(protocol.fit_seed, kind, settings, task, None)
    fits = in_order(f"{data.name}: {kind.name}", fit, [(seed,) for seed in seeds], workspace.device)
    methods: dict[int, Method[Any]] = dict(zip(seeds, fits, strict=True))
    scored = {seed: protocol.score(fitted, task, seed) for seed, fitted in methods.items()}
    figures = {seed: protocol.evaluate(scores, chosen["calibration"]) for seed, scores in scored.items()}
    return package(
        data,
        methods,
        calibration=chosen["calibration"],
        confidence=confidence.section(),
        features=workspace.artifact("features.h5"),
        about=_about(workspace, protocol.summarise(figures)),
        include_backbone=workspace.settings.package.include_backbone,
        basis=basis_of(workspace.data_sources(), workspace.composition),
    )


def _shown(workspace: Workspace, model: Model) -> dict[str, Any]:
    """For the report: where the deciding attributes are seen in an image of each of the first unseen classes."""
    data, extractor = workspace.data, model.extractor
    assert extractor is not None
    _, first = np.unique(data.labels[data.test_unseen], return_index=True)
    rows = np.sort(data.test_unseen[first[:SHOWN]])
    maps = np.asarray(load_maps(workspace.artifact("features.h5"), rows))
    pictures = []
    images = Chosen(image_sources.of_dataset(workspace.artifact("dataset.h5")), rows)
    named = zip(rows, images, model.predict_features(maps, explain=True), model.attribute_maps(maps), strict=True)
    for row, image, prediction, where in named:
        seen = None if isinstance(image, Missing) else decode_image(image, extractor.prepare).pixels
        if seen is None:  # it was there when features were made
            continue
        each = overlays(replace(prediction, maps=where), model.attributes, seen)
        panels = [np.asarray(Image.fromarray(pixels).resize(PANEL)) for pixels in (seen, *(one for _, one in each))]
        why = in_words(prediction.classes[0], str(prediction.against), deciding(prediction))
        encoded = base64.b64encode(png(np.concatenate(panels, axis=1), colours=128)).decode("ascii")
        pictures.append({"caption": f"an image of {data.classes[data.labels[row]]}, {why}", "png": encoded})
    return {"title": registry.get(model.header.method).title, "pictures": pictures}


def _seeds(workspace: Workspace) -> list[int]:
    seeds = list(workspace.seeds)
    return seeds if workspace.settings.package.seeds == "all" else seeds[:1]


def _about(workspace: Workspace, metrics: dict[str, Any]) -> dict[str, Any]:
    figures = {name: values for name, values in metrics.items() if name not in ("about", ESZSL.name)}
    source = params(workspace.artifact("dataset.h5"), DATASET)
    return {"preset": workspace.resolved.preset, "source": source, "metrics": figures}
