"""Texts of classes to signatures: templates, an encoder, the mean over texts, and what was done, for the record."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from string import Formatter
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from zslcore.errors import ZSLError
from zslcore.settings import Section
from zslcore.signatures.encoders import MINILM, Encoder, load
from zslcore.signatures.source import Source
from zslcore.signatures.texts import ClassTexts

PARTS = frozenset({"name", "text"})
ENGLISH_ONLY = frozenset({MINILM})


class Recipe(Section):
    """How texts become signatures."""

    encoder: str = Field(
        MINILM, description="tfidf, clip:MODEL, or a model of sentence-transformers by its name or folder"
    )
    templates: tuple[str, ...] = Field(
        ("{text}",), min_length=1, description="what the encoder reads: {name} is the class's name, {text} a text"
    )
    pool: Literal["mean", "whole"] = Field(
        "mean", description="mean: of the vectors of a class's texts; whole: its texts are read as one"
    )
    without_first: bool = Field(
        False, description="take off the first principal direction of the seen classes, which all texts share"
    )

    @field_validator("templates")
    @classmethod
    def _check_parts(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            try:
                parts = {part for _, part, form, _ in Formatter().parse(template) if part is not None}
            except ValueError as error:
                raise ValueError(f"{template!r} is no template ({error}); use {{name}} and {{text}}") from error
            if not parts or not parts <= PARTS:
                raise ValueError(f"{template!r} is no template; use {{name}} and {{text}} in it, and no other braces")
        return templates


def describe(
    texts: ClassTexts, seen: Sequence[bool], recipe: Recipe, encoder: Encoder | None = None
) -> tuple[Source, list[str]]:
    """The signature of each class, of length 1, and notes; classes in the order of `texts`.

    seen: (classes,) which are seen; what is fitted (TF-IDF, the first direction) is fitted on them. encoder: a loaded
    one that is to be used again. Raises ZSLError where the encoder is not to be had, two classes read the same, or a
    class's vector is zero.
    """
    encoder = encoder or load(recipe.encoder)
    classes = list(texts.texts)
    written = [_written(texts.name(known), texts.texts[known], recipe) for known in classes]
    _check_apart(texts, classes, written)
    notes = _language(texts, recipe)
    read = [[piece for text in some for piece in pieces(text, encoder)] for some in written]
    cut = sum(len(pieces(text, encoder)) > 1 for some in written for text in some)
    if cut:
        notes.append(f"{texts.where}: {cut} texts are longer than {recipe.encoder} reads; cut into sentences")
    encoder.fit([text for some, known in zip(read, seen, strict=True) if known for text in some])
    vectors = _unit(encoder.encode([text for some in read for text in some]).astype(np.float64))
    ends = np.cumsum([len(some) for some in read])
    values = _unit(np.stack([part.mean(axis=0) for part in np.split(vectors, ends[:-1])]))
    if recipe.without_first:
        first = np.linalg.svd(values[np.asarray(seen, bool)], full_matrices=False)[2][0]
        values = _unit(values - np.outer(values @ first, first))
    if len(empty := np.flatnonzero(np.linalg.norm(values, axis=1) < 0.5)):
        raise ZSLError(
            f"{texts.where}: {recipe.encoder} finds nothing to know class {classes[empty[0]]!r} by: none of its words "
            "is in the texts of seen classes; use their words, or a pretrained encoder"
        )
    said = {known: [texts.name(known), *texts.texts[known]] for known in classes}
    about = {
        "recipe": recipe.model_dump(mode="json"),
        "fingerprint": encoder.fingerprint,
        "texts_sha256": hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest(),
        "sentences": int(ends[-1]),
        "names": [texts.name(known) for known in classes],
        "seen": [bool(known) for known in seen],
    }
    return Source(values.astype(np.float32), about, tuple(texts.texts.values())), notes


def describe_new(source: Source, texts: ClassTexts) -> NDArray[np.float32]:
    """Signatures (new classes, a) float32 of classes that come later, made as `source` was.

    Raises ZSLError for a source that is not of texts, and where the encoder is not the one it was made with.
    """
    if not source.texts:
        raise ZSLError("these signatures are numbers that were given, not made of texts; give numbers for a new class")
    recipe = Recipe(**source.about["recipe"])
    encoder = load(recipe.encoder)
    if encoder.fingerprint != source.about["fingerprint"]:
        raise ZSLError(
            f"encoder '{recipe.encoder}' is another one ({encoder.fingerprint[:12]}) than made the signatures "
            f"({str(source.about['fingerprint'])[:12]}); put that one back, or make the signatures once more and train"
        )
    old = {f"{row}": some for row, some in enumerate(source.texts)}
    names = dict(zip(old, source.about["names"], strict=True))
    new = {f"new {known}": some for known, some in texts.texts.items()}
    names |= {f"new {known}": texts.name(known) for known in texts.texts}
    seen = [*source.about["seen"], *(False for _ in new)]
    made, _ = describe(ClassTexts(texts.where, {**old, **new}, names), seen, recipe, encoder)
    return made.values[len(old) :]


def pieces(text: str, encoder: Encoder) -> list[str]:
    """A text as the encoder can read it: whole, else its sentences, else halves of a sentence still too long."""
    if encoder.limit is None or encoder.tokens(text) <= encoder.limit:
        return [text]
    parts = re.split(r"(?<=[.!?;。！？])\s*", text)
    parts = [part for part in parts if part]
    if len(parts) < 2:
        words = text.split()
        middle = len(words) // 2
        parts = [" ".join(words[:middle]), " ".join(words[middle:])] if middle else _halves(text)
    return [piece for part in parts for piece in pieces(part, encoder)]


def _halves(text: str) -> list[str]:
    return [text[: len(text) // 2], text[len(text) // 2 :]]


def _written(name: str, texts: Sequence[str], recipe: Recipe) -> list[str]:
    some = [" ".join(texts)] if recipe.pool == "whole" else texts
    return list(dict.fromkeys(template.format(name=name, text=text) for template in recipe.templates for text in some))


def _check_apart(texts: ClassTexts, classes: Sequence[str], written: Sequence[Sequence[str]]) -> None:
    first: dict[tuple[str, ...], str] = {}
    for known, some in zip(classes, written, strict=True):
        other = first.setdefault(tuple(some), known)
        if other != known:
            raise ZSLError(
                f"{texts.where}: classes {other!r} and {known!r} have the same text, so nothing can tell them apart; "
                "write what differs, or put {name} into the template"
            )


def _language(texts: ClassTexts, recipe: Recipe) -> list[str]:
    if Path(recipe.encoder).name not in ENGLISH_ONLY:
        return []
    strange = [
        known
        for known, some in texts.texts.items()
        if sum(letter.isalpha() and ord(letter) > 0x24F for text in some for letter in text) > 0.3 * len("".join(some))
    ]
    if not strange:
        return []
    return [
        f"{texts.where}: the texts of {len(strange)} classes ({strange[0]!r}, ...) are in another script than Latin; "
        f"{recipe.encoder} learned English: use a multilingual encoder, or tfidf"
    ]


def _unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
