"""Taking from an iterator before it is needed: what taking begins goes on meanwhile."""

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterator[T], count: int) -> Iterator[T]:
    """The same items, each given when `count` more were taken."""
    taken = deque(islice(items, count))
    for item in items:
        taken.append(item)
        yield taken.popleft()
    yield from taken
