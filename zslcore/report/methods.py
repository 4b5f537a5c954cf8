"""Sections of the report about methods: measured figures next to the published ones, and what they cost."""

import base64
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from zslcore.evaluation.intervals import beyond_chance
from zslcore.evaluation.metrics import METRICS, lookup
from zslcore.evaluation.per_class import ClassAccuracies
from zslcore.evaluation.published import Published, published_for
from zslcore.report import figures
from zslcore.report.blocks import Block, Figure, Heading, Paragraph, Table
from zslcore.report.headline import headline_cells, headline_titles
from zslcore.report.numbers import captioned, difference, number, spread
from zslcore.report.results import Results, signatures_of
from zslcore.signatures.compose import GIVEN

PIPELINE = "this pipeline"
SIMPLE = "eszsl"
"""The method that every run measures, too: a heavier one has to beat it."""
UNCALIBRATED, BOUND = "plain.H", "diagnostic.test_selected_H"
"""Metrics that stand apart from the headline ones."""
COMPARED = ("T1", "H")
"""Figures whose differences between methods are shown."""
TABLES = ("table1", "table2", "classical")
"""The published tables that are about methods."""


def comparison(results: Results) -> Iterator[Block]:
    """Measured rows, the pipeline's, ESZSL's, then the best T1 first, each with its published row below it.

    Then the other published ones. Every row says what it rests on.
    """
    measured = _measurements(results)
    if not measured:
        return
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, result in sorted(measured.items(), key=_rank):
        groups.setdefault((signatures_of(result), _on_maps(result)), {})[name] = result
    published = _by_method(results.dataset) if any(signatures == GIVEN for signatures, _ in groups) else {}
    of_maps = {_key(name) for (_, on_maps), group in groups.items() if on_maps for name in group}
    titles = (*headline_titles(), METRICS[UNCALIBRATED].title)
    header = ("method", "whose figure", *titles, "features", "selected on test data", METRICS[BOUND].title)
    yield Heading(3, "Measured here, and published")
    for (signatures, on_maps), group in sorted(groups.items(), key=lambda item: item[0][1]):
        quoted = {key: rows for key, rows in published.items() if (key in of_maps) == on_maps}
        features = f"maps of {results.features}" if on_maps else results.features
        yield _table(group, features, quoted if signatures == GIVEN else {}, header, signatures, on_maps)
    if references := results.jsons("reference"):
        cells = tuple(_measured(name, result, "images") for name, result in references.items())
        caption = "REFERENCE, not zero-shot: the pretraining has seen images and names of the unseen classes"
        yield Table(captioned(caption, cells), header, cells)
    yield from _leads(results, measured)
    yield from _families(measured)
    yield from _provenance(published)


def _table(
    measured: Mapping[str, Any],
    features: str,
    published: Mapping[str, list[Published]],
    header: tuple[str, ...],
    signatures: str,
    on_maps: bool,
) -> Table:
    """Rows that rest on one kind of signatures and of features; published ones rest on attributes."""
    unmeasured = dict(published)
    rows: list[tuple[str, ...]] = []
    strong = set()
    for name, result in measured.items():
        strong.add(len(rows))
        rows.append(_measured(name, result, features))
        if quoted := unmeasured.pop(_key(name), None):
            rows.append(_published(quoted))
    rows += map(_published, unmeasured.values())
    said = [] if signatures == GIVEN else [f"Classes described by: {signatures}"]
    caption = "; ".join([*said, *(["Methods on feature maps"] if on_maps else [])])
    return Table(captioned(caption, rows), header, tuple(rows), frozenset(strong))


