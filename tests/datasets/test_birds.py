"""Drawn birds: frozen, reproducible, compositional, and their per-image attributes say what can be seen."""

import hashlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zslcore import progress
from zslcore.datasets import registry
from zslcore.datasets.birds import drawing
from zslcore.datasets.birds import source as birds
from zslcore.datasets.birds.source import BirdsSource, DrawnBirds, draw_birds
from zslcore.errors import ZSLError


@pytest.fixture(scope="module")
def drawn() -> DrawnBirds:
    return draw_birds(classes=12, images_per_class=3, unseen=4, side=48)


def digest(*arrays: np.ndarray) -> str:
    h = hashlib.sha256()
    for array in arrays:
        h.update(np.ascontiguousarray(array).tobytes())
    return h.hexdigest()


def test_frozen() -> None:
    """The drawing is part of the benchmark: whoever changes one pixel of it changes every published number."""
    drawn = draw_birds(classes=6, images_per_class=1, unseen=2)
    assert digest(drawn.images) == "c296f8fe1afd9b020822488931e933f72de4bfd06d27622b53a7848c689c15eb"
    full = birds.invent_kinds(seed=0, classes=50, unseen=10)
    signatures = np.stack([birds.signature(full[name].traits) for name in sorted(full)])
    assert digest(signatures) == "d0ac3a8bcfb1290b932d3e1b23c79064b2ede8da1ddb966d4fd5db07c4010d89"


def test_shapes_and_ranges(drawn: DrawnBirds) -> None:
    a = len(drawn.attribute_names)
    assert drawn.images.shape == (36, 48, 48, 3)
    assert drawn.images.dtype == np.uint8
    assert drawn.labels.dtype == drawn.unseen.dtype == np.int64
    np.testing.assert_array_equal(np.bincount(drawn.labels), np.full(12, 3))
    assert drawn.signatures.shape == (12, a)
    assert drawn.signatures.dtype == drawn.image_attributes.dtype == np.float32
    assert len(set(drawn.attribute_names)) == a
    assert len(set(drawn.classes)) == 12
    assert list(drawn.classes) == sorted(drawn.classes)
    assert len(np.unique(drawn.unseen)) == 4
    assert len(np.unique(drawn.signatures, axis=0)) == 12
    assert set(np.unique(drawn.signatures)) == {0.0, 1.0}
    assert drawn.image_attributes.min() >= 0
    assert (drawn.image_attributes <= drawn.signatures[drawn.labels]).all()


def test_pictures_show_something(drawn: DrawnBirds) -> None:
    assert drawn.images.reshape(len(drawn.images), -1).std(axis=1).min() > 8
    assert len(np.unique(drawn.images.reshape(len(drawn.images), -1), axis=0)) == len(drawn.images)


def test_same_seed_same_bytes_other_seed_others(drawn: DrawnBirds) -> None:
    again = draw_birds(classes=12, images_per_class=3, unseen=4, side=48)
    np.testing.assert_array_equal(again.images, drawn.images)
    np.testing.assert_array_equal(again.image_attributes, drawn.image_attributes)
    other = draw_birds(seed=1, classes=12, images_per_class=3, unseen=4, side=48)
    assert (other.signatures != drawn.signatures).any()


def test_a_picture_does_not_depend_on_how_many_others_are_drawn(drawn: DrawnBirds) -> None:
    fewer = draw_birds(classes=12, images_per_class=1, unseen=4, side=48)
    np.testing.assert_array_equal(fewer.images, drawn.images[::3])
    np.testing.assert_array_equal(fewer.image_attributes, drawn.image_attributes[::3])
    # A seen class is the same among fewer classes.
    small = draw_birds(classes=5, images_per_class=1, unseen=0, side=48)
    for k, row in enumerate(small.signatures):
        (match,) = np.flatnonzero((drawn.signatures == row).all(axis=1))
        np.testing.assert_array_equal(small.images[k], drawn.images[3 * match])


@pytest.mark.parametrize(("seed", "classes", "unseen"), [(0, 50, 10), (1, 50, 10), (2, 8, 4), (3, 200, 50)])
def test_unseen_classes_are_new_combinations_of_seen_values(seed: int, classes: int, unseen: int) -> None:
    kinds = birds.invent_kinds(seed, classes, unseen).values()
    seen = [k.traits for k in kinds if not k.unseen]
    new = [k.traits for k in kinds if k.unseen]
    assert len(new) == unseen
    for traits in new:
        assert traits not in seen
        assert all(any(s[trait] == value for s in seen) for trait, value in traits.items())


