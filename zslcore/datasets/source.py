"""What every way to get a data set has in common: settings that can load it."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Self

from zslcore.datasets.dataset import Dataset
from zslcore.settings import Section


class Source(Section, ABC):
    """Settings of one way to get a data set, as they stand in data/<name>.yaml under `source`.

    Immutable; unknown settings are refused. Paths are relative to the project (absolute ones are taken as they are).
    The first line of a subclass's docstring and the descriptions of its fields are the help of `zsl import KIND`.
    """

    kind: ClassVar[str]
    settings_only: ClassVar[frozenset[str]] = frozenset()
    """Names of settings that stand in the data set's file alone: `zsl import` has no option for them."""
    downloads: ClassVar[str] = ""
    """Where data sets of this kind can be downloaded, for the help of `zsl import`."""

    @abstractmethod
    def load(self, name: str, root: Path) -> Dataset:
        """Read and check the data set, calling it `name`; root: folder of the project.

        Raises ZSLError naming the file, what is wrong with it and what to do.
        """

    def files(self) -> tuple[Path, ...]:
        """Paths of the tables it reads, relative to the project; their hashes are stored with the data set."""
        return ()

    def sheet(self) -> bytes | None:
        """A picture (PNG) that shows every class, for the report; None where the source draws none itself."""
        return None

    def with_found_files(self, root: Path) -> Self:
        """The same settings, with the files that `load` would find without being given their paths. root: as there."""
        return self