def attribute_maps(results: Results) -> Iterator[Block]:
    """Where in test images each packaged method on maps sees the attributes that decided."""
    shown = results.jsons("maps")
    if not shown:
        return
    yield Heading(3, "Where attributes are seen")
    yield Paragraph(
        "What the network sees of a test image, then the same under the map of each attribute that spoke most for the "
        "first class against the second, brightest where the attribute is seen most. "
        "Of methods packaged by zsl package --method."
    )
    for name, one in shown.items():
        for place, picture in enumerate(one["pictures"], 1):
            png = base64.b64decode(picture["png"])
            yield Figure(f"{results.dataset}-maps-{name}-{place}", png, f"{one['title']}: {picture['caption']}")


def timings(results: Results) -> Iterator[Block]:
    """Time and memory of each method as bench/methods.py measured them, and accuracy against time."""
    costs = results.timings()
    if costs is None:
        return
    measured, published = _measurements(results), _by_method(results.dataset)
    rows, points = [], []
    for name, cost in sorted(costs["methods"].items(), key=lambda item: _seconds(item[1])):
        quoted = _metrics(published.get(_key(name), ()))
        t1, h = (lookup(measured.get(name, {}), metric) for metric in ("zsl.T1", "gzsl.H"))
        ratio = number(_seconds(cost) / cost["ridge_s"])
        times = (str(cost["threads"]), number(cost["fit_s"], 2), number(cost["score_s"], 2), ratio)
        rows.append(
            (name, spread(t1), number(quoted.get("T1")), spread(h), *times, number(cost["memory_mib"], 0)),
        )
        if t1 is not None:
            points.append((name, _seconds(cost), t1["mean"], quoted.get("T1")))
    yield Heading(3, "Time and memory")
    caption = (
        "Processor time of one fit on trainval and of scoring both test splits, by bench/methods.py; "
        "the unit of 'over ridge' is scikit-learn's ridge regression of signatures on the same features in the same "
        "process. The published T1 rests on other features"
    )
    header = ("method", "T1", "published T1", "H", "threads", "fit, s", "score, s", "over ridge", "peak memory, MiB")
    yield Table(captioned(caption, rows), header, tuple(rows))
    if points:
        caption = "T1 against processor time: measured ●, and the method's published figure ○ above or below it."
        yield Figure(f"{results.dataset}-time", figures.accuracy_against_time(points), caption)


def _leads(results: Results, measured: Mapping[str, Any]) -> Iterator[Block]:
    """What the pipeline leads each method by, over classes: of two on the same classes, only differences compare."""
    table = results.csv("classes.csv")
    others = {
        name: ClassAccuracies.read(result["classes"])
        for name, result in sorted(measured.items(), key=_rank)
        if "classes" in result
    }
    if table is None or not others:
        return
    pipeline = ClassAccuracies.of(table)
    leads = {name: pipeline.over_classes(other) for name, other in others.items()}
    yield Table(
        f"What {PIPELINE} leads each method by, with 95 % intervals over classes (bootstrap, the same classes for "
        "both; a mean over seeds for each class)",
        ("method", *(f"difference in {title}" for title in COMPARED)),
        tuple((name, *(difference(lead[title]) for title in COMPARED)) for name, lead in leads.items()),
    )
    family = {(name, title): lead[title] for name, lead in leads.items() for title in COMPARED}
    beyond = beyond_chance(family)
    for title in COMPARED:
        better = [name for name in leads if (name, title) in beyond and leads[name][title].mean > 0]
        rest = [name for name in leads if (name, title) not in beyond]
        worse = [name for name in leads if (name, title) in beyond and leads[name][title].mean < 0]
        parts = {"better than": better, "WORSE than": worse, "NOT shown to differ from": rest}
        said = "; ".join(f"{words} {', '.join(names)}" for words, names in parts.items() if names)
        yield Paragraph(
            f"In {title}, with Holm's correction for all {len(family)} differences, {PIPELINE} is {said}."
            + (" What is not shown is within the noise: other classes may turn it round." if rest else ""),
            warning=bool(rest or worse),
        )


