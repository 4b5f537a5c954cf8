"""Where the report reads results: from a data set's folder, and from the experiments' where they have been run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from zslcore.errors import BadFile, abridged
from zslcore.evaluation.intervals import is_mean
from zslcore.io.artifacts import read_json
from zslcore.project.params import Resolved
from zslcore.settings import Settings
from zslcore.signatures.compose import GIVEN

NAMES = dict.fromkeys(("class", "actual", "predicted", "nearest", "attribute"), str)
"""Columns of tables that hold names, which may look like numbers."""


def read_result(path: Path) -> Any:
    """Read a JSON result. Raises BadFile for a damaged one, and where a mean is not that of its seeds."""
    result = read_json(path)
    waiting = [("", result)]
    while waiting:
        name, value = waiting.pop()
        if not isinstance(value, dict):
            continue
        seeds = value.get("seeds")
        if isinstance(seeds, dict) and seeds and "mean" in value and not is_mean(value["mean"], seeds.values()):
            raise BadFile(path, f"{name}.mean is {value['mean']}, which is not the mean of its seeds: it was edited")
        waiting += [(f"{name}.{key}".lstrip("."), one) for key, one in value.items()]
    return result


def signatures_of(result: Any) -> str:
    """What described the classes of a result, in words; older results do not say, and rest on what was given."""
    return str(((result.get("about") or {}).get("signatures") or {}).get("label", GIVEN))


@dataclass(frozen=True)
class Results:
    """The results of one data set; what has not been run is None or empty."""

    resolved: Resolved
    folders: tuple[Path, ...]
    bench: Path | None = None
    """Where bench/methods.py left its timings; None in a report that must not change from run to run."""

    def json(self, name: str) -> Any | None:
        """A JSON result, e.g. `metrics.json`. Raises ZSLError for a damaged one."""
        path = self._find(name)
        return None if path is None else read_result(path)

    def jsons(self, folder: str) -> dict[str, Any]:
        """Every JSON result of a folder, by file name without suffix, in alphabetical order."""
        paths = [path for base in self.folders for path in sorted((base / self.dataset / folder).glob("*.json"))]
        return {path.stem: read_result(path) for path in paths}

    def csv(self, name: str) -> pd.DataFrame | None:
        """A table, e.g. `train.csv`; None where it is absent or has no rows. Raises ZSLError for a damaged one."""
        path = self._find(name)
        if path is None:
            return None
        try:
            # Only an empty cell is no number, and a class may be called "NA" or "007".
            table = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=NAMES)
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
            raise BadFile(path, f"not a table ({error})") from error
        return table if len(table) else None

    def timings(self) -> Any | None:
        """What each method costs on this data set. Raises ZSLError for a damaged file."""
        path = None if self.bench is None else self.bench / f"methods-{self.dataset}.json"
        return None if path is None or not path.exists() else read_json(path)

    @property
    def dataset(self) -> str:
        """Its name."""
        return self.resolved.dataset

    @property
    def settings(self) -> Settings:
        """What its main run was made with."""
        return self.resolved.pipeline

    @property
    def features(self) -> str:
        """What the features are, for the column of measured figures."""
        given = self.resolved.source.get("features")
        if given:  # one file, or several
            files = [given] if isinstance(given, str) else given
            return f"given: {abridged([Path(path).name for path in files], 2)}"
        tuned = ", fine-tuned" if self.settings.finetune.level == "backbone" else ""
        views = self.settings.extract.views
        return f"{self.settings.extract.backbone}{tuned}{'' if views == 1 else f', views: {views}'}"

    def _find(self, name: str) -> Path | None:
        return next((path for base in self.folders if (path := base / self.dataset / name).exists()), None)
