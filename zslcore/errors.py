"""The one error that is meant for people."""

from collections.abc import Iterable
from difflib import get_close_matches


class ZSLError(Exception):
    """Something the user can put right: the message names the file, what is wrong and what to do.

    The command line prints it without a traceback and exits with 1.
    """


def unknown(kind: str, name: str, known: Iterable[str], most: int = 50) -> ZSLError:
    """An error for a name that is not in a registry, with the nearest known name and up to `most` of them.

    >>> str(unknown("method", "ezsl", ["eszsl", "sae"]))
    "unknown method 'ezsl': did you mean 'eszsl'? Known: eszsl, sae"
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ZSLError(f"unknown {kind} '{name}': {hint}Known: {', '.join(names[:most])}{more}")
