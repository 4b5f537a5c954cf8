"""The few-shot table: every learner answers the same episodes, and leads are taken episode by episode."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from zslcore.errors import ZSLError
from zslcore.experiments.fewshot.classifiers import nearest_mean
from zslcore.experiments.fewshot.episodes import Base, draw_episodes, measure
from zslcore.experiments.settings import Fewshot
from zslcore.settings import Finetune

SETTINGS = Fewshot(way=3, shots=(1, 4), query=2, episodes=15, seed=7)
LABELS = np.repeat(np.arange(6), 8)


def data() -> tuple[np.ndarray, Base]:
    random = np.random.default_rng(0)
    features = (random.normal(size=(len(LABELS), 3)) + LABELS[:, None] / 2).astype("f4")
    return features, Base(features, LABELS, SETTINGS, Finetune(), 0, torch.device("cpu"))


def first_class(support: Tensor, query: Tensor) -> Tensor:
    """Call everything the first class of the episode."""
    return torch.eye(support.shape[1])[0].expand(len(query), query.shape[1], -1)


def test_cells_against_one_episode_at_a_time() -> None:
    features, base = data()
    fits = {
        "first": lambda base: (lambda x: x, first_class),
        "near": lambda base: (lambda x: x, nearest_mean),
        "blind": lambda base: (np.zeros_like, nearest_mean),
    }
    rows = measure(fits, "near", base, features, LABELS)
    assert {name: list(cells) for name, cells in rows.items()} == {name: ["1-shot", "4-shot"] for name in fits}
    for shot in (1, 4):
        drawn = draw_episodes(LABELS, 3, shot, 2, 15, 7)
        accuracies = []
        for support, query in zip(drawn.support, drawn.query, strict=True):
            means = features[support].mean(axis=1)
            nearest = np.linalg.norm(features[query][:, :, None] - means, axis=3).argmin(axis=2)
            accuracies.append(100 * np.mean(nearest == np.arange(3)[:, None]))
        cell = rows["near"][f"{shot}-shot"]
        assert cell["mean"] == pytest.approx(np.mean(accuracies))
        interval = stats.t.interval(0.95, 14, np.mean(accuracies), stats.sem(accuracies))
        assert (cell["low"], cell["high"]) == pytest.approx(interval)
        assert cell["count"] == 15
        assert cell["lead"] is None
        third = 100 / 3  # a third of the queries are of the first class
        for name in ("first", "blind"):
            other = rows[name][f"{shot}-shot"]
            assert [other[end] for end in ("mean", "low", "high")] == pytest.approx([third] * 3)
            assert other["lead"]["mean"] == pytest.approx(third - np.mean(accuracies))
            assert (other["lead"]["low"], other["lead"]["high"]) == pytest.approx(
                (third - interval[1], third - interval[0])
            )


def test_too_little_is_said_before_anything_is_fitted() -> None:
    features, base = data()
    fits = {"never": lambda base: pytest.fail("fitted")}
    with pytest.raises(ZSLError, match="3-way episodes need 3 novel classes, there are 2"):
        measure(fits, "never", base, features[:16], LABELS[:16])
