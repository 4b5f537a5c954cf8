"""Collapse of E's posterior and of M: said where it happens, and not where training goes well."""

from typing import Any

import numpy as np
import pytest
import torch

from zslcore.evaluation.protocol import Task
from zslcore.methods.clusterable.collapse import collapse_warnings
from zslcore.methods.clusterable.train import Trained, train
from zslcore.settings import Train
from zslcore.synthesis.generate import generate

SMALL: dict[str, Any] = {"hidden": 32, "projection": 16, "batch_size": 32, "epochs": 40, "lr": 3e-3}


def trained(task: Task, **changes: Any) -> Trained:
    data = task.train
    settings = Train(**{**SMALL, "kl_weight": 1e-4, **changes})
    return train(data.features, data.labels, data.signatures, settings, 0, torch.device("cpu"))


def within(model: Trained, task: Task) -> float:
    """Variance of synthetic features within their classes, over that between them."""
    drawn, labels = generate(model, task.signatures, 50, 0, "unseen")
    parts = [drawn[labels == k].astype(float) for k in np.unique(labels)]
    between = np.var([part.mean(axis=0) for part in parts], axis=0).sum()
    return float(np.mean([part.var(axis=0).sum() for part in parts]) / between)


def test_nothing_is_said_where_training_goes_well(toy_task: Task) -> None:
    model = trained(toy_task)
    assert model.warnings == []
    assert within(model, toy_task) > 0.1


def test_a_collapsed_posterior_is_said(toy_task: Task) -> None:
    """A KL weight that drives E to the prior, though C learns to tell classes apart: one point a class is drawn."""
    model = trained(toy_task, kl_weight=0.5)
    assert model.curve[-1]["cls"] < 0.6 * model.curve[0]["cls"]
    assert within(model, toy_task) < 0.05
    (warning,) = model.warnings
    assert "posterior has collapsed" in warning
    assert "smaller train.kl_weight" in warning


@pytest.mark.parametrize("lambda_cls", [1 / 256, 0.0])
def test_a_collapsed_projection_is_said(toy_task: Task, lambda_cls: float) -> None:
    """A reconstruction that outweighs classification, as a sum over the dimensions would: M need only be constant."""
    model = trained(toy_task, lambda_cls=lambda_cls, lambda_synthetic=lambda_cls / 10)
    spread = model.project(toy_task.train.features).std(axis=0).mean()
    assert spread < 0.2
    assert any("M has collapsed" in warning for warning in model.warnings)


@pytest.mark.parametrize(
    ("means", "said"),
    [
        ({"kl": 0.08, "cls": 0.42, "spread": 0.40}, ["posterior"]),  # CUB, a KL weight of 0.005
        ({"kl": 0.005, "cls": 4.44, "spread": 0.070}, ["posterior", "M"]),  # CUB, a sum and weights of 1
        ({"kl": 0.008, "cls": 1.19, "spread": 0.137}, ["posterior", "M"]),  # the drawn birds, the same
        ({"kl": 47.0, "cls": 0.42, "spread": 0.40}, []),  # CUB, a KL weight of 0.00016
        ({"kl": 28.6, "cls": 0.01, "spread": 0.38}, []),  # the drawn birds, the same
        ({"kl": 0.5, "spread": 0.2}, []),
        ({"kl": 0.499, "spread": 0.199}, ["posterior", "M"]),
        ({"kl": 73.5}, []),  # the plain CVAE has no M
        ({}, []),
    ],
)
def test_measured_cases(means: dict[str, float], said: list[str]) -> None:
    warnings = collapse_warnings(means)
    assert len(warnings) == len(said)
    for warning, what in zip(warnings, said, strict=True):
        assert warning.startswith(f"the {what} has" if what == "posterior" else f"{what} has")
