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
    return np.concatenate([function(x[start : start + block]) for start in range(0, max(len(x), 1), block)])  # type: ignore[return-value]
