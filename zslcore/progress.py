"""Progress of anything that takes longer than two seconds: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 15.0
T = TypeVar("T")


@contextmanager
def progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of items just done."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(description, total=total)

            def advance(count: int = 1) -> None:
                bar.advance(task, count)

            yield advance
        return
    started = last = time.monotonic()
    done = 0

    def plain(count: int = 1) -> None:
        nonlocal last, done
        done += count
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            left = (now - started) / done * max(total - done, 0)
            print(f"{description}: {done}/{total}, {left:.0f} s left", file=sys.stderr, flush=True)

    yield plain


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Iterate over `items` with progress."""
    with progress(description, total) as advance:
        for item in items:
            yield item
            advance(1)
