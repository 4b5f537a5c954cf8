"""The embedded data set: birds of invented kinds, drawn with Pillow, so that their attributes are known.

A kind (class) of bird is one value for each of the traits below. Its signature is what a field guide would tick; the
attributes of one picture are the same, each faded by how little of it can be seen there. The unseen kinds are made of
trait values that the seen kinds have, in new combinations.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import combinations
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydantic import Field

from zslcore.compute.jobs import in_order
from zslcore.datasets.birds import drawing
from zslcore.datasets.dataset import Dataset, hold_out_seen
from zslcore.datasets.source import Source
from zslcore.errors import ZSLError
from zslcore.signatures.describe import Recipe, describe
from zslcore.signatures.source import Source as Described
from zslcore.signatures.texts import ClassTexts

Traits = Mapping[str, str]

# "plain" is the absence of a mark, so it has no attribute.
TRAITS: Mapping[str, tuple[str, ...]] = {
    "back": tuple(drawing.BACK),
    "belly": tuple(drawing.BELLY),
    "breast": ("plain", "spotted", "streaked", "barred"),
    "wing": tuple(drawing.WING),
    "wing pattern": ("plain", "barred", "spotted", "scaled"),
    "head": ("plain", "red cap", "black cap", "mask", "brow", "hood"),
    "throat": ("plain", "white bib", "black bib", "russet bib", "necklace"),
    "beak": tuple(drawing.BEAKS),
    "beak colour": tuple(drawing.BEAK_COLOUR),
    "tail": ("short", "long", "forked", "fan"),
    "tail tip": ("plain", "pale"),
    "crest": ("plain", "pointed", "fan", "plume"),
    "eye": ("plain", "ringed", "golden"),
    "legs": ("short", "long"),
    "leg colour": tuple(drawing.LEG_COLOUR),
    "size": tuple(drawing.SIZES),
    "build": tuple(drawing.BUILDS),
}
ATTRIBUTES: tuple[tuple[str, str], ...] = tuple((t, v) for t, values in TRAITS.items() for v in values if v != "plain")

# For the names. A trait or value that is not here is not worth a word.
NOUNS: Mapping[str, Mapping[str, str]] = {
    "cone": {"small": "finch", "medium": "bunting", "large": "grosbeak"},
    "slender": {"small": "warbler", "medium": "pipit", "large": "thrush"},
    "hooked": {"small": "vireo", "medium": "shrike", "large": "butcherbird"},
    "decurved": {"small": "sunbird", "medium": "honeyeater", "large": "thrasher"},
    "massive": {"small": "barbet", "medium": "aracari", "large": "toucan"},
}
EPITHETS: Mapping[str, str] = {
    "crest: pointed": "crested", "crest: fan": "crowned", "crest: plume": "plumed",
    "head: red cap": "red-capped", "head: black cap": "black-capped", "head: mask": "masked",
    "head: brow": "white-browed", "head: hood": "hooded",
    "throat: white bib": "white-throated", "throat: black bib": "black-throated",
    "throat: russet bib": "russet-throated", "throat: necklace": "collared",
    "breast: spotted": "spot-breasted", "breast: streaked": "streaked", "breast: barred": "barred",
    "tail: long": "long-tailed", "tail: forked": "fork-tailed", "tail: fan": "fan-tailed",
    "eye: ringed": "spectacled", "eye: golden": "golden-eyed",
    "wing pattern: barred": "bar-winged", "wing pattern: spotted": "spot-winged", "wing pattern: scaled": "scaled",
    **{f"wing: {c}": f"{c}-winged" for c in drawing.WING},
    **{f"belly: {c}": f"{c}-bellied" for c in drawing.BELLY},
    "legs: long": "long-legged", "tail tip: pale": "pale-tipped",
    **{f"beak colour: {c}": f"{c}-billed" for c in drawing.BEAK_COLOUR},
    **{f"leg colour: {c}": f"{c}-footed" for c in drawing.LEG_COLOUR},
    "build: round": "stout", "build: slender": "slim",
}  # fmt: skip

SHOWN_BY: Mapping[str, str] = {
    "back": "back", "belly": "belly", "breast": "belly", "wing": "wing", "wing pattern": "wing", "head": "head",
    "throat": "throat", "beak": "beak", "beak colour": "beak", "tail": "tail", "tail tip": "tail", "crest": "crest",
    "eye": "head", "legs": "legs", "leg colour": "legs",
}  # fmt: skip
"""Trait -> the part of `drawing.PARTS` that shows it; size and build are of the whole bird."""

CANDIDATES = 8  # kinds to choose the next from: the more, the less two kinds resemble each other


@dataclass(frozen=True)
class DrawnBirds:
    """Drawn birds. Pictures of one class are consecutive; classes are in alphabetical order, seen and unseen mixed.

    images (n, side, side, 3) uint8; labels (n,) int64 class indices; classes: names; signatures (classes, a) float32,
    0 or 1; attribute_names: "trait: value"; image_attributes (n, a) float32 in 0..1, the signature times the visibility
    of the trait in that picture; unseen (k,) int64 class indices, ascending; parts (n, MAP_SIDE, MAP_SIDE) uint8, what
    is seen at each place of a picture, by its number in `drawing.PARTS`.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    signatures: NDArray[np.float32]
    attribute_names: tuple[str, ...]
    image_attributes: NDArray[np.float32]
    unseen: NDArray[np.int64]
    parts: NDArray[np.uint8]


