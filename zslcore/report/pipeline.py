"""Sections of the report about the main run of a data set."""

from collections.abc import Iterator, Mapping
from typing import Any

from zslcore.datasets import registry
from zslcore.evaluation.explain import Contribution, in_words
from zslcore.evaluation.metrics import METRICS, lookup
from zslcore.evaluation.per_class import ClassAccuracies
from zslcore.evaluation.selected import at_an_end, chosen_and_given, chosen_names
from zslcore.evaluation.strangers import STRANGERS
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


def confidence(results: Results) -> Iterator[Block]:
    """How far probabilities can be trusted, and whether a class that is not among them is noticed."""
    metrics, selected = results.json("metrics.json"), results.json("selected.json")
    if metrics is None or selected is None or "confidence" not in selected or "confidence" not in metrics:
        return
    chosen = selected["confidence"]
    yield Heading(3, "How sure")
    yield Paragraph(
        "Probabilities are a softmax of the scores, less the calibration factor, over a temperature: "
        f"{chosen['temperature']['joint']:.3g} with all classes, {chosen['temperature']['unseen']:.3g} among unseen "
        "ones, with the largest likelihood on validation classes. Test images only say how far off they are."
    )
    rows = tuple(
        (title, *(spread(lookup(metrics, f"confidence.{name}{when}"), digits) for when in ("_before", "")))
        for title, name, digits in (
            ("all classes compete", "ECE", 1),
            ("all classes compete, classwise", "classwise_ECE", 2),
            ("unseen classes compete", "unseen_ECE", 1),
        )
    )
    caption = "Expected calibration error on test images, 15 bins, percent: the gap between probability and accuracy"
    yield Table(captioned(caption, rows), ("", "before", "after"), rows)
    points = results.csv("reliability.csv")
    if points is not None:
        caption = "Accuracy over probability before and after; the dashed line: as often right as said."
        yield Figure(f"{results.dataset}-reliability", figures.reliability_panels(points), caption)
    compared = selected.get("strangers", {})
    rows = tuple(
        (f"{name}: {fit.meaning}", number(compared[name])) for name, fit in STRANGERS.items() if name in compared
    )
    best = frozenset(k for k, (name, _) in enumerate(rows) if name.startswith(f"{chosen['stranger']}:"))
    caption = "None of these: AUROC of known images against strangers, on validation classes; the best is used"
    yield Table(caption, ("", "AUROC"), rows, best)
    found = {name: spread(lookup(metrics, f"strangers.{name}")) for name in ("AUROC", "FPR95", "recognised")}
    yield Paragraph(
        f"On test images, half of the unseen classes withheld, mean of ten draws: AUROC {found['AUROC']}, FPR at 95 % "
        f"{found['FPR95']}. With the threshold for 5 % false alarms, "
        f"{spread(lookup(metrics, 'strangers.false_alarms'))} % of known images are called none of these, and "
        f"{found['recognised']} % of strangers."
    )


def why(results: Results) -> Iterator[Block]:
    """The attributes that spoke for the class called, in the most frequent confusions."""
    table = results.csv("explained.csv")
    if table is None:
        return
    yield Heading(3, "Why: the most frequent confusions")
    rows = []
    for (actual, called), group in table.groupby(["actual", "predicted"], sort=False):
        found = [
            Contribution(str(name), float(value), bool(more))
            for name, value, more in zip(group["attribute"], group["contribution"], group["more"], strict=True)
        ]
        rows.append((str(actual), str(group["images"].iloc[0]), in_words(str(called), str(actual), found),
                     str(group["nearest"].iloc[0])))  # fmt: skip
    caption = (
        "All classes competing, one seed. What each attribute adds to the lead of one class over another, by R, "
        "which predicts attributes from features: mean over the images"
    )
    yield Table(caption, ("images of", "confused", "why", "nearest seen classes"), tuple(rows))


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
