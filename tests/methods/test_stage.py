"""A backbone's last stage that learns with a method: what it makes, how fast it moves, and what does not fit."""

from typing import get_args

import numpy as np
import pytest
import torch

from zslcore.errors import ZSLError
from zslcore.features import backbones
from zslcore.features.regions import Regions
from zslcore.methods import registry
from zslcore.methods._maps import MapMethod, scaled_with_gradient
from zslcore.methods._stage import Stage
from zslcore.methods.base import TrainData
from zslcore.scaling import Scaler, Scaling
from zslcore.training.device import tensor

NAME = "test_efficientnet"
ON_MAPS = sorted(name for name in registry.METHODS if registry.get(name).input == "maps")
CLASSES, EACH, SIDE = 4, 6, 64


def maps_of(output: str) -> np.ndarray:
    """The maps of made-up pictures, (24, h, w, c)."""
    backbone = backbones.load(NAME, "random", SIDE)
    places = 4 if output == "before" else 2
    pictures = torch.randn(CLASSES * EACH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        flat = Regions(backbone.module, output, 1, (SIDE, SIDE))(pictures)[:, backbone.dimensions :]
    return flat.unflatten(1, (places, places, -1)).numpy()


@pytest.fixture(scope="module")
def before() -> np.ndarray:
    return maps_of("before")


@pytest.fixture(scope="module")
def after() -> np.ndarray:
    return maps_of("both")


def fitted(name: str, maps: np.ndarray, **settings: object) -> MapMethod:
    cls = registry.get(name)
    chosen = {**cls.quick, "epochs": 3, "batch_size": 8, "device": "cpu", **settings}
    labels = np.repeat(np.arange(CLASSES), EACH)
    return cls(cls.Settings(**chosen)).fit(TrainData(maps, labels, np.eye(CLASSES, 5, dtype=np.float32)), seed=1)


def scores(method: MapMethod, maps: np.ndarray) -> np.ndarray:
    return method.for_classes(np.eye(CLASSES, 5, dtype=np.float32), np.ones(CLASSES, bool)).scores(maps)


def test_before_it_learns_it_makes_the_last_feature_map(before: np.ndarray, after: np.ndarray) -> None:
    with torch.no_grad():
        np.testing.assert_allclose(Stage(NAME, "random", 0.1)(torch.from_numpy(before)), after, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ON_MAPS)
def test_a_stage_that_stands_still_is_a_frozen_one(name: str, before: np.ndarray, after: np.ndarray) -> None:
    still = fitted(name, before, backbone=NAME, weights="random", stage_rate=1e-20)
    frozen = fitted(name, after)
    np.testing.assert_allclose(scores(still, before), scores(frozen, after), rtol=1e-2, atol=1e-3)
    assert still.curve[-1]["total"] == pytest.approx(frozen.curve[-1]["total"], rel=1e-3)


def test_weights_move_at_the_share_of_the_rate_and_statistics_stay(before: np.ndarray) -> None:
    """Adam's first step is its rate, whatever the gradient."""
    method = fitted("aren", before, backbone=NAME, weights="random", epochs=1, batch_size=24, lr=0.01, stage_rate=0.5)
    loaded = Stage(NAME, "random", 0.5)
    assert method.stage is not None
    steps = torch.cat([moved.detach().abs().flatten() for moved in method.stage.moved])
    assert (steps > 0).float().mean() > 0.5
    assert steps[steps > 0].median().item() == pytest.approx(0.01, rel=1e-3)
    state = method.stage.last.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in loaded.last.state_dict().items())
    with torch.no_grad():
        for weight, moved in zip(loaded.last.parameters(), method.stage.moved, strict=True):
            weight += 0.5 * moved
        expected, found = loaded(torch.from_numpy(before)), method.made(before)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["apn", "attribute-maps"])
def test_the_loss_falls_further_than_with_a_frozen_stage(name: str, before: np.ndarray) -> None:
    rates = {"backbone": NAME, "weights": "random", "epochs": 6}
    learned, frozen = (fitted(name, before, **rates, stage_rate=rate) for rate in (0.02, 1e-20))
    assert learned.curve[-1]["total"] < 0.95 * frozen.curve[-1]["total"]


@pytest.mark.parametrize("name", ON_MAPS)
def test_what_it_learned_is_saved(name: str, before: np.ndarray) -> None:
    method = fitted(name, before, backbone=NAME, weights="random", epochs=1)
    other = registry.get(name)(method.settings)
    other.set_state(method.state())
    np.testing.assert_array_equal(scores(other, before), scores(method, before))


@pytest.mark.parametrize("scaling", [one for one in get_args(Scaling) if one not in ("root", "power")])
def test_scaling_with_a_gradient_is_the_scaling(scaling: Scaling) -> None:
    values = np.random.default_rng(0).normal(2, 3, (4, 2, 3, 7)).astype(np.float32)
    scaler = Scaler.fit(values.reshape(-1, 7), scaling)
    given = tensor(values, torch.device("cpu")).requires_grad_()
    found = scaled_with_gradient(scaler, given)
    np.testing.assert_allclose(found.detach().reshape(-1, 7), scaler(values.reshape(-1, 7)), rtol=1e-5, atol=1e-5)
    (found * torch.arange(7.0)).sum().backward()
    assert given.grad is not None
    assert given.grad.abs().sum() > 0


def test_what_does_not_fit_is_refused(before: np.ndarray, after: np.ndarray) -> None:
    with pytest.raises(ZSLError, match=r"256 channels, .*takes 48; set extract.output to before, and extract"):
        fitted("apn", after, backbone=NAME, weights="random")
    with pytest.raises(ZSLError, match=r"scaling: root has no gradient at 0"):
        fitted("apn", before, backbone=NAME, weights="random", scaling="root")
    with pytest.raises(ZSLError, match=r"test_vit cannot be cut before its last stage; set extract.output to both"):
        fitted("apn", before, backbone="test_vit", weights="random")
