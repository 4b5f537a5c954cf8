"""Sections of the report about the experiments; each appears where its results exist."""

from collections.abc import Iterator, Mapping, Sequence
from math import isnan
from typing import Any

from zslcore.evaluation.intervals import Interval, beyond_chance, paired_difference
from zslcore.evaluation.metrics import METRICS, lookup
from zslcore.evaluation.per_class import ClassAccuracies
from zslcore.evaluation.published import published_for, table_note
from zslcore.report import figures
from zslcore.report.blocks import Block, Figure, Heading, Paragraph, Table
from zslcore.report.headline import headline_cells, headline_titles
from zslcore.report.numbers import captioned, difference, half_width, number, spread
from zslcore.report.results import Results

COMPARED = ("zsl.T1", "gzsl.H")
"""Metrics whose differences between variants are shown: those that choices on validation classes rest on."""


def ablation(results: Results) -> Iterator[Block]:
    """Fig. 4 and Table 4's accuracy: each variant, and its paired difference from the row it is compared with."""
    variants = dict(sorted(results.jsons("ablation").items(), key=lambda item: item[1]["about"]["row"]))
    if not variants:
        return
    rows: list[tuple[str, ...]] = []
    leads: dict[tuple[str, str], Interval] = {}
    over_classes: dict[tuple[str, str], Interval] = {}
    accuracies = _accuracies(results, variants)
    for name, result in variants.items():
        about = result["about"]
        against = about["against"]
        comparison = ["" for _ in range(1 + 2 * len(COMPARED))]
        if against in variants:
            pair = f"{name} over {against}"
            for metric in COMPARED:
                leads[pair, metric] = _lead(result, variants[against], metric)
            if {name, against} <= accuracies.keys():
                found = accuracies[name].over_classes(accuracies[against])
                over_classes |= {(pair, metric): found[METRICS[metric].title] for metric in COMPARED}
            comparison = [against]
            for metric in COMPARED:
                comparison += [
                    difference(family[pair, metric]) if (pair, metric) in family else ""
                    for family in (leads, over_classes)
                ]
        reused = " (figures of the main run)" if about["reused"] else ""
        title = f"{name}: {about['title']}{reused}"
        search = f"{about['candidates']} × {about['splits']}"
        rows.append((title, str(about["members"]), search, *headline_cells(result), *comparison))
    yield Heading(3, "Ablation (Fig. 4)")
    common = _common_settings(*variants.values())
    if common:
        yield Paragraph(
            f"All rows take {common} in place of the data set's values (ablation.settings in `zsl params "
            f"{results.dataset}`): `main` is not the run above."
        )
    caption = (
        "Training length and calibration of each variant are chosen on validation classes, and its settings, where "
        "it has more than one candidate (searched: candidates × class splits); members: sets of M, C, E and G; "
        "differences with 95 % intervals: seed by seed, of the mean over seeds, and class by class, over classes"
    )
    differences = (
        f"difference in {METRICS[metric].title}{over}" for metric in COMPARED for over in ("", ", over classes")
    )
    header = ("variant", "members", "searched", *headline_titles(), "compared with", *differences)
    yield Table(captioned(caption, rows), header, tuple(rows))
    for family, over in ((leads, "over seeds"), (over_classes, "over classes")):
        yield from _verdicts(family, over)
    bars = [(name, result["zsl"]["T1"]["mean"], result["zsl"]["T1"]["std"]) for name, result in variants.items()]
    several = any(len(result["zsl"]["T1"]["seeds"]) > 1 for result in variants.values())
    caption = f"Zero-shot accuracy of the variants{'; bars: standard deviation over seeds' if several else ''}."
    yield Figure(f"{results.dataset}-ablation", figures.ablation_bars(bars, "T1, percent"), caption)
    yield from _published(results, "table4", ("T1",))


def _verdicts(family: Mapping[tuple[str, str], Interval], over: str) -> Iterator[Block]:
    """Which differences of a family, by (pair, metric), are not chance; nothing where none could be tested."""
    if all(isnan(interval.p_value) for interval in family.values()):
        return
    beyond = beyond_chance(family)
    for metric in COMPARED:
        pairs = [pair for pair, of in family if of == metric]
        some, others = ([pair for pair in pairs if ((pair, metric) in beyond) is kind] for kind in (True, False))
        if some:
            yield Paragraph(
                f"The interval {over} of the difference in {METRICS[metric].title}, with Holm's correction for all "
                f"{len(family)} of the table, excludes 0 for: {'; '.join(some)}."
            )
        if others:
            yield Paragraph(f"In {METRICS[metric].title} it does NOT exclude 0 for: {'; '.join(others)}.", warning=True)


def _accuracies(results: Results, variants: Mapping[str, Any]) -> dict[str, ClassAccuracies]:
    """Each variant's accuracy by class, where it is kept; a variant that is the main run has that run's."""
    table = results.csv("classes.csv")
    found = {name: ClassAccuracies.read(one["classes"]) for name, one in variants.items() if "classes" in one}
    if table is not None:
        main = ClassAccuracies.of(table)
        found |= {name: main for name, one in variants.items() if one["about"]["reused"]}
    return found


