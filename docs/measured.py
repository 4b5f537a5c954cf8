"""Measured figures of the methods, for their pages: docs/measured.csv, which this file writes.

`zsl compare --datasets birds`, then `python docs/measured.py [experiments/results/birds/methods]`.
"""

import csv
import sys
from datetime import UTC, datetime
from pathlib import Path

from zslcore.io.artifacts import read_json
from zslcore.report.headline import headline_cells, headline_titles

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "docs/measured.csv"
FIGURES = headline_titles()
HEADER = ("method", "day", "seeds", *FIGURES)


def write(folder: Path, table: Path = TABLE) -> None:
    """Put what `zsl compare` measured into the table, in place of what it has of these methods."""
    rows = {row["method"]: row for row in read(table)}
    for path in sorted(folder.glob("*.json")):
        day = datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()
        result = read_json(path)
        values = (path.stem, day, str(len(result["about"]["seeds"])), *headline_cells(result))
        rows[path.stem] = dict(zip(HEADER, values, strict=True))
    with table.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, HEADER, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[name] for name in sorted(rows))


def read(table: Path = TABLE) -> list[dict[str, str]]:
    """The rows of the table: mean ± standard deviation over seeds, in percent."""
    if not table.exists():
        return []
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def pipeline() -> list[dict[str, str]]:
    """The rows that `dvc repro` leaves in git: the main method's, and ESZSL's with the settings that it chooses."""
    result = read_json(ROOT / "results/birds/metrics.json")
    seeds = {"clusterable": str(result["about"]["seeds"]), "eszsl": "1"}
    of = {"clusterable": result, "eszsl": result["eszsl"]}
    return [dict(zip(HEADER, (name, "", seeds[name], *headline_cells(of[name])), strict=True)) for name in of]


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "experiments/results/birds/methods"))
