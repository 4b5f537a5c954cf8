"""The one error that is meant for people, and text that is safe to show them."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

LONGEST, MOST = 200, 10_000
"""Only names so short, and so many of them, are compared: the time grows with the square of the length."""


class ZSLError(Exception):
    """Something the user can put right: the message names the file, what is wrong and what to do.

    The command line prints it without a traceback and exits with 1.
    """


class BadFile(ZSLError):
    """A file of the project's own kinds that cannot be used: missing, damaged, or of another kind.

    path: the file. problem: what is wrong. stage: the step that writes it, empty where it is not known. remedy: what to
    do, where that is not to run the step.
    """

    def __init__(self, path: Path, problem: str, stage: str = "", remedy: str = "") -> None:
        self.path, self.problem, self.stage, self.remedy = path, problem, stage, remedy
        by = f", by the step `{stage}`" if stage else ""
        super().__init__(f"{path}: {problem}; {remedy or f'write it once more{by}'}")

    def __reduce__(self) -> tuple[Any, ...]:
        """From a worker process: the parts, which the message alone would not give back."""
        return type(self), (self.path, self.problem, self.stage, self.remedy)


class StaleFile(BadFile):
    """A file that was made of something else than what lies there now: earlier steps may have to run, too."""


def unknown(kind: str, name: str, known: Iterable[str], most: int = 50) -> ZSLError:
    """An error for a name that is not in a registry, with the nearest known name and up to `most` of them.

    >>> str(unknown("method", "ezsl", ["eszsl", "sae"]))
    "unknown method 'ezsl': did you mean 'eszsl'? Known: eszsl, sae"
    """
    names = sorted(known)
    near = nearest(name, names)
    hint = f"did you mean '{near}'? Known" if near else "known"
    return ZSLError(f"unknown {kind} '{name}': {hint}: {abridged(names, most)}")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like this one; of those that differ in case, signs and a number before them, the first.

    >>> nearest("Black-footed Albatross", ["001.Black_footed_Albatross", "002.Laysan_Albatross"])
    '001.Black_footed_Albatross'
    """
    likely = [other for other in known if len(other) <= LONGEST][:MOST] if len(name) <= LONGEST else []
    same = next((other for other in likely if letters(other) == letters(name)), None)
    return same or next(iter(get_close_matches(name, likely, n=1)), None)


def abridged(names: Iterable[str], most: int = 5) -> str:
    """The first `most` names, and how many more there are.

    >>> abridged(["ant", "bee", "cow"], 2)
    'ant, bee and 1 more'
    """
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def some(names: Iterable[str]) -> str:
    """The first five names, each in quotes, and how many more there are."""
    return abridged(map(repr, names))


def letters(name: str) -> str:
    """Of a name, what people mean by it: without case, spaces, signs and a number in front.

    >>> letters("001.Black_footed_Albatross"), letters("Black-footed albatross"), letters("007")
    ('blackfootedalbatross', 'blackfootedalbatross', '007')
    """
    plain = re.sub(r"[\W_]+", "", name.casefold())
    return plain.lstrip("0123456789") or plain


def first_line(error: BaseException) -> str:
    """The first line of what an error says; the name of its kind where it says nothing.

    >>> first_line(ValueError("bad\\nand more")), first_line(KeyError())
    ('bad', 'KeyError')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def printable(value: Any) -> str:
    """One line of text that cannot steer a terminal."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in str(value)
    )
