"""A backbone's last stage that learns with a method: what it makes, how fast it moves, and what does not fit."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import timm
import torch

from zslcore.datasets.maps import load_maps
from zslcore.errors import ZSLError
from zslcore.features import backbones
from zslcore.features.regions import Regions, map_shape
from zslcore.io import artifacts
from zslcore.methods import registry
from zslcore.methods._maps import MapMethod
from zslcore.methods._stage import Stage
from zslcore.methods._tensor_scaling import TensorScaling
from zslcore.methods.base import TrainData
from zslcore.scaling import Scaler, Scaling
from zslcore.training.device import tensor

NAME = "test_efficientnet"
ON_MAPS = sorted(name for name in registry.METHODS if registry.get(name).input == "maps")
CLASSES, EACH, SIDE = 4, 6, 64
SIGNATURES = np.eye(CLASSES, 5, dtype=np.float32)


def made_by(name: str, **others: Any) -> dict[str, Any]:
    """As a file of features says how its maps were extracted."""
    fingerprint = backbones.load(name, "random").fingerprint
    plan = {"backbone": name, "weights": "random", "image_size": SIDE, "fingerprint": fingerprint, "output": "before"}
    return plan | others


def maps_of(output: str, name: str = NAME) -> np.ndarray:
    """The maps of made-up pictures, (24, h, w, c)."""
    backbone = backbones.load(name, "random", SIDE)
    pictures = torch.randn(CLASSES * EACH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        flat = Regions(backbone.module, output, 1, (SIDE, SIDE))(pictures)[:, backbone.dimensions :]
    return flat.unflatten(1, map_shape(backbone, output)).numpy()


def put(path: Path, maps: np.ndarray, plan: dict[str, Any]) -> np.ndarray:
    with artifacts.create(path, artifacts.FEATURES, {"extract": plan}) as file:
        file["maps"] = maps.astype(np.float16)
    return load_maps(path)


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return put(tmp_path_factory.mktemp("before") / "features.h5", maps_of("before"), made_by(NAME))


def fitted(name: str, maps: np.ndarray, **settings: object) -> MapMethod:
    cls = registry.get(name)
    chosen = {**cls.quick, "epochs": 3, "batch_size": 8, "device": "cpu", **settings}
    labels = np.repeat(np.arange(CLASSES), EACH)
    return cls(cls.Settings(**chosen)).fit(TrainData(maps, labels, SIGNATURES), seed=1)


def scores(method: MapMethod, maps: np.ndarray) -> np.ndarray:
    return method.for_classes(SIGNATURES, np.ones(CLASSES, bool)).scores(maps)


@pytest.mark.parametrize("name", [NAME, "test_resnet", "test_mambaout"])
def test_before_it_learns_it_makes_the_last_feature_map(name: str) -> None:
    """Of networks that have their channels last, too."""
    taken = maps_of("before", name)
    stage = Stage.of_maps(made_by(name), taken.shape[1:], 0.1)
    with torch.no_grad():
        np.testing.assert_allclose(stage(torch.from_numpy(taken)), maps_of("both", name), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ON_MAPS)
def test_a_stage_that_stands_still_is_a_frozen_one(name: str, before: np.ndarray) -> None:
    still = fitted(name, before, stage_rate=0.0)
    assert still.stage is not None
    with torch.no_grad():
        after = still.stage(torch.from_numpy(np.asarray(before, np.float32))).numpy()
    frozen = fitted(name, after)
    np.testing.assert_allclose(scores(still, before), scores(frozen, after), rtol=1e-2, atol=1e-3)
    assert still.curve[-1]["total"] == pytest.approx(frozen.curve[-1]["total"], rel=1e-3)


def test_weights_move_at_the_share_of_the_rate_and_statistics_stay(before: np.ndarray) -> None:
    """Adam's first step is its rate, whatever the gradient."""
    method = fitted("aren", before, epochs=1, batch_size=24, lr=0.01, stage_rate=0.5)
    loaded = Stage.of_maps(made_by(NAME), before.shape[1:], 0.5)
    assert method.stage is not None
    steps = torch.cat([moved.detach().abs().flatten() for moved in method.stage.moved])
    assert (steps > 0).float().mean() > 0.5
    assert steps[steps > 0].median().item() == pytest.approx(0.01, rel=1e-3)
    state = method.stage.last.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in loaded.last.state_dict().items())
    maps = np.asarray(before, np.float32)
    with torch.no_grad():
        for name, moved in zip(method.stage.moving, method.stage.moved, strict=True):
            loaded.last.get_parameter(name).add_(0.5 * moved)
        torch.testing.assert_close(method.made_by_stage(maps), loaded(torch.from_numpy(maps)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["apn", "attribute-maps"])
def test_the_loss_falls_further_than_with_a_frozen_stage(name: str, before: np.ndarray) -> None:
    learned, frozen = (fitted(name, before, epochs=6, stage_rate=rate) for rate in (0.02, 0.0))
    assert learned.curve[-1]["total"] < 0.95 * frozen.curve[-1]["total"]


@pytest.mark.parametrize("name", ON_MAPS)
def test_what_it_learned_is_saved(name: str, before: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """And needs no weights but these."""
    method = fitted(name, before, epochs=1)
    other = registry.get(name)(method.settings)
    monkeypatch.setattr(backbones, "load", None)
    other.set_state(method.state())
    np.testing.assert_array_equal(scores(other, before), scores(method, before))
    third = registry.get(name)(method.settings)
    third.set_state(other.state())
    np.testing.assert_array_equal(scores(third, before), scores(method, before))


@pytest.mark.parametrize("scaling", [one for one in get_args(Scaling) if one not in ("root", "power")])
def test_scaling_with_a_gradient_is_the_scaling(scaling: Scaling) -> None:
    values = np.random.default_rng(0).normal(2, 3, (4, 2, 3, 7)).astype(np.float32)
    scaler = Scaler.fit(values.reshape(-1, 7), scaling)
    given = tensor(values, torch.device("cpu")).requires_grad_()
    found = TensorScaling(scaler)(given)
    np.testing.assert_allclose(found.detach().reshape(-1, 7), scaler(values.reshape(-1, 7)), rtol=1e-5, atol=1e-5)
    (found * torch.arange(7.0)).sum().backward()
    assert given.grad is not None
    assert given.grad.abs().sum() > 0


def test_what_does_not_fit_is_refused(before: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ZSLError, match=r"scaling: root is steep without end at 0"):
        fitted("apn", before, scaling="root")
    changed = "test_efficientnet: its weights .random. changed since the maps were made; extract again"
    foreign = "mine:net: only backbones of timm have a last stage that learns"
    empty = "test_byobnet: its last stage has no weights that could learn"
    plans = {changed: made_by(NAME, fingerprint="0"), foreign: made_by(NAME, backbone="mine:net")}
    for message, plan in (plans | {empty: made_by("test_byobnet")}).items():
        name = plan["backbone"] if message == empty else NAME
        maps = put(tmp_path / f"{len(message)}.h5", maps_of("before", name), plan)
        with pytest.raises(ZSLError, match=message):
            fitted("apn", maps)


def test_a_state_makes_no_code_run(before: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    method = fitted("apn", before, epochs=1)
    monkeypatch.setattr(timm, "create_model", None)
    for name in ("package.module:function", "unheard_of"):
        state = method.state() | {"stage": np.frombuffer(name.encode(), np.uint8)}
        with pytest.raises(ZSLError, match=f"unknown backbone '{name}': weights can be put into models of timm only"):
            registry.get("apn")(method.settings).set_state(state)
