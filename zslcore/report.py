"""The report: results over all data sets as Markdown and one self-contained HTML page."""

from pathlib import Path
from typing import Any

from zslcore.artifacts import read_json, write_text
from zslcore.params import Params

METRICS = (("zsl", "T1"), ("gzsl", "U"), ("gzsl", "S"), ("gzsl", "H"), ("gzsl", "AUSUC"))


def write_report(params: Params, results: Path = Path("results"), folder: Path = Path("report")) -> str:
    """Write the report's files and return the results table as Markdown."""
    rows = ["| data set | split | " + " | ".join(name for _, name in METRICS) + " |"]
    rows.append("|---" * (len(METRICS) + 2) + "|")
    for dataset in params.datasets:
        metrics: dict[str, Any] = read_json(results / dataset / "metrics.json")
        cells = [f"{metrics[g][n]['mean']:.1f} ± {metrics[g][n]['std']:.1f}" for g, n in METRICS]
        rows.append(f"| {dataset} | {metrics['about']['split']} | " + " | ".join(cells) + " |")
    table = "\n".join(rows)
    write_text(folder / "report.md", f"# Results\n\n{table}\n")
    return table
