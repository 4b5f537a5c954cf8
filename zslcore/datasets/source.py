"""What every way to get a data set has in common: settings that can load it."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from zslcore.datasets.dataset import Dataset


class Source(BaseModel, ABC):
    """Settings of one way to get a data set, as they stand in params.yaml under `sources.<name>`.

    Immutable; unknown settings are refused. Paths are relative to the project (absolute ones are taken as they are).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: ClassVar[str]

    @abstractmethod
    def load(self, name: str, root: Path) -> Dataset:
        """Read and check the data set, calling it `name`; root: folder of the project.

        Raises ZSLError naming the file, what is wrong with it and what to do.
        """

    def files(self) -> tuple[Path, ...]:
        """The tables it reads, relative to the project; their hashes are stored with the data set."""
        return ()