def draw_birds(
    seed: int = 0, classes: int = 50, images_per_class: int = 25, unseen: int = 10, side: int = 160
) -> DrawnBirds:
    """Invent `classes` kinds of birds, `unseen` of them for testing, and draw `images_per_class` pictures of each.

    The same arguments give the same bytes. A kind and its pictures do not depend on how many pictures are drawn, nor
    a seen kind on how many other kinds there are. Raises ZSLError when an argument is out of range.
    """
    if seed < 0:
        raise ZSLError(f"birds: seed is {seed}; use 0 or more")
    if images_per_class < 1:
        raise ZSLError(f"birds: images_per_class is {images_per_class}; draw at least 1 picture of each class")
    if side < 32:
        raise ZSLError(f"birds: side is {side} pixels, too small to show a bird; use 32 or more")
    kinds = invent_kinds(seed, classes, unseen)
    names = sorted(kinds)
    signatures = np.stack([signature(kinds[name].traits) for name in names])
    images = np.empty((classes * images_per_class, side, side, 3), np.uint8)
    image_attributes = np.empty((len(images), len(ATTRIBUTES)), np.float32)
    parts = np.empty((len(images), drawing.MAP_SIDE, drawing.MAP_SIDE), np.uint8)
    labels = np.repeat(np.arange(classes), images_per_class)
    jobs = [(kinds[name], number) for name in names for number in range(images_per_class)]
    for i, (picture, visible, where) in enumerate(in_order("draw birds", partial(_draw, seed, side), jobs)):
        images[i], parts[i] = picture, where
        image_attributes[i] = signatures[labels[i]] * visible
    return DrawnBirds(
        images=images,
        labels=labels,
        classes=tuple(names),
        signatures=signatures,
        attribute_names=tuple(f"{trait}: {value}" for trait, value in ATTRIBUTES),
        image_attributes=image_attributes,
        unseen=np.array([i for i, name in enumerate(names) if kinds[name].unseen], np.int64),
        parts=parts,
    )


def _draw(
    seed: int, side: int, kind: "Kind", number: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint8]]:
    """A picture of a kind (side, side, 3), how much of each attribute's trait it shows (a,), 0..1, and its parts."""
    picture, visibility, parts = drawing.draw(kind.traits, np.random.default_rng([seed, *kind.key, number]), side)
    return np.asarray(picture), np.array([visibility[trait] for trait, _ in ATTRIBUTES], np.float32), parts


def signature(traits: Traits) -> NDArray[np.float32]:
    """The attributes (a,) of a kind: 1 where it has the value, else 0."""
    return np.array([traits[trait] == value for trait, value in ATTRIBUTES], np.float32)


@dataclass(frozen=True)
class Kind:
    """One class: its traits, whether it is unseen, and what its random streams start from."""

    traits: Traits
    unseen: bool
    key: tuple[int, int]


