"""Progress of anything that takes longer than two seconds: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing import parent_process
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

SECONDS_BETWEEN_LINES = 15.0
CONSOLE = Console(stderr=True)
"""Shared by all bars, so that a bar inside another is drawn below it: two consoles would overwrite each other."""
T = TypeVar("T")


class Advance(Protocol):
    """Counts `count` more items as done and shows `note` after the counts; count 0 shows the note alone."""

    def __call__(self, count: int = 1, note: str = "") -> None: ...


def no_progress(count: int = 1, note: str = "") -> None:
    """Show nothing: the default where the caller gives no progress."""


@contextmanager
def progress(description: str, total: int, unit: str = "") -> Iterator[Advance]:
    """Yield a function that counts finished items. unit: what the items are called in the rate; "" shows no rate.

    A worker process shows nothing: the process that started it has one bar for all.
    """
    if parent_process() is not None:
        yield no_progress
        return
    started = last = time.monotonic()
    done = 0

    def details(note: str) -> str:
        rate = f"{done / max(time.monotonic() - started, 1e-9):.1f} {unit}/s" if unit else ""
        return ", ".join(filter(None, (rate, note)))

    if CONSOLE.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        with Progress(*columns, *times, TextColumn("{task.fields[details]}"), console=CONSOLE, transient=True) as bar:
            task = bar.add_task(description, total=total, details="")

            def advance(count: int = 1, note: str = "") -> None:
                nonlocal done
                done += count
                bar.update(task, advance=count, details=details(note))

            yield advance
        return

    def plain(count: int = 1, note: str = "") -> None:
        nonlocal last, done
        done += count
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            left = f"{(now - started) / done * max(total - done, 0):.0f} s left" if done else ""
            line = ", ".join(filter(None, (f"{description}: {done}/{total}", left, details(note))))
            print(line, file=sys.stderr, flush=True)

    yield plain


Epoch = Callable[[Mapping[str, float]], None]
"""Gets the mean of each loss term over an epoch that is done."""
_follower: ContextVar[Epoch | None] = ContextVar("follower", default=None)


@contextmanager
def following(epoch: Epoch) -> Iterator[None]:
    """Within it, `epoch` gets the figures of each epoch that is trained in this thread."""
    token = _follower.set(epoch)
    try:
        yield
    finally:
        _follower.reset(token)


def epoch_done(means: Mapping[str, float]) -> None:
    """Show the mean of each loss term over an epoch to whoever follows the training; most often nobody."""
    if (follower := _follower.get()) is not None:
        follower(means)


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Iterate over `total` items and show progress."""
    with progress(description, total) as advance:
        for item in items:
            yield item
            advance(1)
