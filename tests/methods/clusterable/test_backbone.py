"""F as a backbone: eq. 8 reaches its weights, in parts as whole, for a class of one image too."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from zslcore.features import backbones
from zslcore.features.backbones import Backbone
from zslcore.features.halves import last_stage, learned, lower
from zslcore.methods.clusterable.backbone import Weights, finetune_backbone
from zslcore.settings import Finetune

COUNT, CLASSES, LR = 9, 3, 1e-3
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2])  # one class has one image
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return backbones.load("test_efficientnet", "random", 32)


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randn(COUNT, 3, 32, 32, generator=random) + torch.from_numpy(LABELS).float().view(-1, 1, 1, 1)


@pytest.fixture(scope="module")
def features(backbone: Backbone, pictures: torch.Tensor) -> NDArray[np.float32]:
    with torch.no_grad():
        return np.asarray(backbone.module(pictures).numpy())


def tune(
    backbone: Backbone, pictures: torch.Tensor, features: NDArray[np.float32], cut: str | None = None, **values: Any
) -> tuple[list[Weights], list[float]]:
    """Weights before the first epoch and after each, and the loss of each."""
    epochs = values.pop("epochs", 1)
    others = {"precision": values.pop("precision", "fp32"), "loss": values.pop("loss", "gaussian")}
    images = {"batch_size": COUNT, "parts": values.pop("parts", 1)}
    of = {"lr": LR, "epochs": epochs, "longest": 100, **values}
    settings = Finetune.model_validate({"level": "backbone", "gamma": 5.0, **others, "backbone": of, "images": images})
    found: list[Weights] = []
    curve = finetune_backbone(
        backbone,
        lambda rows: pictures[rows],
        cut,
        features,
        LABELS,
        settings,
        epochs,
        CPU,
        lambda done, weights: found.append({name: value.copy() for name, value in weights.items()}),
    )
    return found, [terms["total"] for terms in curve]


def loss_of_equation_8(values: torch.Tensor, features: NDArray[np.float32], gamma: float) -> float:
    """Mean of γ‖h − w_y‖² + log Σₖ exp −γ‖h − wₖ‖², term by term; h and W′ scaled as F's features are."""
    mean, spread = features.astype(float).mean(0), features.astype(float).std(0)
    h = (values.double().numpy() - mean) / spread
    start = (features.astype(float) - mean) / spread
    w = np.stack([start[k == LABELS].mean(0) for k in range(CLASSES)])
    total = 0.0
    for row, label in enumerate(LABELS):
        squares = [gamma / h.shape[1] * ((h[row] - w[k]) ** 2).sum() for k in range(CLASSES)]
        total += squares[label] + np.log(sum(np.exp(-square) for square in squares))
    return float(total / len(LABELS))


def test_the_gradient_of_equation_8_reaches_the_backbone(
    backbone: Backbone, pictures: torch.Tensor, features: NDArray[np.float32]
) -> None:
    """Adam's first step is lr against the sign of the gradient: here by differences of the loss written out again."""
    (before, after), (loss,) = tune(backbone, pictures, features)
    module = backbone.module
    with torch.no_grad():
        assert loss == pytest.approx(loss_of_equation_8(module(pictures), features, 5.0), rel=1e-4)
        checked = 0
        for name in ("blocks.4.0.conv_pw.weight", "conv_head.weight", "bn2.bias"):
            values = dict(module.double().named_parameters())[name].view(-1)
            moved = (after[name] - before[name]).ravel()
            for place in range(0, len(values), max(1, len(values) // 5)):
                original, sides = float(values[place]), []
                for step in (1e-3, -1e-3):
                    values[place] = original + step
                    sides.append(loss_of_equation_8(module(pictures.double()), features, 5.0))
                values[place] = original
                slope = (sides[0] - sides[1]) / 2e-3
                if abs(slope) > 1e-4:
                    checked += 1
                    assert moved[place] == pytest.approx(-LR * np.sign(slope), rel=1e-2), (name, place)
        module.float()
        assert checked >= 6


def test_what_comes_before_the_last_stage_stays_and_the_loss_falls(
    backbone: Backbone, pictures: torch.Tensor, features: NDArray[np.float32]
) -> None:
    weights, losses = tune(backbone, pictures, features, epochs=4)
    assert losses[-1] < losses[0]
    own = {id(parameter) for parameter in learned(backbone.module, last_stage(backbone))}
    for name, parameter in backbone.module.state_dict(keep_vars=True).items():
        same = np.array_equal(weights[0][name], weights[-1][name])
        assert same == (id(parameter) not in own), name
    whole, _ = tune(backbone, pictures, features, layers="all")
    assert not np.array_equal(whole[0]["conv_stem.weight"], whole[1]["conv_stem.weight"])
    assert np.array_equal(whole[0]["bn1.running_mean"], whole[1]["bn1.running_mean"])
    assert np.array_equal(backbone.module.state_dict()["conv_head.weight"].numpy(), weights[0]["conv_head.weight"])


@pytest.mark.parametrize("loss", ["gaussian", "cce"])
def test_a_batch_in_parts_steps_as_the_whole(
    loss: str, backbone: Backbone, pictures: torch.Tensor, features: NDArray[np.float32]
) -> None:
    whole, expected = tune(backbone, pictures, features, loss=loss)
    parts, found = tune(backbone, pictures, features, loss=loss, parts=4)
    assert found == pytest.approx(expected, rel=1e-4)
    moved, same = whole[1]["conv_head.weight"] - whole[0]["conv_head.weight"], parts[1]["conv_head.weight"]
    sure = np.abs(np.abs(moved) - LR) < LR / 100  # else the gradient is too small for its sign to be sure
    assert sure.mean() > 0.9
    assert np.allclose(same[sure], whole[1]["conv_head.weight"][sure], atol=LR / 10)


def test_inputs_of_the_last_stage_train_it_as_pictures_do(
    backbone: Backbone, pictures: torch.Tensor, features: NDArray[np.float32]
) -> None:
    stage = last_stage(backbone)
    with torch.no_grad():
        stored = lower(backbone.module, stage, pictures)
    of_pictures, of_stored = tune(backbone, pictures, features), tune(backbone, stored, features, cut=stage)
    assert of_stored[1] == pytest.approx(of_pictures[1], rel=1e-5)
    assert all(np.allclose(of_stored[0][1][name], of_pictures[0][1][name], atol=LR / 10) for name in ("bn2.bias",))


def test_the_rate_falls_along_a_cosine(
    backbone: Backbone, pictures: torch.Tensor, features: NDArray[np.float32]
) -> None:
    """In the last of the epochs little moves: Adam's steps are as long as the rate."""
    weights, _ = tune(backbone, pictures, features, epochs=10, longest=10)
    steps = [np.abs(after["bn2.bias"] - before["bn2.bias"]).max() for before, after in pairwise(weights)]
    assert steps[0] == pytest.approx(LR, rel=1e-2)
    assert steps[-1] < LR * 0.05


def test_in_16_bits_the_loss_is_that_of_32_but_for_rounding(
    backbone: Backbone, pictures: torch.Tensor, features: NDArray[np.float32]
) -> None:
    (weights, losses), (_, expected) = (tune(backbone, pictures, features, precision=one) for one in ("bf16", "fp32"))
    assert losses == pytest.approx(expected, rel=0.05)
    assert losses != expected
    assert weights[1]["conv_head.weight"].dtype == np.float32
