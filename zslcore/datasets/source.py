"""What every way to get a data set has in common: settings that can load it."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Self

from zslcore.datasets.dataset import Dataset
from zslcore.settings import Section


class Source(Section, ABC):
    """Settings of one way to get a data set, as they stand in params.yaml under `sources.<name>`.

    Immutable; unknown settings are refused. Paths are relative to the project (absolute ones are taken as they are).
    """

    kind: ClassVar[str]

    @abstractmethod
    def load(self, name: str, root: Path) -> Dataset:
        """Read and check the data set, calling it `name`; root: folder of the project.

        Raises ZSLError naming the file, what is wrong with it and what to do.
        """

    def files(self) -> tuple[Path, ...]:
        """The tables it reads, relative to the project; their hashes are stored with the data set."""
        return ()

    def sheet(self) -> bytes | None:
        """A picture (PNG) that shows every class, for the report; None where the source draws none itself."""
        return None

    def named(self, root: Path) -> Self:
        """The same settings with every file named that would else be found by itself."""
        return self