def test_every_value_is_common_enough_to_be_learnt() -> None:
    seen = [k.traits for k in birds.invent_kinds(0, 50, 10).values() if not k.unseen]
    counts = {(t, v): sum(s[t] == v for s in seen) for t, values in birds.TRAITS.items() for v in values}
    assert min(counts.values()) >= 3


def test_image_attributes_vary_within_a_class_and_follow_its_signature(drawn: DrawnBirds) -> None:
    for label, signature in enumerate(drawn.signatures):
        of_class = drawn.image_attributes[drawn.labels == label][:, signature == 1]
        assert of_class.std(axis=0).max() > 0.05
        assert of_class.mean() > 0.3


def test_what_is_out_of_the_picture_or_covered_counts_as_hidden() -> None:
    canvas = drawing.Canvas(Image.new("RGB", (96, 96)))
    square = np.array([(-0.1, 0.2), (0.1, 0.2), (0.1, 0.4), (-0.1, 0.4)])  # half of it left of the picture
    canvas.fill(square, (200, 0, 0), "tail")
    canvas.fill(square + np.array([0.5, 0]), (0, 200, 0), "beak")
    whole = canvas.areas(framed=False)
    canvas.fill(square + np.array([0.5, 0.1]), (0, 0, 200), "nothing")  # covers the beak's lower half
    share = canvas.areas(framed=True) / np.maximum(whole, 1)
    tail, beak = (drawing.PARTS.index(part) for part in ("tail", "beak"))
    assert share[[tail, beak]] == pytest.approx([0.5, 0.5], abs=0.06)


@pytest.mark.parametrize("trait", list(birds.TRAITS))
def test_every_value_of_every_trait_is_drawn_differently(trait: str) -> None:
    """With the same random numbers, another value gives another picture."""
    plain = {t: values[0] for t, values in birds.TRAITS.items()}
    pictures = {
        np.asarray(drawing.draw({**plain, trait: value}, np.random.default_rng(5), 64)[0]).tobytes()
        for value in birds.TRAITS[trait]
    }
    assert len(pictures) == len(birds.TRAITS[trait])


def test_contact_sheet(drawn: DrawnBirds) -> None:
    sheet = birds.contact_sheet(drawn, classes=[3, 1, 7], columns=2, pictures=2, tile=48)
    assert sheet.mode == "RGB"
    gap = 4
    assert sheet.width == 2 * (48 + gap) + gap
    np.testing.assert_array_equal(np.asarray(sheet)[gap : gap + 48, gap : gap + 48], drawn.images[9])
    assert birds.contact_sheet(drawn, columns=6, tile=48).height < 3 * 70


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": 1, "unseen": 0}, "classes is 1"),
        ({"classes": 5, "unseen": 5}, "unseen is 5"),
        ({"unseen": -1}, "unseen is -1"),
        ({"images_per_class": 0}, "images_per_class is 0"),
        ({"side": 31}, "side is 31"),
        ({"seed": -1}, "seed is -1"),
        ({"classes": 3, "unseen": 2}, "too few trait values"),
    ],
)
def test_bad_arguments(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ZSLError, match=message):
        draw_birds(**{"classes": 6, "images_per_class": 1, "unseen": 2, "side": 32, **arguments})


def test_source_carries_the_pictures_and_holds_images_out(
    drawn: DrawnBirds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    raw = {"kind": "birds", "classes": 12, "unseen": 4, "images_per_class": 3, "side": 48}
    data = registry.source(raw).load("small", tmp_path)
    said = capsys.readouterr().err
    assert "draw birds: 36/36" in said
    assert "encode birds: 36/36" in said
    for encoded, image in zip(data.pictures, drawn.images, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(encoded))), image)
    np.testing.assert_array_equal(data.unseen, drawn.unseen)
    assert [len(rows) for rows in (data.trainval, data.test_seen, data.test_unseen)] == [16, 8, 12]
    np.testing.assert_array_equal(data.image_attributes, drawn.image_attributes)


def test_the_sheet_of_the_report_is_a_picture() -> None:
    content = BirdsSource(classes=4, unseen=1, side=64).sheet()
    with Image.open(BytesIO(content)) as image:
        assert image.format == "PNG"
        assert image.width > image.height
    assert content == BirdsSource(classes=4, unseen=1, side=64, images_per_class=7).sheet()
