"""Names of classes in files that people write: which class each means, and how many names a message shows."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from zslcore.errors import ZSLError, letters, nearest, some


class Meant:
    """Gives for a name in a file the class it means: the one so called.

    near: with it, also the one class that differs only in case, in spaces, signs and underscores, or by a number in
    front. `notes` says what was matched so.
    """

    def __init__(self, path: Path, classes: Iterable[str], near: bool) -> None:
        self.path, self.classes = path, set(classes)
        self.matched: dict[str, str] = {}
        self._alike: dict[str, list[str]] = {}
        for known in sorted(self.classes) if near else ():
            self._alike.setdefault(letters(known), []).append(known)

    def __call__(self, name: str) -> str:
        """The class, or the name itself where it means none. Raises ZSLError where it may mean several."""
        alike = [] if name in self.classes else self._alike.get(letters(name), [])
        if len(alike) > 1:
            raise ZSLError(f"{self.path}: {name!r} may be {some(alike)}; write the one that is meant")
        if alike:
            self.matched[name] = alike[0]
        return alike[0] if alike else name

    def all(self, names: Sequence[str]) -> tuple[str, ...]:
        """The classes that different names mean. Raises ZSLError where two mean one."""
        first: dict[str, str] = {}
        for name in names:
            if (known := self(name)) in first:
                raise ZSLError(f"{self.path}: {first[known]!r} and {name!r} are both class {known!r}; leave one")
            first[known] = name
        return tuple(first)

    def notes(self) -> list[str]:
        """What was matched, all of it: a near name may be another class."""
        lines = "".join(f"\n  {name!r} is class {known!r}" for name, known in self.matched.items())
        return [f"{self.path}: {len(self.matched)} names matched, please read them:{lines}"] if lines else []


def near_names(names: Sequence[str], known: Iterable[str]) -> str:
    """What else may be meant by the first five names."""
    left = sorted(known)
    pairs = [(name, nearest(name, left)) for name in names[:5]]
    found = ", ".join(f"{other!r} for {name!r}" for name, other in pairs if other is not None)
    return f" (there is {found})" if found else ""


def by_matching(names: Sequence[str], known: Iterable[str]) -> str:
    """What to do where all of some unknown names would be found with `--match-names`."""
    alike = {letters(name) for name in known}
    return ", or give --match-names" if all(letters(name) in alike for name in names) else ""
