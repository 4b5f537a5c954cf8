"""Rows through a function in blocks, so that memory does not grow with their number; importable without torch."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from zslcore.io.rows import SCORES, Rows, collect

Out = TypeVar("Out", bound=NDArray[Any])


def apply_in_blocks(function: Callable[[NDArray[np.float32]], Out], x: NDArray[np.float32], block: int) -> Out:
    """`function` of every row: x (n, d) -> (n, ...), called on at most `block` rows at a time.

    Without rows it is called once, on (0, d), so that the shape of the result is right. Of `Rows` the result is not in
    memory either, where it is large (`io.rows.collect`).
    """
    if isinstance(x, Rows):
        starts = range(0, max(len(x), 1), block)
        found: Any = collect((function(np.asarray(x[start : start + block])) for start in starts), len(x), SCORES)
        return found  # type: ignore[no-any-return]
    first = function(x[:block])
    if len(x) <= block:
        return first
    whole: Any = np.empty((len(x), *first.shape[1:]), first.dtype)
    whole[:block] = first
    for start in range(block, len(x), block):
        whole[start : start + block] = function(x[start : start + block])
    return whole  # type: ignore[no-any-return]
