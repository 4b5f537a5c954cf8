"""Feature scaling, fitted on training rows only and reused everywhere; means by class."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from zslcore.errors import ZSLError, unknown
from zslcore.io.rows import Rows, blocks, map_rows
from zslcore.nn.blocks import apply_in_blocks

Scaling = Literal["none", "standard", "root", "minmax", "max", "l2", "sphere", "centred", "centred_sphere", "power"]

ROWS = 8192
"""That are scaled at a time."""
AT_ONCE = 2**24
"""Values that are in float64 at a time while a scaler is fitted."""


@dataclass(frozen=True)
class Scaler:
    """x -> (x - shift) * factor, of sign(x)·√|x| for `root` and `power`; rows of `_LENGTHS` to one length, last.

    shift, factor: (d,) float32, or empty where the scaling keeps no statistics.
    """

    scaling: Scaling
    shift: NDArray[np.float32]
    factor: NDArray[np.float32]

    @classmethod
    def fit(cls, features: NDArray[np.float32], scaling: Scaling) -> Self:
        """Fit on (n, d) training features.

        standard: zero mean, unit variance a dimension; root: the same of sign(x)·√|x|, which suits the long tails of
        rectified features; minmax: each dimension to [0, 1]; max: divided by the largest absolute value of all; l2:
        each row to length 1; sphere: each row to length √d; centred: each row less the mean of the rows, to length 1
        (centred_sphere: √d), so that rows differ by their direction from the mean alone; power: each row of
        sign(x)·√|x| to length 1, then as centred; none: as it is. Constant dimensions become 0.
        """
        if scaling not in _STATISTICS:
            raise unknown("scaling", scaling, _STATISTICS)
        fit = _fit_by_rows if isinstance(features, Rows) else _fit_by_columns if scaling in _BY_COLUMN else _fit
        shift, spread = fit(features, scaling)
        factor = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-12)
        return cls(scaling, shift.astype(np.float32), factor.astype(np.float32))

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale (n, d) features; float32. Raises ZSLError, with their number, for rows that overflow float32."""
        if isinstance(features, Rows):
            return map_rows(features, self)
        scaled = apply_in_blocks(self._scale, features, ROWS)
        bad = ~apply_in_blocks(_finite, scaled, ROWS)
        if bad.any():
            raise ZSLError(
                f"{bad.sum()} of {len(bad)} rows of values overflow when they are scaled by '{self.scaling}' (up to "
                f"{np.abs(features[bad]).max():.3g}, the first is row {bad.argmax()}, counted from 0); look for "
                "damaged values there, or divide all of them by a constant"
            )
        return scaled

    def _scale(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        with np.errstate(over="ignore", invalid="ignore"):
            rows = _before(self.scaling, rows.astype(np.float32, copy=False))
            if len(self.factor):
                rows = (rows - self.shift) * self.factor
            if length := self.length(rows.shape[1]):
                rows = _to_length(rows, length)
        return rows

    def length(self, width: int) -> np.float32 | None:
        """The length that rows of so many numbers get; None where they stay as long as they are."""
        return _LENGTHS[self.scaling](width) if self.scaling in _LENGTHS else None

    def places(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps (n, places, d), scaled so that the mean over places is the scaled mean of the unscaled ones.

        Raises ZSLError for `root` and `power`: their scaled mean is no mean over places.
        """
        if self.scaling in ("root", "power"):
            raise ZSLError(f"features scaled by '{self.scaling}' are no mean over places; use another scaling")
        rows = maps.astype(np.float32, copy=False)
        if len(self.factor):
            rows = (rows - self.shift) * self.factor
        if length := self.length(rows.shape[2]):
            lengths = np.linalg.norm(rows.mean(axis=1), axis=1)[:, None, None]
            rows = rows * (length / np.maximum(lengths, 1e-12))
        return rows

    def state(self, prefix: str = "scaler.") -> dict[str, NDArray[np.float32]]:
        """Named arrays for saving; the scaling itself stands in the settings."""
        return {f"{prefix}shift": self.shift, f"{prefix}factor": self.factor}

    @classmethod
    def from_state(cls, scaling: Scaling, state: Mapping[str, NDArray[Any]], prefix: str = "scaler.") -> Self:
        """The scaler that `state` described."""
        return cls(scaling, state[f"{prefix}shift"], state[f"{prefix}factor"])


_Float = TypeVar("_Float", np.float32, np.float64)
_Pair = tuple[NDArray[np.float64], NDArray[np.float64]]
_EMPTY = np.empty(0)


def _fit(features: NDArray[np.float32], scaling: Scaling) -> _Pair:
    return _STATISTICS[scaling](_before(scaling, features.astype(np.float64)))


def _fit_by_columns(features: NDArray[np.float32], scaling: Scaling) -> _Pair:
    """`_fit` of a few columns at a time, to the same bytes, so that only these are in float64 at once."""
    parts = np.array_split(np.arange(features.shape[1]), max(1, features.size // AT_ONCE))
    pairs = [_fit(features[:, part[0] : part[-1] + 1], scaling) for part in parts if len(part)]
    shift, spread = (np.concatenate(each) for each in zip(*pairs, strict=True))
    return shift, spread


def _fit_by_rows(features: NDArray[np.float32], scaling: Scaling) -> _Pair:
    """`_fit` of a block of rows at a time, in one pass, up to rounding."""
    if _STATISTICS[scaling] is _nothing:
        return _EMPTY, _EMPTY
    count, mean, squares, low, high = 0, np.zeros(1), np.zeros(1), np.full(1, np.inf), np.full(1, -np.inf)
    for (block,) in blocks(features):
        x = _before(scaling, block.astype(np.float64))
        total, apart = count + len(x), x.mean(axis=0) - mean
        squares = squares + x.var(axis=0) * len(x) + apart**2 * (count * len(x) / total)  # about the mean
        mean, count = mean + apart * (len(x) / total), total
        low, high = np.minimum(low, x.min(axis=0)), np.maximum(high, x.max(axis=0))
    if scaling == "max":
        return np.zeros(len(mean)), np.full(len(mean), max(-low.min(), high.max()))
    if scaling == "minmax":
        return low, high - low
    return mean, np.sqrt(squares / count) if _STATISTICS[scaling] is _standard else np.ones(len(mean))


def _finite(rows: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(rows).all(axis=1))


def _before(scaling: Scaling, x: NDArray[_Float]) -> NDArray[_Float]:
    if scaling not in ("root", "power"):
        return x
    roots: NDArray[_Float] = np.sign(x) * np.sqrt(np.abs(x))
    return _to_length(roots) if scaling == "power" else roots


def _to_length(x: NDArray[_Float], length: float | np.float32 = 1.0) -> NDArray[_Float]:
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    # an infinite norm, of finite values, would make a row of zeros
    return x * np.where(np.isinf(norms), np.nan, length / np.maximum(norms, 1e-12)).astype(x.dtype)


def _standard(x: NDArray[np.float64]) -> _Pair:
    return x.mean(axis=0), x.std(axis=0)


def _mean(x: NDArray[np.float64]) -> _Pair:
    return x.mean(axis=0), np.ones(x.shape[1])


def _minmax(x: NDArray[np.float64]) -> _Pair:
    return x.min(axis=0), np.ptp(x, axis=0)


def _max(x: NDArray[np.float64]) -> _Pair:
    return np.zeros(x.shape[1]), np.full(x.shape[1], np.abs(x).max())


def _nothing(x: NDArray[np.float64]) -> _Pair:
    return _EMPTY, _EMPTY


_STATISTICS = {
    "none": _nothing,
    "standard": _standard,
    "root": _standard,
    "minmax": _minmax,
    "max": _max,
    "l2": _nothing,
    "sphere": _nothing,
    "centred": _mean,
    "centred_sphere": _mean,
    "power": _mean,
}
_BY_COLUMN = ("standard", "root", "minmax", "centred", "centred_sphere")
"""Scalings whose statistics of a dimension need no other one."""
_LENGTHS: dict[str, Callable[[int], np.float32]] = {
    **dict.fromkeys(("l2", "centred", "power"), lambda dimensions: np.float32(1)),
    **dict.fromkeys(("sphere", "centred_sphere"), lambda dimensions: np.sqrt(np.float32(dimensions))),
}


def class_means(features: NDArray[Any], labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """(n, d) -> (classes, d) float64: the mean of each class's rows; every class needs one."""
    sums = np.zeros((classes, features.shape[1]))
    for block, of_block in blocks(features, labels):
        add_by_class(sums, block, of_block)
    return sums / np.bincount(labels, minlength=classes)[:, None]


def add_by_class(sums: NDArray[np.float64], rows: NDArray[Any], labels: NDArray[np.int64]) -> None:
    """Add rows (n, d) to the sums (classes, d) of their classes."""
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(len(sums) + 1))
    for k in np.unique(labels):
        sums[k] += rows[order[starts[k] : starts[k + 1]]].sum(axis=0, dtype=np.float64)
