"""Texts about classes: a table `class,text`, JSON, or a folder of text files."""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zslcore.errors import ZSLError, nearest, printable, some
from zslcore.io.tables import clean, read_rows
from zslcore.signatures.names import readable

LONGEST = 100_000
"""Characters of a text: forty pages."""
LARGEST = 2**26
"""Bytes of a file of texts."""
FORMS = 'a table `class,text`, JSON {"class": ["text", ...]}, or a folder with a <class>.txt for each class'


@dataclass(frozen=True)
class ClassTexts:
    """What is written about each class.

    where: the file or folder, for messages. texts: class -> its texts, each of one line and not empty. names: class ->
    what it is called in a sentence; `readable` of the class where it is not there. notes: on what was left out.
    """

    where: str
    texts: Mapping[str, tuple[str, ...]]
    names: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def name(self, known: str) -> str:
        """What a class is called in a sentence."""
        return self.names.get(known) or readable(known)


def read_texts(path: Path) -> ClassTexts:
    """Read texts in any of FORMS; in a folder each line of a file is a text.

    JSON may also hold {"class": {"name": "what it is called", "texts": [...]}}.
    An empty text among others is left out, with a note. Raises ZSLError naming the file, the class and what is wrong:
    no text, only empty ones, one that is longer than LONGEST or has control characters.
    """
    names: dict[str, str] = {}
    texts: dict[str, list[str]] = {}
    if path.is_dir():
        texts = {clean(file.stem): _file(file).splitlines() for file in sorted(path.glob("*.txt"))}
        texts = {known: [line for line in lines if line.strip()] for known, lines in texts.items()}
    elif path.suffix.lower() == ".json":
        texts, names = _json(path)
    else:
        for known, text in _table(path):
            texts.setdefault(known, []).append(text)
    if not texts:
        raise ZSLError(f"{path}: no texts; write {FORMS}")
    good = {known: checked(known, some, path) for known, some in texts.items()}
    empty = [known for known, some in texts.items() if len(good[known]) < len(some)]
    first = f"{path}: empty texts of {len(empty)} classes ({', '.join(empty[:5])}) are left out"
    return ClassTexts(str(path), good, names, (first,) if empty else ())


def checked(known: str, texts: Iterable[str], where: Path | str) -> tuple[str, ...]:
    """The texts of a class with a word in them, each on one line; where: the file. Raises ZSLError as `read_texts`."""
    good, number = [], 0
    for number, text in enumerate(texts, 1):
        what = f"{where}: class {known!r}, text {number}"
        if len(text) > LONGEST:
            raise ZSLError(f"{what}: {len(text):,} characters, {LONGEST:,} at most; write what sets the class apart")
        line = " ".join(unicodedata.normalize("NFC", text).split())
        if strange := [letter for letter in line if unicodedata.category(letter) in ("Cc", "Cs")]:
            raise ZSLError(f"{what}: holds the control character {printable(strange[0])}; remove it")
        if re.search(r"\w", line):
            good.append(line)
    if not good:
        empty = "only an empty text" if number else "no text"
        raise ZSLError(f"{where}: class {known!r} has {empty}; write one at least")
    return tuple(good)


def _table(path: Path) -> Iterator[tuple[str, str]]:
    try:
        rows = read_rows(path)
        _, header = next(rows)
        if [name.lower() for name in header] != ["class", "text"]:
            raise ZSLError(f"{path}: the header is {','.join(header)[:80]}, expected class,text; or give {FORMS}")
        yield from ((cells[0], cells[1]) for _, cells in rows)
    except ZSLError as error:
        if "cells, the header" in str(error):
            raise ZSLError(f'{error}: a text with commas stands in quotes ("...")') from error
        raise


def _json(path: Path) -> tuple[dict[str, list[str]], dict[str, str]]:
    try:
        raw = json.loads(_file(path))
    except (ValueError, RecursionError) as error:
        raise ZSLError(f"{path}: not valid JSON ({error}); write {FORMS}") from error
    if not isinstance(raw, dict):
        raise ZSLError(f"{path}: holds a {type(raw).__name__}; write {FORMS}")
    texts, names = {}, {}
    for key, value in raw.items():
        known = clean(key)
        if isinstance(value, dict):
            names[known] = str(value.get("name", ""))
            value = value.get("texts")
        texts[known] = _strings(path, known, value)
    return texts, names


def _strings(path: Path, known: str, value: Any) -> list[str]:
    some = [value] if isinstance(value, str) else value
    if not isinstance(some, list) or not all(isinstance(text, str) for text in some):
        raise ZSLError(f"{path}: class {known!r}: expected a text or a list of texts; write {FORMS}")
    return some


def _file(path: Path) -> str:
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise ZSLError(f"{path}: {size:,} bytes, {LARGEST:,} at most; check that it is the right file")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ZSLError(f"{path}: cannot be read ({error.strerror}); give {FORMS}") from error
    except UnicodeDecodeError as error:
        raise ZSLError(f"{path}: not text in UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error


def for_classes(texts: ClassTexts, classes: Iterable[str]) -> tuple[ClassTexts, list[str]]:
    """The texts of these classes, and a note where others are left out. Raises ZSLError for a class without text."""
    wanted = list(classes)
    if lacking := [known for known in wanted if clean(known) not in texts.texts]:
        near = nearest(lacking[0], [known for known in texts.texts if known not in wanted])
        hint = f" (there is {near!r})" if near else ""
        raise ZSLError(f"{texts.where}: no text for {some(lacking)}{hint}; write one at least for each class")
    spare = sorted(set(texts.texts) - set(map(clean, wanted)))
    notes = [
        *texts.notes,
        *([f"{texts.where}: texts of classes not in use are left out: {some(spare)}"] if spare else []),
    ]
    kept = {known: texts.texts[clean(known)] for known in wanted}
    names = {known: texts.names[clean(known)] for known in wanted if texts.names.get(clean(known))}
    return ClassTexts(texts.where, kept, names), notes