def invent_kinds(seed: int, classes: int, unseen: int) -> dict[str, Kind]:
    """`classes` kinds by name, no two alike, the last `unseen` of them combining trait values of the others.

    Raises ZSLError for fewer than 2 classes, for `unseen` out of range, and where there are too few trait values.
    """
    if classes < 2:
        raise ZSLError(f"birds: classes is {classes}; zero-shot learning needs 2 or more")
    if not 0 <= unseen < classes:
        raise ZSLError(f"birds: unseen is {unseen} of {classes} classes; keep it from 0 to {classes - 1}")
    kinds: dict[str, Kind] = {}
    vocabulary = TRAITS
    for index in range(classes):
        is_unseen = index >= classes - unseen
        if index == classes - unseen:  # from here on, only what has been seen
            vocabulary = {
                t: tuple(v for v in TRAITS[t] if any(k.traits[t] == v for k in kinds.values())) for t in TRAITS
            }
        key = (int(is_unseen), index - (classes - unseen) * is_unseen)
        rng = np.random.default_rng([seed, *key])
        traits = _unlike(vocabulary, [k.traits for k in kinds.values()], rng)
        if traits is None:
            raise ZSLError(
                f"birds: {classes - unseen} seen classes have too few trait values to combine into "
                f"{unseen} others; ask for more seen or fewer unseen classes"
            )
        kinds[next(name for name in _names(traits, rng) if name not in kinds)] = Kind(traits, is_unseen, key)
    return kinds


def _unlike(
    vocabulary: Mapping[str, Sequence[str]], others: Sequence[Traits], rng: np.random.Generator
) -> Traits | None:
    """The one of some random kinds that differs most from the others; None when all are among them."""
    best, best_difference = None, 0
    for _ in range(CANDIDATES):
        traits = {}
        for trait, values in vocabulary.items():  # of two values the rarer, so that all become about equally common
            pair = [values[i] for i in rng.integers(len(values), size=2)]
            traits[trait] = min(pair, key=[o[trait] for o in others].count)
        difference = min((sum(traits[t] != o[t] for t in traits) for o in others), default=len(traits))
        if difference > best_difference:
            best, best_difference = traits, difference
    return best


def _names(traits: Traits, rng: np.random.Generator) -> Iterator[str]:
    """Names for a kind, the shortest first, until all that distinguishes it is in the name."""
    words = [EPITHETS[f"{t}: {v}"] for t, v in traits.items() if f"{t}: {v}" in EPITHETS]
    words = [words[i] for i in rng.permutation(len(words))]
    for count in range(1, len(words) + 1):
        for chosen in combinations(words, count):
            yield " ".join([*chosen, traits["back"], NOUNS[traits["beak"]][traits["size"]]])


PHRASES: Mapping[str, tuple[str, str]] = {
    "back": ("a {} back", "{} above"),
    "belly": ("a {} belly", "{} below"),
    "breast": ("a {} breast", "a breast that is {}"),
    "wing": ("{} wings", "wings of {}"),
    "wing pattern": ("{} wings", "wings that are {}"),
    "head": ("a {} on its head", "a head with a {}"),
    "throat": ("a {} at the throat", "a throat with a {}"),
    "beak": ("a {} beak", "a bill that is {}"),
    "beak colour": ("a {} beak", "a bill of {}"),
    "tail": ("a {} tail", "a tail that is {}"),
    "tail tip": ("a {} tip of the tail", "a tail with a {} tip"),
    "crest": ("a {} crest", "a crest like a {}"),
    "eye": ("a {} eye", "eyes that are {}"),
    "legs": ("{} legs", "legs that are {}"),
    "leg colour": ("{} legs", "{} feet"),
    "size": ("a {} bird", "{} in size"),
    "build": ("a {} body", "{} in build"),
}
"""Trait -> two ways to say its value."""


def sentences(kind: Kind, seed: int, count: int) -> tuple[str, ...]:
    """`count` sentences that each name all attributes of a kind, in other words and another order."""
    said = []
    for number in range(count):
        rng = np.random.default_rng([seed, *kind.key, 0, number])
        marks = [trait for trait, value in kind.traits.items() if value != "plain"]
        parts = [PHRASES[trait][rng.integers(2)].format(kind.traits[trait]) for trait in rng.permutation(marks)]
        text = re.sub(r"\ba (?=[aeiou])", "an ", ", ".join(parts))
        said.append(f"{text[:1].upper()}{text[1:]}.")
    return tuple(said)


