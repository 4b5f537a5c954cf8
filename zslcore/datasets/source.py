"""What every way to get a data set has in common: settings that can load it."""

from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field, field_validator

from zslcore.datasets.dataset import Dataset, sources_of
from zslcore.datasets.described import Described
from zslcore.errors import ZSLError
from zslcore.settings import Section
from zslcore.signatures.compose import GIVEN

MatchNames = Annotated[
    bool,
    Field(description="Match names of classes that differ in case, signs or a number in front; what matched is said."),
]
TestShare = Annotated[float, Field(gt=0, lt=1, description="Part of each seen class's images that is test_seen.")]
SplitSeed = Annotated[int, Field(ge=0, description="Seed that draws the test_seen images.")]
SplitName = Annotated[str | None, Field(description="What results call the split; default: own split.")]


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
    call: str | None = Field(
        None,
        description="What given signatures are, where not attributes, say sentences: these have tables of their own.",
    )
    described: dict[str, Described] = Field({}, description="Further signatures by name; `zsl signatures` adds them.")

    @field_validator("call")
    @classmethod
    def _is_a_word(cls, call: str | None) -> str | None:
        if call is not None and not call.isidentifier():
            raise ValueError("use letters, digits and _")
        return call

    @abstractmethod
    def load(self, name: str, root: Path) -> Dataset:
        """Read and check the data set, calling it `name`; root: folder of the project.

        Raises ZSLError naming the file, what is wrong with it and what to do.
        """

    def dataset(self, name: str, root: Path) -> Dataset:
        """What `load` gives, with the name `call` and the signatures of `described`. Raises ZSLError as `load` does."""
        data = self.load(name, root)
        sources, notes = dict(sources_of(data)), list(data.notes)
        if self.call is not None:
            sources = {self.call if known == GIVEN else known: source for known, source in sources.items()}
        is_seen = np.isin(np.arange(len(data.classes)), data.seen).tolist()
        for called, one in self.described.items():
            if called in sources:
                raise ZSLError(f"data set '{name}': signatures '{called}' are there already; give another name")
            sources[called], more = one.load(root, data.classes, is_seen)
            notes += more
        if list(sources) == [GIVEN]:
            return data
        return replace(data, sources=sources, notes=tuple(notes))

    def all_files(self) -> tuple[Path, ...]:
        """`files`, and those of `described`."""
        return (*self.files(), *(one.file for one in self.described.values()))

    def files(self) -> tuple[Path, ...]:
        """Paths of the tables it reads, relative to the project; their hashes are stored with the data set."""
        return ()

    def sheet(self) -> bytes | None:
        """A picture (PNG) that shows every class, for the report; None where the source draws none itself."""
        return None

    def with_found_files(self, root: Path) -> Self:
        """The same settings, with the files that `load` would find without being given their paths. root: as there."""
        return self
