"""Sections of the report about the main run of a data set."""

from collections.abc import Iterator, Mapping
from typing import Any

from zslcore.datasets import registry
from zslcore.evaluation.metrics import METRICS, lookup
from zslcore.evaluation.per_class import ClassAccuracies
from zslcore.evaluation.selected import at_an_end, chosen_and_given, chosen_names
from zslcore.methods.clusterable.collapse import collapse_warnings
from zslcore.report import figures
from zslcore.report.blocks import Block, Figure, Heading, Paragraph, Table
from zslcore.report.numbers import between, captioned, named, number, sizes, spread
from zslcore.report.results import Results, signatures_of


def about(results: Results) -> Iterator[Block]:
    """What was run, on what, and what was chosen on validation classes."""
    metrics, selected = results.json("metrics.json"), results.json("selected.json")
    if metrics is None:
        yield Paragraph("No results yet: run the pipeline as far as `evaluate`.", warning=True)
        return
    run, table = metrics["about"], results.csv("classes.csv")
    seeds = (
        "One seed: how far another would move the figures is not known."
        if run["seeds"] == 1
        else f"Seeds: {run['seeds']}; every figure is the mean over them."
    )
    yield Paragraph(
        f"Split: {run['split']}. Features: {results.features}. Signatures: {signatures_of(metrics)}. "
        f"Preset: {run['preset']}. Per-class means in percent. "
        + (f"{said}. " if (said := "" if table is None else sizes(table)) else "")
        + seeds
    )
    if selected is not None:
        chosen, given = chosen_and_given(results.settings, selected)
        reached = selected.get("validation", {})
        yield Paragraph(
            f"Chosen on validation classes, without any test image: {named(chosen) or 'nothing'}"
            + (f" (there: T1 {reached['T1']:.1f}, H {reached['H']:.1f})." if {"T1", "H"} <= set(reached) else ".")
            + (f" Given by the settings: {named(given)}." if given else "")
        )
        for sentence in at_an_end(results.settings, selected):
            yield Paragraph(f"At the end of what was tried: {sentence}.", warning=True)
    yield from _certainty(results, metrics)


def _certainty(results: Results, metrics: Mapping[str, Any]) -> Iterator[Block]:
    """What other seeds and what other classes would change."""
    table = results.csv("classes.csv")
    if table is None:
        return
    found = ClassAccuracies.of(table).over_classes()
    rows = tuple(
        (METRICS[name].title, spread(value), between(found[METRICS[name].title]))
        for name in ("zsl.T1", "gzsl.U", "gzsl.S", "gzsl.H")
        if (value := lookup(metrics, name)) is not None
    )
    yield Table(
        captioned(
            "How certain the figures are. Over classes: the 95 % interval of the figure when as many classes like "
            "these are drawn (bootstrap of seen and of unseen classes; too narrow for ten or fewer)",
            rows,
        ),
        ("", "measured here", "95 % over classes"),
        rows,
    )


def pictures(results: Results) -> Iterator[Block]:
    """A picture of each class, where the data set draws its pictures itself."""
    png = registry.source(results.resolved.source).sheet()
    if png is not None:
        yield Figure(f"{results.dataset}-pictures", png, "A picture of each class; the unseen ones are named in red.")


def honesty(results: Results) -> Iterator[Block]:
    """What looking at the test set would have added; and, apart, the oracle-domain diagnostic."""
    metrics = results.json("metrics.json")
    if metrics is None:
        return
    gzsl, test = metrics["gzsl"], metrics["diagnostic"]
    calibration = _calibration(results)
    yield Heading(3, "Honest and test-selected")
    rows = (
        (f"{calibration}: the result", spread(gzsl["H"])),
        ("no calibration", spread(metrics["plain"]["H"])),
        ("calibration chosen on the test set: a bound, not a result", spread(test["test_selected_H"])),
        ("difference a reader of other tables should keep in mind", spread(test["selection_gap_H"])),
    )
    caption = captioned("How much H owes to looking at the test set", rows)
    yield Table(caption, ("", "H"), rows, frozenset({0}))
    yield Paragraph(
        f"Area under the seen–unseen curve (AUSUC): {spread(gzsl['AUSUC'])}. Unseen retention U/T1: "
        f"{spread(gzsl['retention'])} percent."
    )
    oracle = (("oracle domain", *(spread(test[f"oracle_domain_{name}"]) for name in "USH")),)
    caption = (
        "Diagnostic only, used for no claim: scored as if it were known whether an image is seen or unseen "
        "(separate label spaces)"
    )
    yield Table(captioned(caption, oracle), ("", "U", "S", "H"), oracle)


def _calibration(results: Results) -> str:
    chosen = "classify.calibration" in chosen_names(results.settings)
    return "calibration chosen on validation classes" if chosen else "calibration given by the settings"


def curves(results: Results) -> Iterator[Block]:
    """Training, selection and the seen/unseen trade-off."""
    names = {"F": "finetune.csv", "M, C, E and G": "train.csv"}
    training = {title: table for title, name in names.items() if (table := results.csv(name)) is not None}
    selection, trade = results.csv("selection.csv"), results.csv("curve.csv")
    metrics, selected = results.json("metrics.json"), results.json("selected.json")
    if selection is not None and "train.epochs" not in chosen_names(results.settings):
        selection = None
    if training or selection is not None or trade is not None:
        yield Heading(3, "Curves")
    if "M, C, E and G" in training:
        for seed, rows in training["M, C, E and G"].groupby("seed"):
            last = {str(name): float(value) for name, value in rows.iloc[-1].dropna().items()}
            for warning in collapse_warnings(last):
                yield Paragraph(f"Seed {seed}: {warning}.", warning=True)
    if training:
        yield Figure(f"{results.dataset}-training", figures.training_curves(training), "Losses; shaded: all seeds.")
    if selection is not None:
        length = (selected or {}).get("train", {}).get("epochs")
        caption = "Choice of the training length, on validation classes."
        yield Figure(f"{results.dataset}-selection", figures.selection_curve(selection, length), caption)
    if trade is not None:
        points = []
        if metrics is not None:
            for label, group in ((_calibration(results), "gzsl"), ("no calibration", "plain")):
                points.append((label, metrics[group]["U"]["mean"], metrics[group]["S"]["mean"]))
        caption = "Seen over unseen accuracy as the calibration factor varies."
        yield Figure(f"{results.dataset}-curve", figures.seen_unseen_curve(trade, points), caption)


def tsne(results: Results) -> Iterator[Block]:
    """Fig. 3."""
    table = results.csv("tsne.csv")
    if table is not None:
        yield Heading(3, "Real and synthetic features (Fig. 3)")
        caption = f"t-SNE of {table['class'].nunique()} unseen classes, a colour each: real features ×, synthetic •."
        yield Figure(f"{results.dataset}-tsne", figures.tsne_panels(table), caption)


def classes(results: Results) -> Iterator[Block]:
    """Accuracy of every class."""
    table = results.csv("classes.csv")
    if table is not None:
        yield Heading(3, "Class by class")
        yield Table(
            f"Accuracy of each of {len(table)} classes, mean over seeds",
            ("class", "kind", "test images", "GZSL", "ZSL"),
            tuple(
                (str(row["class"]), str(row["kind"]), str(row["images"]), number(row["gzsl"]), number(row["zsl"]))
                for row in table.to_dict("records")
            ),
            folded=True,
        )
