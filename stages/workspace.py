"""A data set in the project's folder: where its files stand, and what the stages read of them."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zslcore.datasets import dataset as datasets
from zslcore.datasets.dataset import Dataset, Seen, sources_of
from zslcore.datasets.maps import load_maps
from zslcore.errors import ZSLError
from zslcore.evaluation.confidence import Confidence
from zslcore.evaluation.selected import fill
from zslcore.io.artifacts import FEATURES, Format, read_json
from zslcore.project.params import EXPERIMENTS_FILE, Resolved
from zslcore.project.resolved import RESULTS, load_resolved
from zslcore.settings import Settings
from zslcore.signatures.compose import Composition, fixed, provenance

ARTIFACTS = Path("artifacts")
EXPERIMENTS = Path("experiments/results")


class Workspace:
    """The files and settings of one data set.

    Raises ZSLError for an unknown data set, and where results/<name>/settings.yaml is not what the settings say now.
    """

    def __init__(self, dataset: str) -> None:
        self.dataset = dataset
        self.resolved: Resolved = load_resolved(dataset)
        self.seeds = self.resolved.seeds
        self.device = self.resolved.device
        self.settings: Settings = self.resolved.pipeline

    def artifact(self, name: str) -> Path:
        """Path of a cached artifact: `artifacts/<data set>/<name>`."""
        return ARTIFACTS / self.dataset / name

    def result(self, name: str) -> Path:
        """Path of a small result: `results/<data set>/<name>`."""
        return RESULTS / self.dataset / name

    def experiment(self, name: str) -> Path:
        """Path of an experiment's result: `experiments/results/<data set>/<name>`."""
        return EXPERIMENTS / self.dataset / name

    def inputs(self, *names: str) -> dict[str, Path]:
        """Artifacts by name without suffix, whose hashes an output records."""
        return {Path(name).stem: self.artifact(name) for name in names}

    def section(self, name: str) -> Any:
        """The settings of an experiment. Raises ZSLError where no file has any."""
        if name not in self.resolved.experiments:
            raise ZSLError(f"{EXPERIMENTS_FILE}: no section '{name}'; add it: {name}: {{...}}, see `zsl params`")
        return self.resolved.experiments[name]

    @cached_property
    def filled(self) -> Settings:
        """The settings with what `select` chose in place of each `auto`."""
        return fill(self.settings, read_json(self.result("selected.json")))

    @cached_property
    def confidence(self) -> Confidence | None:
        """What `select` chose of confidence; None where it could choose nothing."""
        section = read_json(self.result("selected.json")).get("confidence")
        return None if section is None else Confidence.read(section)

    @cached_property
    def composition(self) -> Composition:
        """How the sources of signatures are put together: as the settings say, or as `select` chose."""
        if (given := fixed(self.settings.signatures)) is not None:
            return given
        path = self.result("selected.json")
        chosen = read_json(path).get("signatures", {}) if path.exists() else {}
        return Composition(**{name: chosen[name] for name in ("weights", "centre") if name in chosen})

    @cached_property
    def data(self) -> Dataset:
        """The data set with its splits, less the images that `extract` had to skip."""
        return self.data_sources().composed(self.composition)

    def data_of(self, artifact: str, format: Format) -> Dataset:
        """The data set, less the images that an artifact made of its features lacks."""
        return self.data_sources(artifact, format).composed(self.composition)

    def data_sources(self, artifact: str = "features.h5", format: Format = FEATURES) -> Dataset:
        """The same, before the sources of signatures are put together."""
        return datasets.load(self.artifact("dataset.h5"), features=self.artifact(artifact), format=format)

    def seen(self) -> Seen:
        """What choices may be made on: no test row is opened."""
        return self.seen_sources().composed(self.composition)

    def seen_sources(self, maps: bool = False) -> Seen:
        """The same, before the sources of signatures are put together. maps: with feature maps, which stay on disk."""
        read = load_maps if maps else None
        return datasets.load_seen(self.artifact("dataset.h5"), self.artifact("features.h5"), read)

    def features(self, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Features (n, d) of these images, or of all, as `load_features` gives them."""
        return datasets.load_features(self.artifact("features.h5"), rows)

    def rows(self, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """The same; too large for memory, as `Rows`, which code that streams takes."""
        return datasets.stream_features(self.artifact("features.h5"), rows)

    def maps(self) -> NDArray[np.float32]:
        """Feature maps (n, h, w, c) of all images, which stay on disk until they are used."""
        return load_maps(self.artifact("features.h5"))

    def about(self, data: Dataset) -> dict[str, Any]:
        """What stands at the head of the run's results."""
        return {
            "dataset": self.dataset,
            "split": data.split_name,
            "preset": self.resolved.preset,
            "seeds": len(self.seeds),
            "signatures": provenance(sources_of(data), self.composition),
        }
