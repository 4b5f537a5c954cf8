"""Classes whose signatures coincide are found by name, however many there are."""

import re

import numpy as np
import pytest

from zslcore.errors import ZSLError
from zslcore.methods.base import check_distinct


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("nearer", [0.0, 0.3])
def test_rows_at_most_so_far_apart_are_found_as_by_looking_at_every_pair(seed: int, nearer: float) -> None:
    random = np.random.default_rng(seed)
    rows = random.random((40, 5)).astype(np.float32)
    rows[[7, 30]] = rows[21]
    gaps = np.linalg.norm(rows[:, None].astype(float) - rows, axis=2)
    np.fill_diagonal(gaps, np.inf)
    first = int(np.flatnonzero((gaps <= nearer).any(1))[0])
    expected = [first, *np.flatnonzero(gaps[first] <= nearer)][:5]
    with pytest.raises(ZSLError, match=re.escape(", ".join(f"number {row}" for row in expected) + " coincide")):
        check_distinct(rows, nearer=nearer)


def test_rows_a_little_further_apart_are_distinct() -> None:
    rows = np.array([[0.0, 0.0], [0.3, 0.4], [1.0, 1.0]], np.float32)
    check_distinct(rows, nearer=0.499)
    with pytest.raises(ZSLError, match="number 0, number 1"):
        check_distinct(rows, nearer=0.501)
    check_distinct(np.zeros((1, 3)))
