from collections.abc import Iterator

import pytest

from zslcore.features.prefetch import prefetch


@pytest.mark.parametrize("count", [0, 1, 3, 9])
def test_items_are_given_in_order_when_more_were_taken(count: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(5):
            taken.append(number)
            yield number

    for given, item in enumerate(prefetch(items(), count)):
        assert item == given
        assert len(taken) == min(given + 1 + count, 5)
    assert len(taken) == 5