def _lead(result: Mapping[str, Any], other: Mapping[str, Any], metric: str) -> Interval:
    """Of `result` over `other`, in percent. Raises ZSLError when they share no seed."""
    first, second = (lookup(one, metric) or {"seeds": {}} for one in (result, other))
    return paired_difference(first["seeds"], second["seeds"])


def _common_settings(*results: Mapping[str, Any]) -> str:
    """The settings that results were measured with in place of those of the data set; "" for none."""
    return ", ".join(
        sorted({f"{name} {value}" for one in results for name, value in one["about"].get("common", {}).items()})
    )


def clusterability(results: Results) -> Iterator[Block]:
    """Table 4's "MI", in every variant that could be meant."""
    result = results.json("clusterability.json")
    if result is None:
        return
    yield Heading(3, "Clusterability (Table 4)")
    common = _common_settings(result)
    where = f"clusterability.settings in `zsl params {results.dataset}`"
    yield Paragraph(
        "k-means with as many clusters as classes, against the classes. x: the scaled features; M(x): M trained "
        "without F; F′: F trained by plain cross-entropy in place of Gaussian similarity."
        + (f" M and F take {common} in place of the data set's values ({where})." if common else "")
    )
    measures = result["about"]["measures"]
    for side in ("unseen", "seen-test"):
        names = [name for name in result["about"]["order"] if name.startswith(f"{side} ")]
        spaces = {name.removeprefix(f"{side} "): result["spaces"][name] for name in names}
        rows = tuple((name, *(spread(space[measure], 3) for measure in measures)) for name, space in spaces.items())
        strong = frozenset(position for position, name in enumerate(spaces) if name == "M(F(x))")
        yield Table(captioned(f"{side} images, measured here", rows), ("space", *measures), rows, strong)
        if {"x", "M(F(x))"} <= set(spaces):
            falls = [m for m in measures if spaces["M(F(x))"][m]["mean"] <= spaces["x"][m]["mean"]]
            verdict = f"does NOT rise in: {', '.join(falls)}" if falls else "rises in all measures"
            yield Paragraph(f"From x to M(F(x)), {side} images: clusterability {verdict}.", warning=bool(falls))
    yield from _published(results, "table4", ("MI",), "variant of MI unknown")


def tsne(results: Results) -> Iterator[Block]:
    """Fig. 3."""
    table = results.csv("tsne.csv")
    if table is not None:
        yield Heading(3, "Real and synthetic features (Fig. 3)")
        caption = f"t-SNE of {table['class'].nunique()} unseen classes, a colour each: real features ×, synthetic •."
        yield Figure(f"{results.dataset}-tsne", figures.tsne_panels(table), caption)


def fewshot(results: Results) -> Iterator[Block]:
    """Table 5."""
    result = results.json("fewshot.json")
    if result is None:
        return
    about = result["about"]
    rows, columns = {name: result["rows"][name] for name in about["order"]}, about["columns"]
    count = next(iter(rows.values()))[columns[0]]["count"]
    yield Heading(3, "Few-shot (Table 5)")
    yield Table(
        f"{about['way']}-way accuracy on {count} episodes a column ({about['query']} queries a class), base classes: "
        "seen, novel: unseen; mean ± 95 % interval over episodes of these same classes; every row answers the same "
        "episodes. Measured here",
        ("learner", *columns),
        tuple((name, *(half_width(row[c]["mean"], row[c]["high"]) for c in columns)) for name, row in rows.items()),
        frozenset(position for position, name in enumerate(rows) if "Gaussian" in name),
    )
    yield Table(
        f"Lead over '{about['baseline']}', episode by episode, with the 95 % interval of its mean. Measured here",
        ("learner", *columns),
        tuple(
            (name, *(difference(_interval(row[column]["lead"])) for column in columns))
            for name, row in rows.items()
            if name != about["baseline"]
        ),
    )
    family = {
        f"{name}, {column}": _interval(row[column]["lead"])
        for name, row in rows.items()
        if name != about["baseline"]
        for column in columns
    }
    if unproven := [name for name in family if name not in beyond_chance(family)]:
        yield Paragraph(
            f"With Holm's correction for all {len(family)} leads NOT shown to differ from '{about['baseline']}': "
            f"{'; '.join(unproven)}.",
            warning=True,
        )
    yield from _published(results, "table5", ("1-shot", "5-shot"))


def _interval(lead: dict[str, Any]) -> Interval:
    return Interval(lead["mean"], lead["low"], lead["high"], lead["count"])


def mining(results: Results) -> Iterator[Block]:
    """Metric learning with hard negative mining: Tables 1 and 2 and Fig. 1 of Bucher et al."""
    table1, table2 = results.json("metric-learning.json"), results.json("mining/table2.json")
    if table1 is None and table2 is None:
        return
    yield Heading(3, "Hard-negative mining (Bucher et al., 2016)")
    if table1 is not None:
        yield from _strategies(table1)
    if table2 is not None:
        yield from _by_negatives(table2)
    curve = results.csv("mining/convergence.csv")
    if curve is not None:
        caption = "T1 on unseen classes by epoch, mean over the runs (Fig. 1): a report, used for no choice."
        yield Figure(f"{results.dataset}-mining", figures.mining_curves(curve), caption)


