"""Feature maps on disk, as an array whose numbers stay there until they are used."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
from numpy.typing import NDArray

from zslcore.datasets.dataset import skipped_rows
from zslcore.errors import ZSLError
from zslcore.io import artifacts


@dataclass(frozen=True)
class Maps:
    """Feature maps (n, h, w, c) float16 of a file: indexing by rows gives fewer of them, `np.asarray` reads them.

    It stands wherever an array of so many images would: memory does not grow with their number, and each row is checked
    against its digest whenever it is read. rows: (n,) int64 of the file, image: (h, w, c), content: that of the file.
    before: of maps that a network's last stage takes, how they were extracted (`ExtractionPlan.as_dict`); else None.
    """

    path: Path
    rows: NDArray[np.int64]
    image: tuple[int, int, int]
    content: str
    before: Mapping[str, Any] | None = None
    ndim: ClassVar[int] = 4
    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.float16)

    @classmethod
    def open(cls, path: Path, rows: NDArray[np.int64] | None = None) -> Self:
        """The maps of these rows of a features artifact, or of all.

        Raises ZSLError where it has none, and where a row asked for has none because its image was skipped.
        """
        with artifacts.open_artifact(path, artifacts.FEATURES) as file:
            if "maps" not in file:
                raise ZSLError(f"{path}: holds no feature maps; set extract.output to both, and extract again")
            source = artifacts.dataset(file, "maps", np.float16, ndim=4)
            count, *image = source.shape
            content = str(artifacts.attribute(file, "content"))
            made_by = artifacts.params_of(file).get("extract", {})
        wanted = np.arange(count) if rows is None else rows
        if missing := np.intersect1d(wanted, skipped_rows(path)).size if rows is not None else 0:
            raise ZSLError(f"{path}: {missing} images were skipped as unreadable; mend or remove them, extract again")
        before = made_by if made_by.get("output") == "before" else None
        return cls(path, wanted, (image[0], image[1], image[2]), content, before)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, h, w, c)."""
        return (len(self.rows), *self.image)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Any) -> "Maps":
        """Of some images: a slice, (k,) row numbers, or a mask (n,)."""
        return replace(self, rows=self.rows[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Read them. Raises ZSLError where the file is damaged."""
        with artifacts.open_artifact(self.path, artifacts.FEATURES) as file:
            values = artifacts.read_rows(artifacts.dataset(file, "maps", np.float16, ndim=4), self.rows)
        return values if dtype is None else values.astype(dtype, copy=False)

    def tobytes(self) -> bytes:
        """What stands for the numbers in a hash of them: the file's content, and which rows."""
        return self.content.encode() + self.rows.tobytes()


def load_maps(path: Path, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
    """`Maps.open`, where code is written for the array that it stands for."""
    return cast(NDArray[np.float32], Maps.open(path, rows))
