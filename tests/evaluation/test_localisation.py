"""Pointing accuracy, chance and overlap on maps made by hand; class activation maps; where birds have their parts."""

import numpy as np
import pytest

from zslcore.datasets.birds import drawing
from zslcore.datasets.birds import source as birds
from zslcore.datasets.birds.source import SHOWN_BY, TRAITS, draw_birds
from zslcore.errors import ZSLError
from zslcore.evaluation.localisation import enlarged, localisation, mean_over_attributes
from zslcore.evaluation.protocol import Task
from zslcore.methods.eszsl import ESZSL, ESZSLSettings


def test_figures_of_maps_made_by_hand() -> None:
    """Part 1 is a quarter of each picture; the map finds it in one image of three."""
    shown = np.zeros((4, 4, 4), np.uint8)
    shown[:3, :2, :2] = 1
    shown[:, 3, 3] = 2
    maps = np.zeros((4, 3, 2, 2), np.float32)
    maps[0, 0, 0, 0] = maps[1, 0, 1, 1] = maps[2, 0, 0, 1] = 1.0
    present = np.array([[1, 0, 1], [1, 0, 1], [1, 1, 1], [1, 1, 1]], bool)
    rows = localisation(maps, shown, [1, 2, None], present, ["a", "b", "whole"])
    assert [(row.attribute, row.images) for row in rows] == [("a", 3), ("b", 2)], "the fourth does not show part 1"
    first = rows[0]
    assert first.accuracy == pytest.approx(1 / 3)
    assert first.chance == pytest.approx(4 / 16)
    assert first.others == pytest.approx(1 / 3), "the first image's map, for the second"
    large = enlarged(maps[:1, 0], (4, 4))[0]
    region, mask = large > 0.5, shown[0] == 1
    assert region[0, 0]
    overlap = (region & mask).sum() / (region | mask).sum()
    assert first.iou == pytest.approx(overlap / 3, abs=1e-6), "the others do not touch the part"
    assert mean_over_attributes(rows).accuracy == pytest.approx((first.accuracy + rows[1].accuracy) / 2)


@pytest.mark.parametrize("scaling", ["none", "standard", "l2", "centred_sphere"])
def test_activation_maps_have_the_pooled_score_as_their_mean(scaling: str, toy_task: Task) -> None:
    method = ESZSL(ESZSLSettings(scaling=scaling)).fit(toy_task.train)
    maps = np.random.default_rng(0).normal(size=(3, 2, 5, 24)).astype(np.float32)
    found = method.attribute_maps(maps)
    assert found.shape == (3, 10, 2, 5)
    pooled = method.scaler(maps.mean(axis=(1, 2))) @ method.weights
    np.testing.assert_allclose(found.mean(axis=(2, 3)), pooled, rtol=1e-3, atol=1e-4)


def test_activation_maps_that_mean_nothing_are_refused(toy_task: Task) -> None:
    maps = np.ones((3, 2, 5, 24), np.float32)
    with pytest.raises(ZSLError, match="no mean over places"):
        ESZSL(ESZSLSettings(scaling="power")).fit(toy_task.train).attribute_maps(maps)
    with pytest.raises(ZSLError, match=r"maps of shape \(3, 2, 5, 7\); eszsl was fitted on 24 dimensions"):
        ESZSL().fit(toy_task.train).attribute_maps(maps[..., :7])


def test_parts_of_birds_are_where_their_colours_are() -> None:
    """The mean colour under a part is nearer to the class's colour of that part than to other classes'."""
    drawn = draw_birds(classes=12, images_per_class=4, unseen=3, side=96)
    assert drawn.parts.shape == (48, drawing.MAP_SIDE, drawing.MAP_SIDE)
    kinds = birds.invent_kinds(0, 12, 3)
    right: list[bool] = []
    for trait, palette in (("belly", drawing.BELLY), ("back", drawing.BACK), ("wing", drawing.WING)):
        for image, label in enumerate(drawn.labels):
            under = drawn.images[image][drawn.parts[image] == drawing.PARTS.index(trait)]
            if len(under) < 40:
                continue
            distances = {name: np.linalg.norm(under.mean(axis=0) - colour) for name, colour in palette.items()}
            right.append(min(distances, key=distances.__getitem__) == kinds[drawn.classes[label]].traits[trait])
    assert len(right) > 100
    assert np.mean(right) > 0.6, "of 4 to 7 colours, with patterns, shade and light over them"
    assert set(SHOWN_BY) == set(TRAITS) - {"size", "build"}
    assert set(SHOWN_BY.values()) < set(drawing.PARTS)