def _measurements(results: Results) -> dict[str, Any]:
    metrics = results.json("metrics.json")
    if metrics is None:
        return results.jsons("methods")
    simple = {SIMPLE: metrics[SIMPLE]} if SIMPLE in metrics else {}
    return {PIPELINE: metrics, **results.jsons("methods"), **simple}


def _rank(item: tuple[str, Any]) -> tuple[bool, bool, float]:
    """The pipeline first, ESZSL under it, then by T1, the largest first."""
    name, result = item
    return name != PIPELINE, name != SIMPLE, -(lookup(result, "zsl.T1") or {"mean": 0.0})["mean"]


def _on_maps(result: Mapping[str, Any]) -> bool:
    return bool((result.get("about") or {}).get("input") == "maps")


def _key(name: str) -> str:
    """Under which a measured method's published rows are found."""
    return "xu et al." if name == PIPELINE else name.casefold()


def _by_method(dataset: str) -> dict[str, list[Published]]:
    """The published rows of each method, by its name in small letters."""
    rows: dict[str, list[Published]] = {}
    for row in (row for table in TABLES for row in published_for(dataset, table)):
        rows.setdefault(row.method.casefold(), []).append(row)
    return rows


def _metrics(rows: Iterable[Published]) -> dict[str, float]:
    return {name: value for row in rows for name, value in row.metrics.items()}


def _seconds(cost: dict[str, float]) -> float:
    return cost["fit_s"] + cost["score_s"]


def _measured(name: str, result: Mapping[str, Any], features: str) -> tuple[str, ...]:
    title = (result.get("about") or {}).get("title", name)
    cells = (*headline_cells(result), spread(lookup(result, UNCALIBRATED)))
    return (title, "measured here", *cells, features, "no", spread(lookup(result, BOUND)))


def _published(rows: list[Published]) -> tuple[str, ...]:
    values, flags = _metrics(rows), {row.selected_on_test for row in rows}
    flag = next(flag for flag in ("yes", "unknown", "no") if flag in flags)
    cells = tuple(number(values.get(title)) for title in headline_titles())
    return (f"{rows[0].method} ({rows[0].by})", "published", *cells, "", rows[0].features, flag, "")


def _families(measured: Mapping[str, Any]) -> Iterator[Block]:
    """Which measured methods trained as long as any candidate, and which are of one family, as `compare` records."""
    families: dict[str, list[str]] = {}
    for name, result in sorted(measured.items()):
        if family := (result.get("about") or {}).get("family"):
            families.setdefault(family, []).append(name)
    longest = [name for name, one in sorted(measured.items()) if _validation(one).get("longest")]
    if longest:
        yield Paragraph(
            f"At the end of what was tried, the longest training: {', '.join(longest)}; more epochs might be better."
        )
    if families:
        listed = "; ".join(f"{family}: {', '.join(names)}" for family, names in sorted(families.items()))
        yield Paragraph(f"Families of the measured methods: {listed}.")


def _validation(result: Mapping[str, Any]) -> Mapping[str, Any]:
    return (result.get("about") or {}).get("validation") or {}


def _provenance(published: dict[str, list[Published]]) -> Iterator[Block]:
    if not published:
        yield Paragraph("Nothing is published for this data set.")
        return
    rows = [row for of_method in published.values() for row in of_method]
    sources = "; ".join(dict.fromkeys(f"{row.source} ({row.split})" for row in rows))
    yield Paragraph(
        "H, uncalibrated: without the factor off seen scores that U, S and H here have; the published rows of methods "
        "that generate no features have none either. Published rows are quoted as printed, with "
        f"{rows[0].signatures}: {sources}. Their features differ from those measured here unless the column says the "
        "same: a difference between the two kinds of rows is not a difference between methods."
    )
    for of_method in published.values():
        notes = {row.note for row in of_method if row.note}
        notes |= {f"selected on test data: {row.flag_source}" for row in of_method if row.flag_source}
        for note in sorted(notes):
            yield Paragraph(f"{of_method[0].method}: {note}.")