def _strategies(result: Mapping[str, Any]) -> Iterator[Block]:
    about, rows = result["about"], result["rows"]
    leads = {name: row["lead over parent"] for name, row in rows.items() if "lead over parent" in row}
    intervals = {name: Interval(**lead, count=about["runs"]) for name, lead in leads.items()}
    cells = tuple(
        (
            "random (the parent method)" if name == "parent" else name,
            str(row["settings"].get("mining", {}).get("n", "")),
            spread(row["T1"]),
            difference(intervals[name]) if name in intervals else "",
        )
        for name, row in rows.items()
    )
    caption = (
        f"Table 1: {about['runs']} runs, split: {about['split']}, attribute vectors {about['attributes']}; settings "
        "chosen on held-out training classes; differences run by run, with the 95 % interval. Measured here"
    )
    yield Table(captioned(caption, cells), ("method", "n", "T1", "difference from the parent method"), cells)
    yield from _unproven(intervals, "the parent method")


def _unproven(leads: Mapping[str, Interval], over: str) -> Iterator[Block]:
    """Which leads of a family are not above chance; nothing where all are."""
    beyond = beyond_chance(leads)
    unproven = [name for name, interval in leads.items() if name not in beyond or interval.mean < 0]
    if unproven:
        yield Paragraph(
            f"With Holm's correction for all {len(leads)} NOT shown to be better than {over}: {', '.join(unproven)}.",
            warning=True,
        )


def _by_negatives(result: Mapping[str, Any]) -> Iterator[Block]:
    about, rows = result["about"], result["rows"]
    counts = sorted(next(iter(rows.values())), key=int)  # a JSON file has its keys in the order of letters
    header = ("strategy", *(f"n = {n}" for n in counts))
    tables = {
        "Table 2: T1 by the number of negatives a positive": "T1",
        "Epochs until 95 % of the final accuracy (section 3.3)": "epochs to 95 %",
    }
    for caption, value in tables.items():
        cells = tuple((name, *(spread(by_n[n][value]) for n in counts)) for name, by_n in rows.items())
        measured = f"{caption}; {about['runs']} runs, split: {about['split']}. Measured here"
        yield Table(captioned(measured, cells), header, cells)
    yield Paragraph("The settings of each row, of each strategy with each n, were chosen on held-out training classes.")
    yield from _over_random(about["runs"], rows, counts)


def _over_random(runs: int, rows: Mapping[str, Any], counts: Sequence[str]) -> Iterator[Block]:
    """What mining gives next to random pairs, few and many."""
    leads = {
        f"{strategy}, n = {n}": {
            other: Interval(**lead, count=runs)
            for other, lead in sorted(by_n[n].get("lead over random", {}).items(), key=lambda item: int(item[0]))
        }
        for strategy, by_n in rows.items()
        for n in counts
    }
    leads = {name: row for name, row in leads.items() if row}
    if not leads:
        return
    ends = tuple(next(iter(leads.values())))
    cells = tuple((name, *(difference(row[n]) for n in ends)) for name, row in leads.items())
    caption = "Difference in T1 from random pairs, run by run, with the 95 % interval. Measured here"
    yield Table(caption, ("strategy", *(f"from random, n = {n}" for n in ends)), cells)
    for n in ends:
        yield from _unproven({name: row[n] for name, row in leads.items()}, f"random, n = {n}")


def tuning(results: Results) -> Iterator[Block]:
    """The search of `zsl tune`, where there was one."""
    table = results.csv("tune.csv")
    if table is None or not table["score"].notna().any():
        return
    yield Heading(3, "Search for hyper-parameters")
    complete = int(table["score"].notna().sum())
    caption = f"{len(table)} trials on validation classes, {complete} of them complete; no test image took part."
    yield Figure(f"{results.dataset}-tune", figures.search_history(table), caption)


def _published(results: Results, table: str, metrics: Sequence[str], tag: str = "") -> Iterator[Block]:
    """Published rows of a table in a table of their own, tagged."""
    rows = published_for(results.dataset, table)
    if not rows:
        return
    selected = {row.selected_on_test for row in rows}
    yield Table(
        f"PUBLISHED, not measured here: {rows[0].source}; {rows[0].features}; selected on test data: "
        f"{', '.join(sorted(selected))}" + (f"; {tag}" if tag else ""),
        ("method", *(f"{name}{' (variant unknown)' if name == 'MI' else ''}" for name in metrics)),
        tuple(
            (row.method, *(number(row.metrics.get(name), 2 if name == "MI" else 1) for name in metrics)) for row in rows
        ),
    )
    if table_note(table):
        yield Paragraph(f"{table_note(table)}.")
