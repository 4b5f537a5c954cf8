import numpy as np
import pytest

from zslcore.nn.blocks import apply_in_blocks


@pytest.mark.parametrize(("rows", "sizes"), [(0, [0]), (1, [1]), (4, [4]), (5, [4, 1]), (8, [4, 4])])
def test_every_row_once_in_order_and_no_more_than_a_block_at_a_time(rows: int, sizes: list[int]) -> None:
    x = np.arange(3 * rows, dtype=np.float32).reshape(rows, 3)
    seen: list[int] = []

    def double(block: np.ndarray) -> np.ndarray:
        seen.append(len(block))
        return 2 * block[:, :2]

    np.testing.assert_array_equal(apply_in_blocks(double, x, 4), 2 * x[:, :2])
    assert seen == sizes
