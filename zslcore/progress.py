"""Progress of anything that takes longer than two seconds: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 15.0
CONSOLE = Console(stderr=True)
"""One for all, so that a bar within another's time stands below it: two consoles would overwrite each other's line."""
T = TypeVar("T")


class Advance(Protocol):
    """Called with the number of items just done, and what to say beside it; with 0, of what is begun."""

    def __call__(self, count: int = 1, note: str = "") -> None: ...


def unsaid(count: int = 1, note: str = "") -> None:
    """Progress that nobody follows."""


@contextmanager
def progress(description: str, total: int, unit: str = "") -> Iterator[Advance]:
    """Yield a function to call as items are done; unit: what the items are, to show how many a second."""
    started = last = time.monotonic()
    done = 0

    def said(note: str) -> str:
        rate = f"{done / max(time.monotonic() - started, 1e-9):.1f} {unit}/s" if unit else ""
        return ", ".join(filter(None, (rate, note)))

    if CONSOLE.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, TextColumn("{task.fields[said]}"), console=CONSOLE, transient=True) as bar:
            task = bar.add_task(description, total=total, said="")

            def advance(count: int = 1, note: str = "") -> None:
                nonlocal done
                done += count
                bar.update(task, advance=count, said=said(note))

            yield advance
        return

    def plain(count: int = 1, note: str = "") -> None:
        nonlocal last, done
        done += count
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            left = f"{(now - started) / done * max(total - done, 0):.0f} s left" if done else ""
            line = ", ".join(filter(None, (f"{description}: {done}/{total}", left, said(note))))
            print(line, file=sys.stderr, flush=True)

    yield plain


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Iterate over `items` with progress."""
    with progress(description, total) as advance:
        for item in items:
            yield item
            advance(1)
