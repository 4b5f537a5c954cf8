"""The headline metrics of a result: as one line, and as the cells of a table's row."""

from collections.abc import Mapping
from typing import Any

from zslcore.evaluation.metrics import METRICS, Metric, lookup
from zslcore.report.numbers import spread


def headline_metrics() -> dict[str, Metric]:
    """The entries of METRICS that tables and lines show, by dotted name."""
    return {name: metric for name, metric in METRICS.items() if metric.headline}


def headline(result: Mapping[str, Any]) -> str:
    """ "T1 81.6 ± 0.7, U 79.0 ± 0.4, …" of what `summarise` gave; a metric that the result lacks is left out."""
    values = {metric.title: lookup(result, name) for name, metric in headline_metrics().items()}
    return ", ".join(f"{title} {spread(value)}" for title, value in values.items() if value is not None)


def headline_titles() -> tuple[str, ...]:
    """The head of the columns that `headline_cells` fills."""
    return tuple(metric.title for metric in headline_metrics().values())


def headline_cells(result: Mapping[str, Any]) -> tuple[str, ...]:
    """mean ± std of each headline metric, in percent; empty where the result lacks it."""
    return tuple(spread(lookup(result, name)) for name in headline_metrics())
