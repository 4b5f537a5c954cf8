"""Rows through a function in blocks, so that memory does not grow with their number; importable without torch."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Rows = TypeVar("Rows", bound=NDArray[Any])


def apply_in_blocks(function: Callable[[NDArray[np.float32]], Rows], x: NDArray[np.float32], block: int) -> Rows:
    """`function` of every row: x (n, d) -> (n, ...), called on at most `block` rows at a time.

    Without rows it is called once, on (0, d), so that the shape of the result is right.
    """
    first = function(x[:block])
    if len(x) <= block:
        return first
    whole: Any = np.empty((len(x), *first.shape[1:]), first.dtype)
    whole[:block] = first
    for start in range(block, len(x), block):
        whole[start : start + block] = function(x[start : start + block])
    return whole  # type: ignore[no-any-return]
