"""Builds the report: the results table, then a chapter a data set."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from zslcore.io.artifacts import atomic, write_text
from zslcore.project.params import Resolved
from zslcore.report import experiments, methods, pipeline
from zslcore.report.blocks import Block, Figure, Heading, Paragraph, Table, to_markdown
from zslcore.report.headline import headline_cells, headline_metrics, headline_titles
from zslcore.report.numbers import captioned
from zslcore.report.page import page
from zslcore.report.results import Results, read_result, signatures_of
from zslcore.signatures.compose import GIVEN

SECTIONS: tuple[Callable[[Results], Iterator[Block]], ...] = (
    pipeline.about,
    pipeline.pictures,
    methods.comparison,
    methods.attribute_maps,
    methods.timings,
    pipeline.honesty,
    pipeline.curves,
    pipeline.confidence,
    pipeline.why,
    experiments.ablation,
    experiments.tsne,
    experiments.clusterability,
    experiments.fewshot,
    experiments.mining,
    experiments.tuning,
    pipeline.classes,
)
"""Sections of a data set's chapter, in order; one without results yields nothing."""
TITLE = "Zero-shot learning: results"


def write_report(
    resolved: Sequence[Resolved],
    results: Path = Path("results"),
    folder: Path = Path("report"),
    others: Path | None = None,
    bench: Path | None = None,
) -> str:
    """Write report.md, its figures and report.html to `folder`; return the results table as Markdown.

    resolved: the settings of each data set. results: a folder a data set, with at least `metrics.json`. others: the
    experiments' results, laid out alike; with them, a data set may lack metrics of its own. bench: timings of
    bench/methods.py. Raises ZSLError when a data set has no metrics or a file is damaged.
    """
    folders = (results, *([others] if others is not None else []))
    ran = [
        name
        for name in (one.dataset for one in resolved)
        if others is None or (results / name / "metrics.json").exists()
    ]
    summary = results_table(ran, results)
    blocks: list[Block] = [
        Heading(1, TITLE),
        Paragraph(
            "".join(f"{metric.title}: {metric.meaning}. " for metric in headline_metrics().values())
            + "Everything is fitted on trainval and chosen on validation classes; test images are only scored."
        ),
        summary,
    ]
    for one in resolved:
        results_of_one = Results(one, folders, bench)
        blocks.append(Heading(2, one.dataset))
        blocks += [block for section in SECTIONS for block in section(results_of_one)]
    for block in blocks:
        if isinstance(block, Figure):
            with atomic(folder / "figures" / f"{block.name}.png") as temporary:
                temporary.write_bytes(block.png)
    write_text(folder / "report.html", page(TITLE, blocks))
    write_text(folder / "report.md", to_markdown(blocks))
    return to_markdown([summary]).strip()


def results_table(datasets: Sequence[str], results: Path) -> Table:
    """A row a data set, and ESZSL's under it; mean ± std over seeds, in percent.

    Raises ZSLError where a data set has no metrics.
    """
    rows = []
    for dataset in datasets:
        metrics: dict[str, Any] = read_result(results / dataset / "metrics.json")
        signatures = signatures_of(metrics)
        described = "" if signatures == GIVEN else f"; classes described by {signatures}"
        split = f"{metrics['about']['split']}{described}"
        rows.append((dataset, split, *headline_cells(metrics)))
        if methods.SIMPLE in metrics:
            rows.append((f"{dataset}: ESZSL, in closed form", split, *headline_cells(metrics[methods.SIMPLE])))
    return Table(captioned("", rows), ("data set", "split", *headline_titles()), tuple(rows))
