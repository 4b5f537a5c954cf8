import numpy as np
import pytest
import torch

from zslcore.errors import ZSLError
from zslcore.experiments.fewshot.classifiers import nearest_mean
from zslcore.experiments.fewshot.episodes import accuracies, draw_episodes
from zslcore.experiments.settings import Fewshot
from zslcore.project.params import Resolved

LABELS = np.repeat(np.arange(8), 12)


def test_episodes_are_what_they_say() -> None:
    drawn = draw_episodes(LABELS, 5, 3, 4, 50, 0)
    assert drawn.support.shape == (50, 5, 3)
    assert drawn.query.shape == (50, 5, 4)
    for support, query in zip(drawn.support, drawn.query, strict=True):
        classes = LABELS[support]
        assert (classes == classes[:, :1]).all()
        assert len(set(classes[:, 0])) == 5
        assert (LABELS[query] == classes[:, :1]).all()
        rows = np.concatenate([support.ravel(), query.ravel()])
        assert len(set(rows)) == len(rows)


def test_seed_decides() -> None:
    first, again, other = (draw_episodes(LABELS, 5, 1, 4, 10, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.support, again.support)
    assert not np.array_equal(first.support, other.support)


def test_accuracy_against_one_episode_at_a_time() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(len(LABELS), 3)) + LABELS[:, None] / 4
    drawn = draw_episodes(LABELS, 4, 2, 5, 7, 0)
    expected = []
    for support, query in zip(drawn.support, drawn.query, strict=True):
        means = [features[rows].mean(0) for rows in support]
        right = [
            np.argmin([np.linalg.norm(features[row] - mean) for mean in means]) == k
            for k, rows in enumerate(query)
            for row in rows
        ]
        expected.append(np.mean(right))
    np.testing.assert_allclose(accuracies(nearest_mean, torch.from_numpy(features), drawn, block=3), expected)


def test_the_shipped_episodes_can_be_drawn_from_birds(shipped: dict[str, Resolved]) -> None:
    birds, own = shipped["birds"].source, shipped["birds"].experiments["fewshot"]
    assert isinstance(own, Fewshot)
    labels = np.repeat(np.arange(birds["unseen"]), birds["images_per_class"])
    assert 20 in own.shots
    for shot in own.shots:
        draw_episodes(labels, own.way, shot, own.query, 1, own.seed)


def test_too_little_to_draw_from() -> None:
    with pytest.raises(ZSLError, match=r"9-way episodes need 9 novel classes, there are 8; lower fewshot\.way"):
        draw_episodes(LABELS, 9, 1, 1, 1, 0)
    with pytest.raises(ZSLError, match=r"5 novel classes of 13 images, there are 0 .*largest class has 12"):
        draw_episodes(LABELS, 5, 10, 3, 1, 0)
    with pytest.raises(ZSLError, match=r"need 9 base classes, there are 8; lower fewshot\.protonet\.way$"):
        draw_episodes(LABELS, 9, 1, 1, 1, 0, "base", "fewshot.protonet")


def test_small_classes_are_passed_over() -> None:
    labels = np.concatenate([LABELS, [99]])
    assert 99 not in labels[draw_episodes(labels, 5, 1, 4, 100, 0).support]
