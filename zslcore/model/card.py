"""The model card: what a model is, on what it was measured and how well, for whoever is to use it."""

from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from zslcore.evaluation.metrics import METRICS, lookup
from zslcore.methods import registry
from zslcore.model.header import Header

TEST_SELECTED = "diagnostic.test_selected_H"


def card(header: Header, file: Path) -> str:
    """Markdown with the front matter that model hubs read. file: the model."""
    return f"---\n{_front_matter(header)}---\n\n" + "\n".join(_page(header, file)) + "\n"


def _front_matter(header: Header) -> str:
    plan = header.backbone.plan if header.backbone else None
    measured = [
        {"type": METRICS[name].title, "value": round(values["mean"], 2), "name": METRICS[name].meaning}
        for name, values in _figures(header.about.get("metrics", {}))
    ]
    task = {"type": "zero-shot-image-classification"}
    matter: dict[str, Any] = {
        "license": "other",
        "license_name": "code MIT, data as its owners say",
        "library_name": "zslcore",
        "pipeline_tag": task["type"],
        "tags": ["zero-shot-learning", "generalised-zero-shot-learning", header.method],
        "datasets": [header.name],
        **({"base_model": f"timm/{plan['backbone']}"} if plan and ":" not in plan["backbone"] else {}),
    }
    if measured:
        dataset = {"name": header.name, "type": header.name, "split": header.about["data"]["split"]}
        matter["model-index"] = [
            {"name": header.name, "results": [{"task": task, "dataset": dataset, "metrics": measured}]}
        ]
    stream, yaml = StringIO(), YAML()
    yaml.width = 10_000
    yaml.dump(matter, stream)
    return stream.getvalue()


def _page(header: Header, file: Path) -> Iterator[str]:
    about, method = header.about, registry.get(header.method)
    data = about.get("data", {})
    classes, images = data.get("classes", {}), data.get("images", {})
    yield f"# {header.name}: {method.title}"
    yield ""
    yield f"{method.summary} {method.citation}."
    yield ""
    yield f"Names an image among {len(header.classes)} classes, of {classes.get('unseen', 0)} of which no image was"
    others = "in words" if header.of_texts else f"by the same {len(header.attributes)} attributes"
    yield f"seen in training, and among any others described {others}:"
    yield ""
    yield "```"
    yield f"zsl predict {file.as_posix()} IMAGES --classes new_classes.csv"
    yield "```"
    yield ""
    yield "## Data and protocol"
    yield ""
    yield f"- Data set `{header.name}`, split: {data.get('split')}; images: {_counts(images)}."
    yield f"- Source: {_counts(about.get('source', {}))}."
    least, most = data.get("signatures", {}).get("least"), data.get("signatures", {}).get("most")
    numbers = "numbers" if header.of_texts else "attributes"
    yield f"- Signatures: {len(header.attributes)} {numbers} a class, values from {least:.4g} to {most:.4g}."
    yield f"- {_features(header)}"
    yield "- Everything was fitted on trainval images; every choice was made on validation classes within them."
    seeds = ", ".join(map(str, header.seeds))
    yield f"- Preset `{about.get('preset')}`; seeds {seeds}, whose probabilities are averaged."
    yield from (f"- {note}" for note in data.get("notes", []))
    yield ""
    yield "## Figures"
    yield ""
    yield from _table(about.get("metrics", {}))
    yield ""
    yield "## Use"
    yield ""
    yield "Meant for research, and for naming images of the kind it was trained on by classes that its attributes can"
    yield "describe. Probabilities are over the classes that compete: an image of none of them gets one of their names,"
    yield 'unless "none of these" says so.'
    yield ""
    yield "Limits: it sees what its backbone sees; other kinds of pictures (drawings, close-ups, several objects) were"
    yield "not measured. A class without training images is named less surely than one with. Do not let it decide about"
    yield "people."
    yield ""
    yield "## Licences"
    yield ""
    yield "The code is under the MIT licence. The data set and the backbone's weights keep their own, which bind"
    yield "whoever uses the model."


def _figures(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name in [*(name for name, metric in METRICS.items() if metric.headline), TEST_SELECTED]:
        values = lookup(metrics, name)
        if values is not None:
            yield name, values


def _table(metrics: Mapping[str, Any]) -> Iterator[str]:
    found = list(_figures(metrics))
    if not found:
        yield "Not measured."
        return
    seeds = list(found[0][1]["seeds"])
    yield "Per-class means in percent, on test images; mean ± standard deviation over seeds."
    yield ""
    yield f"| figure | mean ± std | {' | '.join(f'seed {seed}' for seed in seeds)} |"
    yield f"|---|---:|{'---:|' * len(seeds)}"
    for name, values in found:
        each = " | ".join(f"{values['seeds'][seed]:.1f}" for seed in seeds)
        yield f"| {METRICS[name].title} | {values['mean']:.1f} ± {values['std']:.1f} | {each} |"
    yield ""
    yield "The last row is no result: it is what choosing the calibration factor on the test set would have claimed."


def _features(header: Header) -> str:
    if header.backbone is None:
        return "Features were given; the model takes features, not images."
    plan = header.backbone.plan
    side = header.backbone.preprocessing["input_size"][-1]
    weights = plan["fingerprint"][:12]
    tuned = ", fine-tuned on trainval" if str(plan["weights"]).endswith("features.h5") else ""
    views = "" if plan.get("views", 1) == 1 else f", averaged over views ({plan['views']})"
    return f"Features: `{plan['backbone']}`{tuned} on {side}×{side} pixels{views}, weights {weights} (SHA-256)."


def _counts(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(values.items())) or "not stated"