def contact_sheet(
    birds: DrawnBirds, classes: Sequence[int] | None = None, columns: int = 8, pictures: int = 1, tile: int = 160
) -> Image.Image:
    """The first `pictures` pictures of each of the classes (indices; None: all), named, `columns` in a row.

    The names of unseen classes are red. `tile` is the side of one picture in pixels.
    """
    chosen = range(len(birds.classes)) if classes is None else classes
    shown = [(i, c) for c in chosen for i in np.flatnonzero(birds.labels == c)[:pictures]]
    gap, caption = max(4, tile // 16), max(12, tile // 6)
    widest = max((ImageFont.load_default(20).getlength(birds.classes[c]) for c in chosen), default=1)
    font = ImageFont.load_default(max(6, int(min(20 * tile / widest, tile / 10))))
    rows = -(-len(shown) // columns)
    sheet = Image.new("RGB", (columns * (tile + gap) + gap, rows * (tile + caption) + gap), (252, 251, 247))
    pen = ImageDraw.Draw(sheet)
    for k, (i, c) in enumerate(shown):
        x, y = gap + k % columns * (tile + gap), gap + k // columns * (tile + caption)
        sheet.paste(Image.fromarray(birds.images[i]).resize((tile, tile), Image.Resampling.LANCZOS), (x, y))
        colour = (176, 60, 40) if c in birds.unseen else (60, 60, 66)
        at = (x + tile / 2, y + tile + caption / 2 - gap / 4)
        pen.text(at, birds.classes[c], fill=colour, font=font, anchor="mm")
    return sheet


class BirdsSource(Source):
    """The embedded data set of drawn birds."""

    kind: ClassVar[str] = "birds"
    seed: int = Field(0, ge=0, description="Seed that draws the kinds and the pictures.")
    classes: int = Field(50, ge=2, description="Number of kinds, seen and unseen.")
    images_per_class: int = Field(25, ge=2, description="Pictures of each kind.")
    unseen: int = Field(10, ge=1, description="How many of the kinds are unseen.")
    side: int = Field(160, ge=32, description="Side of a picture, pixels.")
    test_share: float = Field(0.2, gt=0, lt=1, description="Part of each seen kind's pictures that is test_seen.")
    sentences: int = Field(3, ge=0, description="Sentences about each kind, from the seed; 0: no texts.")
    encoder: str = Field("tfidf", description="What reads them.")

    def load(self, name: str, root: Path) -> Dataset:
        """Draw them; the data set carries its pictures as PNG, and what is visible in each. `root` is not read."""
        birds = draw_birds(self.seed, self.classes, self.images_per_class, self.unseen, self.side)
        is_unseen = np.isin(birds.labels, birds.unseen)
        trainval, test_seen = hold_out_seen(birds.labels, np.flatnonzero(~is_unseen), self.test_share, self.seed)
        return Dataset(
            name=name,
            classes=birds.classes,
            signatures=birds.signatures,
            labels=birds.labels,
            trainval=trainval,
            test_seen=test_seen,
            test_unseen=np.flatnonzero(is_unseen),
            pictures=list(in_order("encode birds", _png, [(image,) for image in birds.images])),
            image_attributes=birds.image_attributes,
            attribute_names=birds.attribute_names,
            split_name="drawn birds",
            sources=self._sources(birds) if self.sentences else {},
        )

    def _sources(self, birds: DrawnBirds) -> dict[str, Described]:
        """The attributes, and the same in words."""
        kinds = invent_kinds(self.seed, self.classes, self.unseen)
        texts = {name: sentences(kinds[name], self.seed, self.sentences) for name in birds.classes}
        seen = [not kinds[name].unseen for name in birds.classes]
        text, _ = describe(ClassTexts("birds", texts, {}), seen, Recipe(encoder=self.encoder))
        return {"attributes": Described(birds.signatures), "text": text}

    def sheet(self) -> bytes:
        """A picture of each kind, the names of unseen ones in red."""
        birds = draw_birds(self.seed, self.classes, 1, self.unseen, self.side)
        return _encoded(contact_sheet(birds, columns=10, tile=128))


def _png(image: NDArray[np.uint8]) -> bytes:
    return _encoded(Image.fromarray(image))


def _encoded(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG", compress_level=4)
    return file.getvalue()
