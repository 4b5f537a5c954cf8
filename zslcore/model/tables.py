"""Predictions as rows: JSON lines, tidy CSV, Parquet, or a table for people, written as they come."""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import IO, Any

from zslcore.errors import ZSLError, unknown
from zslcore.io.artifacts import atomic
from zslcore.model.prediction import Prediction

AT_ONCE = 10_000
"""Rows of a Parquet file that are in memory at a time."""
MOST = 10
"""Attributes of an explanation that are written."""


def plain(prediction: Prediction, model: str) -> dict[str, Any]:
    """A prediction as plain data. model: what made it."""
    row: dict[str, Any] = {
        "file": prediction.file,
        "classes": list(prediction.classes),
        "probabilities": [round(value, 6) for value in prediction.probabilities],
        "fit": prediction.fit,
        "none": prediction.none,
        "failure": prediction.failure,
        "model": model,
    }
    if prediction.nearest:
        row["nearest"] = list(prediction.nearest)
    if prediction.attributes:
        row["against"] = prediction.against
        row["attributes"] = [asdict(one) for one in prediction.attributes[:MOST]]
    if prediction.overlays:
        row["maps"] = [{"attribute": name, "file": file} for name, file in prediction.overlays.items()]
    return row


def write(predictions: Iterable[Prediction], out: str, model: str) -> None:
    """Write one prediction after another to a file by the end of its name, or as JSON lines to standard output: `-`.

    A file takes its name once it is complete. Raises ZSLError for another end, or where it cannot be written.
    """
    if out == "-":
        _jsonl(predictions, sys.stdout, model)
        return
    ending = Path(out).suffix.lower()
    if ending not in WRITERS:
        raise ZSLError(f"{out}: {unknown('kind of file', ending or 'none', WRITERS)}")
    with atomic(Path(out)) as temporary:
        WRITERS[ending](predictions, temporary, model)


def _write_jsonl(predictions: Iterable[Prediction], path: Path, model: str) -> None:
    with open(path, "w", encoding="utf-8") as stream:
        _jsonl(predictions, stream, model)


def _jsonl(predictions: Iterable[Prediction], stream: IO[str], model: str) -> None:
    for prediction in predictions:
        stream.write(json.dumps(plain(prediction, model), ensure_ascii=False) + "\n")


def _write_csv(predictions: Iterable[Prediction], path: Path, model: str) -> None:
    with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["file", "rank", "class", "probability", "none", "failure"])
        for one in predictions:
            if one.failure is not None:
                writer.writerow([one.file, "", "", "", "", one.failure])
            for rank, (name, value) in enumerate(zip(one.classes, one.probabilities, strict=True), 1):
                writer.writerow([one.file, rank, name, f"{value:.6f}", str(one.none).lower(), ""])


def _write_parquet(predictions: Iterable[Prediction], path: Path, model: str) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ZSLError(f"{path}: Parquet needs pip install 'zslcore[parquet]', or write .csv or .jsonl") from error
    text, number = pyarrow.string(), pyarrow.float64()
    contribution = pyarrow.struct({"attribute": text, "value": number, "more": pyarrow.bool_()})
    schema = pyarrow.schema(
        {
            "file": text,
            "classes": pyarrow.list_(text),
            "probabilities": pyarrow.list_(number),
            "fit": number,
            "none": pyarrow.bool_(),
            "failure": text,
            "model": text,
            "against": text,
            "attributes": pyarrow.list_(contribution),
            "nearest": pyarrow.list_(text),
            "maps": pyarrow.list_(pyarrow.struct({"attribute": text, "file": text})),
        }
    )
    rows = (plain(one, model) for one in predictions)
    with parquet.ParquetWriter(path, schema) as writer:
        while some := list(islice(rows, AT_ONCE)):
            writer.write_table(pyarrow.Table.from_pylist(some, schema))


WRITERS: Mapping[str, Callable[[Iterable[Prediction], Path, str], None]] = {
    ".jsonl": _write_jsonl,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}
"""By the end of the file's name."""
