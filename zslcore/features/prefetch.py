"""Taking items from an iterator before they are needed."""

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def prefetch(items: Iterator[T], count: int) -> Iterator[T]:
    """Yield the items in order, each after `count` later ones were taken from the iterator.

    What taking an item starts, such as a download in another thread, goes on while the earlier ones are used.
    """
    taken = deque(islice(items, count))
    for item in items:
        taken.append(item)
        yield taken.popleft()
    yield from taken
